"""Models: encrypted as they arrive, scanned and described behind walls, signed, and only then a version."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping
from contextlib import ExitStack
from typing import Any, Protocol

import msgspec

from casemate.core import (
    SCHEMA,
    AssetKind,
    ConflictError,
    DataClass,
    Environment,
    Finding,
    InputError,
    Principal,
    Ref,
    SealedFile,
    ServedFile,
    Severity,
    Signature,
    TooLargeError,
    Verdict,
    VerificationError,
    checked_name,
    checked_path,
    highest_class,
    rfc3339,
)
from casemate.registry.approval_words import ApprovalWords, approval_words
from casemate.registry.approvals import APPROVAL, approvals_of, signed_approval
from casemate.registry.bom import bom_of, signed_bom
from casemate.registry.cards import Described, card_entry, card_of, is_complete
from casemate.registry.data_use import DataUse, signed_use, use_of_newest
from casemate.registry.datasets import Datasets, writable
from casemate.registry.deployments_state import deployments_of
from casemate.registry.evaluation_records import evaluation_standing
from casemate.registry.features import with_ranges, without_ranges
from casemate.registry.lineage import lineage_tree, provenance_of
from casemate.registry.provenance import Brought, check_provenance, use_provenance
from casemate.registry.releases import Draft, commit_version, record_deletion, remove_version
from casemate.registry.revocations import check_not_revoked, is_revoked
from casemate.registry.stores import Pen, Stores
from casemate.registry.trainings import add_kept, check_base, inherited_use, is_refused, scan_checkpoints
from casemate.registry.verification import Released, is_released, newest_of, verified_pusher, verify_report
from casemate.registry.versions import (
    FileEntry,
    Lineage,
    Manifest,
    Version,
    blobs_of,
    find_version,
    latest_versions,
    signed_version,
)
from casemate.scanning import ScanReport
from casemate.signing import StoredModel, VerifiedModel, verify_model
from casemate.signing.provenance import PROVENANCE
from casemate.storage import Push

MAX_FILES = 200  # the scanner's own bound; one frame to the sandbox carries at most 250 descriptors
_CHUNK = 1 << 20  # bytes read at a time


class Scan(Protocol):
    """`scanning.scan`."""

    def __call__(self, files: Mapping[str, SealedFile]) -> ScanReport: ...


class Describe(Protocol):
    """Learns what a model takes and gives by loading `served` behind the walls; None for what nobody can load.

    Raises: VerificationError: the model is at fault. SandboxError: the walls are missing or it crashed.
    """

    def __call__(self, files: Mapping[str, SealedFile], served: ServedFile | None) -> Signature | None: ...


class Pushed(msgspec.Struct, frozen=True, kw_only=True):
    """What became of a push. `version` and `digest` are None when it was refused; then nothing was kept."""

    verdict: Verdict
    findings: tuple[Finding, ...]
    name: str
    version: int | None = None
    digest: str | None = None
    created: bool = False


class Models:
    """The models of one project. Args: pen, scan, describe: None where nothing may be pushed."""

    def __init__(
        self, stores: Stores, pen: Pen | None = None, *, scan: Scan | None = None, describe: Describe | None = None
    ) -> None:
        self._stores, self._pen, self._scan, self._describe = stores, pen, scan, describe
        self._datasets = Datasets(stores)

    def push(
        self,
        name: str,
        files: Iterable[tuple[str, Iterable[bytes]]],
        *,
        actor: Principal,
        intent: str,
        lineage: Lineage | None = None,
        environment: Mapping[str, Any] | None = None,
        brought: Brought | None = None,
        kept: Iterable[tuple[str, Iterable[bytes]]] = (),
        run: Mapping[str, Any] | None = None,
    ) -> Pushed:
        """Stream files into encrypted blobs, scan and describe the sealed bytes, and commit them if they are clean.

        Args: files: (path, chunks), read once, in order. lineage: its dataset must exist; it gives feature ranges, and
            the data class. environment: what it was trained with, of which the lineage has the digest. Where nobody says what a version was made from, its class is at least that of the one before.
            brought: what an outside trainer signed of it.
            kept: what its training left beside it, in the same way. run: what is signed of that run beside the lineage.
        Returns: the version, or REFUSED with findings; the live version when it has this very content.
        Raises: InputError, TooLargeError, StorageError, SandboxError, VerificationError: the dataset's schema, and as
            `check_provenance` and `use_provenance`.
        """
        stores = self._stores
        checked_name(name)
        schema = self._schema_of(lineage)
        use = self._use_of(name, lineage)
        with stores.blobs.push(stores.project, f"{AssetKind.MODEL}/{name}") as push, ExitStack() as closing:
            _receive(push, files)
            sealed = {
                path: closing.enter_context(stores.blobs.seal(record, pending=True))
                for path, (record,) in push.files.items()
            }
            believed = brought and check_provenance(stores, brought, name, sealed, dataset=self._origin_of(lineage))
            if believed:
                lineage = msgspec.structs.replace(lineage or Lineage(), outside=believed.lineage)
            report, signature = self._examine(sealed)
            beside = add_kept(push, kept)
            findings = (*report.findings, *scan_checkpoints(stores.blobs, push, self._scan))
            if report.verdict is not Verdict.CLEAN or is_refused(findings):
                return Pushed(verdict=Verdict.REFUSED, findings=findings, name=name)
            if signature and schema:
                signature = with_ranges(signature, schema)
            manifest = Manifest(
                schema=SCHEMA,
                project=stores.project,
                kind=AssetKind.MODEL,
                name=name,
                files={path: FileEntry(digest=file.digest, size=file.size) for path, file in sealed.items()},
                data_class=use.data_class.value,
                purposes=use.purposes,
                signature=signature,
                lineage=lineage,
                kept=beside,
                facts={
                    "format": report.format,
                    "served": msgspec.to_builtins(report.served),
                    **({"environment": dict(environment)} if environment else {}),
                },
            )
            draft = Draft(
                manifest=manifest,
                scan=_scan_facts(report, at=rfc3339(stores.clock.now())),
                run=run,
                outside={PROVENANCE: believed.envelope} if believed else {},
            )
            pen = writable(self._pen)
            with pen.deciding:  # what it was made from may have been revoked meanwhile
                self._origin_of(lineage)
                if believed:
                    use_provenance(stores, pen, believed, manifest, intent=intent)
                check_base(stores, lineage)
                version, created = commit_version(stores, pen, draft, push, actor=actor, intent=intent)
        return Pushed(
            verdict=Verdict.CLEAN,
            findings=findings,
            name=name,
            version=version.number,
            digest=version.digest,
            created=created,
        )

    def find(self, ref: Ref) -> Version:
        """Raises: NotFoundError."""
        return find_version(self._stores, AssetKind.MODEL, ref)

    def use_of(self, ref: Ref) -> DataUse:
        """The class and purposes of what it was made from, as signed. Raises: NotFoundError; VerificationError."""
        return signed_use(self._stores, self.find(ref))

    def pusher(self, ref: Ref) -> str:
        """Who pushed it, as signed. Raises: NotFoundError; VerificationError."""
        return verified_pusher(self._stores, self.find(ref))

    def newest(self) -> list[dict[str, Any]]:
        """The newest version of each model, and whether a trusted signer released it (`verified`)."""
        return newest_of(self._stores, AssetKind.MODEL)

    def count(self) -> int:
        """How many there are."""
        return len(latest_versions(self._stores, AssetKind.MODEL))

    def show(self, ref: Ref) -> dict[str, Any]:
        """One version: its row, format, signature (never a value of the training data), files, approvals."""
        version = self.find(ref)
        manifest = version.read_manifest()
        return {
            **version.summary(),
            "verified": is_released(self._stores, version),
            **{name: fact for name, fact in manifest.facts.items() if name != "environment"},
            "provenance": provenance_of(manifest.lineage),
            "card": {"complete": is_complete(self._stores, version)},
            "evaluation": evaluation_standing(self._stores, version).summary(),
            "signature": msgspec.to_builtins(without_ranges(manifest.signature) if manifest.signature else None),
            "files": msgspec.to_builtins(manifest.files),
            "approvals": [approval.summary() for approval in approvals_of(self._stores, version)],
            "revoked": is_revoked(self._stores, version),
        }

    def card(self, ref: Ref) -> dict[str, Any]:
        """As `card_of`. Raises: NotFoundError; VerificationError."""
        return card_of(self._stores, self.find(ref))

    def is_described(self, ref: Ref) -> bool:
        """Whether people have said all that a card needs. Raises: NotFoundError; VerificationError."""
        return is_complete(self._stores, self.find(ref))

    def write_card(self, ref: Ref, described: Described, *, actor: Principal, intent: str) -> dict[str, Any]:
        """What people say of a version, from here on. Raises: NotFoundError."""
        version = self.find(ref)
        writable(self._pen).commit([card_entry(self._stores, version, described, actor=actor)], intent)
        return {"name": version.about.name, "version": version.number, "missing": list(described.missing)}

    def bom(self, ref: Ref, *, signed: bool = False) -> dict[str, Any]:
        """`{"bom"}`: its bill of materials, and signed: `envelope`, that document in a signed statement about the version.

        Raises: NotFoundError; VerificationError.
        """
        card = self.card(ref)
        bom = bom_of(card, at=self._stores.clock.now())
        return {"bom": bom, **({"envelope": signed_bom(bom, card, pen=writable(self._pen))} if signed else {})}

    def open_stored(self, version: Version) -> StoredModel:
        """A version's record, and its files decrypted once into sealed memory; nothing of it is verified yet.

        Raises: VerificationError: a file is missing or altered.
        """
        files: dict[str, SealedFile] = {}
        try:
            for path, pieces in blobs_of(self._stores, version).items():
                files[path] = self._stores.blobs.seal_file(pieces)
            return StoredModel(version=signed_version(self._stores, version), files=files)
        except BaseException:
            for file in files.values():
                file.close()
            raise

    def load(self, ref: Ref) -> VerifiedModel:
        """The sealed files of a version, every byte as trusted signers signed it. The caller closes it.

        Raises: NotFoundError; VerificationError: `revoked`, or with the codes of `signing.verify_model`.
        """
        return self.load_version(self.find(ref))

    def load_version(self, version: Version) -> VerifiedModel:
        """As `load`, of a version that was found before. Raises: VerificationError."""
        check_not_revoked(self._stores, version)
        return verify_model(self.open_stored(version), self._stores.trust(), at=self._stores.clock.now())

    def export(self, ref: Ref) -> Iterator[tuple[str, int, Iterator[bytes]]]:
        """(path, size, chunks) of each file, verified before the first is handed on."""
        return _handing_on(self.load(ref))

    def lineage(self, ref: Ref) -> dict[str, Any]:
        """What it was made from, as a tree. Raises: NotFoundError."""
        return lineage_tree(self._stores, ref)

    def verify(self, ref: Ref | None = None, *, recorded: Released = frozenset()) -> dict[str, Any]:
        """Read every stored byte of a version, or of all: `{"ok", "checked", "problems"}`. `recorded` must be there."""
        return verify_report(self._stores, AssetKind.MODEL, self.find(ref) if ref else None, recorded)

    def approve(
        self,
        ref: Ref,
        environment: Environment,
        *,
        actor: Principal,
        intent: str,
        reason: str = "",
        self_approved: bool = False,
        own: str = "",
    ) -> dict[str, Any]:
        """Say, signed, that a version may be deployed to `environment`.

        Args: self_approved: the gate counts the actor as who pushed it, under whatever id. own: an envelope around
            what `approval_words` gave, signed by the actor's own pinned key or passkey.
        Raises: NotFoundError; as `signed_approval`.
        """
        pen, version = writable(self._pen), self.find(ref)
        alone = self_approved or verified_pusher(self._stores, version) == actor.id
        approval = signed_approval(
            self._stores, pen, version, environment, approver=actor.id, alone=alone, reason=reason, own=own
        )
        pen.commit([(APPROVAL, msgspec.to_builtins(approval))], intent)
        return approval.summary()

    def approval_words(self, ref: Ref, environment: Environment, *, approver: Principal) -> ApprovalWords:
        """What `approver` would sign to approve a version, and how many have. Raises: NotFoundError; VerificationError."""
        return approval_words(self._stores, self.find(ref), environment, approver.id)

    def delete(self, ref: Ref, *, intent: str) -> dict[str, Any]:
        """Destroy a version's keys and files.

        Raises: ConflictError: `in-use`, naming deployments that serve it; `switching`: one that would return to it if
            the switch under way failed. StorageError `deletion-unfinished`.
        """
        pen = writable(self._pen)
        with pen.deciding:  # so that nothing deploys it meanwhile; once its end is on record, nothing can
            version = find_version(self._stores, AssetKind.MODEL, ref, deleted=True)
            serving = [d.name for d in deployments_of(self._stores).values() if d.digest == version.digest]
            if serving:
                raise ConflictError(
                    f"{version.about.name}@{version.number} is what {', '.join(serving)} serves: deploy another first.",
                    code="in-use",
                )
            leaving = sorted(name for name, held in pen.switching.items() if version.digest in held)
            if leaving:
                raise ConflictError(
                    f"{', '.join(leaving)} is being switched and may yet return to "
                    f"{version.about.name}@{version.number}: delete it once that is done.",
                    code="switching",
                )
            record_deletion(self._stores, pen, version, intent=intent)
        left = remove_version(self._stores, version, intent=intent)
        return {"name": version.about.name, "version": version.number, "state": "deleted", **left}

    def _origin_of(self, lineage: Lineage | None) -> Version | None:
        if lineage is None or lineage.dataset is None:
            return None
        about = lineage.dataset
        version = self._datasets.find(Ref(about.name, about.number, about.project))
        if version.about != about:
            raise InputError(f"The dataset {about} is not the one that is stored.", code="lineage-mismatch")
        check_not_revoked(self._stores, version)
        return version

    def _schema_of(self, lineage: Lineage | None) -> dict[str, Any] | None:
        origin = self._origin_of(lineage)
        return self._datasets.read_schema(origin) if origin else None

    def _use_of(self, name: str, lineage: Lineage | None) -> DataUse:
        """Of what it is made from; where no dataset is named, at least of the class of the version before."""
        about = lineage.dataset if lineage is not None else None
        named = self._datasets.use_of(Ref(about.name, about.number, about.project)) if about else None
        use = inherited_use(self._stores, named, lineage)
        if use is not None and named is not None:
            return use
        before = use_of_newest(self._stores, AssetKind.MODEL, name)
        classes = [one.data_class for one in (before, use) if one]
        return DataUse(data_class=highest_class([DataClass.INTERNAL, *classes]), purposes=use.purposes if use else ())

    def _examine(self, sealed: Mapping[str, SealedFile]) -> tuple[ScanReport, Signature | None]:
        if self._scan is None or self._describe is None:
            raise TypeError("built without scan and describe: it takes no push")
        report = self._scan(sealed)
        if report.verdict is not Verdict.CLEAN:
            return report, None
        try:
            return report, self._describe(sealed, report.served)
        except VerificationError as error:
            finding = Finding(
                id=error.code,
                title="The model does not load",
                severity=Severity.HIGH,
                evidence=error.message,
                remediation="Export the model again and check that it runs.",
            )
            return msgspec.structs.replace(report, verdict=Verdict.REFUSED, findings=(*report.findings, finding)), None


def _receive(push: Push, files: Iterable[tuple[str, Iterable[bytes]]]) -> None:
    for path, chunks in files:
        if checked_path(path) in push.files:
            raise InputError(f"The file {path!r} comes twice.", code="duplicate-file")
        if len(push.files) == MAX_FILES:
            raise TooLargeError(f"A model has at most {MAX_FILES} files.", code="too-many-files")
        push.add(path, chunks)
    if not push.files:
        raise InputError("There is no file in this push.", code="no-files")


def _scan_facts(report: ScanReport, *, at: str) -> dict[str, Any]:
    return {
        "verdict": report.verdict.value,
        "format": report.format,
        "served": msgspec.to_builtins(report.served),
        "findings": [{"id": f.id, "severity": f.severity.value, "location": f.location} for f in report.findings],
        "scanned_at": at,
    }


def _handing_on(model: VerifiedModel) -> Iterator[tuple[str, int, Iterator[bytes]]]:
    with model:
        for path, file in sorted(model.files.items()):
            with file.open() as reader:
                yield path, file.size, iter(lambda reader=reader: reader.read(_CHUNK), b"")  # type: ignore[misc]
