"""What a training run left beside its model: who ran what and when, as signed; its log, metrics and checkpoints; and what
a later run goes on from.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from contextlib import ExitStack
from typing import Any, Self

import msgspec

from casemate.core import (
    AssetKind,
    DataClass,
    Finding,
    InputError,
    NotFoundError,
    Ref,
    SealedFile,
    Verdict,
    VerificationError,
    highest_class,
    verdict_of,
)
from casemate.registry.data_use import DataUse, signed_use
from casemate.registry.revocations import check_not_revoked
from casemate.registry.stores import Stores
from casemate.registry.verification import check_kept
from casemate.registry.versions import (
    KEPT,
    FileEntry,
    Lineage,
    Version,
    blobs_of,
    find_version,
    kept_blobs_of,
    signed_version,
)
from casemate.scanning import ScanReport
from casemate.signing import Predicate, StoredModel, VersionIdentity, check_outside, verify_model, verify_training
from casemate.signing.provenance import PROVENANCE
from casemate.storage import BlobStore, Push

LOG, METRICS, CHECKPOINTS = "log", "metrics", "checkpoints/"  # names of what is kept
_NO_MODEL = "no-model"  # of a scan: side files alone, which a checkpoint may be
MAX_CHECKPOINTS = 20  # of one run: each is scanned apart


class OpenedBase:
    """The files of a model version that a run goes on from, each as signed, and its checkpoints. Closes at exit."""

    def __init__(self, version: Version, use: DataUse, files: dict[str, SealedFile]) -> None:
        self.about, self.use, self.files = version.about, use, files

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        for file in self.files.values():
            file.close()


class Trainings:
    """The training runs of one project, as their versions tell of them."""

    def __init__(self, stores: Stores) -> None:
        self._stores = stores

    def show(self, ref: Ref) -> dict[str, Any]:
        """What is signed of the run that made a version: nothing that its script wrote but each metric's last value.

        Raises: NotFoundError `not-trained-here`; VerificationError.
        """
        version = self._find(ref)
        facts = training_facts(self._stores, version)
        if facts is None:
            raise NotFoundError(f"{version.about} was pushed, and not trained here.", code="not-trained-here")
        kept = {path: entry.size for path, entry in sorted(version.read_manifest().kept.items())}
        return {
            "name": version.about.name,
            "version": version.number,
            "digest": version.digest,
            **facts,
            "kept": kept,
        }

    def provenance(self, ref: Ref) -> dict[str, Any]:
        """What was signed of the training of a version, to hand on: an envelope, by this home or an outside trainer.

        Raises: NotFoundError `not-trained-here`; VerificationError.
        """
        stores, version = self._stores, self._find(ref)
        lineage, stored = version.read_manifest().lineage, signed_version(stores, version)
        if lineage is None or not (lineage.script or lineage.outside):
            raise NotFoundError(
                f"Nobody saw the training of {version.about}: it has no provenance.", code="not-trained-here"
            )
        verify_training(stored, trust=stores.trust(), at=stores.clock.now())
        check_outside(stored, msgspec.to_builtins(lineage))
        # The one that was checked above: whoever writes the database may have put another beside it.
        own = lineage.outside is None and Predicate.TRAINING in stored.attestations
        kind = Predicate.TRAINING.value if own else PROVENANCE
        return {
            "name": version.about.name,
            "version": version.number,
            "digest": version.digest,
            "type": kind,
            "envelope": stored.attestations[kind].decode(),
        }

    def output(self, ref: Ref) -> dict[str, Any]:
        """`{"log", "metrics"}`: what its script wrote, which may be rows. Raises: NotFoundError; VerificationError."""
        version = self._find(ref)
        files = {LOG: b"", METRICS: b""}
        with ExitStack() as closing:
            for path, file in _open_kept(self._stores, version, closing).items():
                if path in files:
                    files[path] = file.read()
        metrics = [msgspec.json.decode(line) for line in files[METRICS].splitlines()]
        return {
            "name": version.about.name,
            "version": version.number,
            "digest": version.digest,
            "log": files[LOG].decode(errors="replace"),
            "metrics": metrics,
        }

    def open_base(self, ref: Ref) -> OpenedBase:
        """What a run goes on from: the model's files, and under `checkpoints/` what its own run left for that.

        Raises: NotFoundError; VerificationError: altered, or `revoked`.
        """
        stores, version = self._stores, self._find(ref)
        check_not_revoked(stores, version)
        use = signed_use(stores, version)
        with ExitStack() as closing:
            files: dict[str, SealedFile] = {}
            for path, pieces in blobs_of(stores, version).items():
                files[path] = closing.enter_context(stores.blobs.seal_file(pieces))
            stored = StoredModel(version=signed_version(stores, version), files=dict(files))
            verify_model(stored, stores.trust(), at=stores.clock.now())
            kept = _open_kept(stores, version, closing)
            files |= {path: file for path, file in kept.items() if path.startswith(CHECKPOINTS)}
            for path in (LOG, METRICS):
                if path in kept:
                    kept[path].close()
            closing.pop_all()
        return OpenedBase(version, use, files)

    def _find(self, ref: Ref) -> Version:
        return find_version(self._stores, AssetKind.MODEL, ref)


def training_facts(stores: Stores, version: Version) -> dict[str, Any] | None:
    """What the signed statement of its training says; None where it was not trained here. Raises: VerificationError."""
    lineage = version.read_manifest().lineage
    if lineage is None or lineage.script is None:
        return None
    return verify_training(signed_version(stores, version), trust=stores.trust(), at=stores.clock.now()).facts


def check_base(stores: Stores, lineage: Lineage | None) -> None:
    """Return while the model that `lineage` names is there and was not revoked.

    Raises: NotFoundError; InputError `lineage-mismatch`; VerificationError `revoked`.
    """
    if lineage is None or lineage.base is None:
        return
    version = find_version(stores, AssetKind.MODEL, _ref(lineage.base))
    if version.about != lineage.base:
        raise InputError(f"The model {lineage.base} is not the one that is stored.", code="lineage-mismatch")
    check_not_revoked(stores, version)


def inherited_use(stores: Stores, dataset: DataUse | None, lineage: Lineage | None) -> DataUse | None:
    """The class and purposes that a model has from what it was made from: the highest, and those that all allow.

    None: it names nothing. Raises: NotFoundError; VerificationError.
    """
    base = lineage.base if lineage is not None else None
    uses = [dataset] if dataset else []
    if base is not None:
        uses.append(signed_use(stores, find_version(stores, AssetKind.MODEL, _ref(base))))
    if not uses:
        return None
    stated = [set(use.purposes) for use in uses if use.purposes]
    purposes = tuple(sorted(set.intersection(*stated))) if stated else ()
    if stated and not purposes:
        raise InputError(
            "No purpose is allowed by both what it is trained on and the model that it goes on from.",
            code="no-purpose-in-common",
        )
    return DataUse(data_class=highest_class([DataClass(use.data_class) for use in uses]), purposes=purposes)


def add_kept(push: Push, kept: Iterable[tuple[str, Iterable[bytes]]]) -> dict[str, FileEntry]:
    """Encrypt what is kept beside a model; returns what its manifest says of it."""
    entries = {}
    for path, chunks in kept:
        record = push.add(KEPT + path, chunks)
        entries[path] = FileEntry(digest=record.digest, size=record.size)
    return entries


def scan_checkpoints(blobs: BlobStore, push: Push, scan: Any) -> tuple[Finding, ...]:
    """What is wrong with the checkpoints of a push: each folder below `checkpoints`, and each name there, is one model.

    Raises: InputError `too-many-checkpoints`.
    """
    groups: dict[str, list[str]] = {}
    for path in push.files:
        if path.startswith(KEPT + CHECKPOINTS):
            name, slash, _ = path.removeprefix(KEPT + CHECKPOINTS).partition("/")
            groups.setdefault(name if slash else name.rpartition(".")[0] or name, []).append(path)
    if len(groups) > MAX_CHECKPOINTS:
        raise InputError(
            f"A run keeps at most {MAX_CHECKPOINTS} checkpoints; this one wrote {len(groups)}: let it delete older ones.",
            code="too-many-checkpoints",
        )
    found: list[Finding] = []
    for paths in groups.values():
        with ExitStack() as closing:
            files = {
                path.removeprefix(KEPT): closing.enter_context(blobs.seal(push.files[path][0], pending=True))
                for path in paths
            }
            report: ScanReport = scan(files)
        found += [one for one in report.findings if one.id != _NO_MODEL]
        if report.verdict is Verdict.REFUSED and not report.findings:
            raise VerificationError(f"The checkpoint {paths[0]} could not be scanned.", code="scan-failed")
    return tuple(found)


def is_refused(findings: Iterable[Finding]) -> bool:
    return verdict_of(list(findings)) is not Verdict.CLEAN


def _open_kept(stores: Stores, version: Version, closing: ExitStack) -> Mapping[str, SealedFile]:
    """Raises: VerificationError: not what was signed."""
    signed_use(stores, version)  # the manifest is the one that was released
    files = {
        path: closing.enter_context(stores.blobs.seal_file(pieces))
        for path, pieces in kept_blobs_of(stores, version).items()
    }
    check_kept(version, {path: file.digest for path, file in files.items()})
    return files


def _ref(about: VersionIdentity) -> Ref:
    return Ref(about.name, about.digest, about.project)
