"""A model becomes a version: encrypted as it arrives, scanned and described behind walls, signed, and only then there."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from contextlib import ExitStack
from dataclasses import dataclass, replace
from typing import Any, Protocol

import msgspec

from casemate.core import (
    SCHEMA,
    AssetKind,
    DataClass,
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
from casemate.registry.conversions import Conversion, check_result
from casemate.registry.data_use import DataUse, use_of_newest
from casemate.registry.datasets import Datasets
from casemate.registry.features import with_ranges
from casemate.registry.provenance import Brought, check_provenance, use_provenance
from casemate.registry.releases import Draft, commit_version
from casemate.registry.revocations import check_not_revoked, check_origins
from casemate.registry.stores import Pen, Stores
from casemate.registry.trainings import add_kept, check_base, inherited_use, is_refused, scan_checkpoints
from casemate.registry.versions import FileEntry, Lineage, Manifest, Version
from casemate.scanning import ScanReport
from casemate.signing.provenance import PROVENANCE
from casemate.storage import Push

MAX_FILES = 200  # the scanner's own bound; one frame to the sandbox carries at most 250 descriptors

Streams = Iterable[tuple[str, Iterable[bytes]]]  # (path, chunks), read once, in order


class Scan(Protocol):
    """`scanning.scan`."""

    def __call__(self, files: Mapping[str, SealedFile]) -> ScanReport: ...


class Describe(Protocol):
    """Learns what a model takes and gives by loading `served` behind the walls; None for what nobody can load.

    Raises: VerificationError: the model is at fault. SandboxError: the walls are missing or it crashed.
    """

    def __call__(self, files: Mapping[str, SealedFile], served: ServedFile | None) -> Signature | None: ...


@dataclass(frozen=True, slots=True, kw_only=True)
class Eyes:
    """Who looks at what is pushed."""

    scan: Scan
    describe: Describe

    def examine(self, sealed: Mapping[str, SealedFile]) -> tuple[ScanReport, Signature | None]:
        """What the scan says, and what the model takes and gives; a model that does not load is refused by a finding."""
        report = self.scan(sealed)
        if report.verdict is not Verdict.CLEAN:
            return report, None
        try:
            return report, self.describe(sealed, report.served)
        except VerificationError as error:
            finding = Finding(
                id=error.code,
                title="The model does not load",
                severity=Severity.HIGH,
                evidence=error.message,
                remediation="Export the model again and check that it runs.",
            )
            return msgspec.structs.replace(report, verdict=Verdict.REFUSED, findings=(*report.findings, finding)), None


class Pushed(msgspec.Struct, frozen=True, kw_only=True):
    """What became of a push. `version` and `digest` are None when it was refused; then nothing was kept."""

    verdict: Verdict
    findings: tuple[Finding, ...]
    name: str
    version: int | None = None
    digest: str | None = None
    created: bool = False


@dataclass(frozen=True, slots=True, kw_only=True)
class Made:
    """How a model was made, as whoever pushes it says or this home has seen.

    Args:
        lineage: Its dataset must exist; it gives feature ranges, and the data class. Where nobody says what a version was made
            from, its class is at least that of the one before.
        environment: What it was trained with, of which the lineage has the digest.
        brought: What an outside trainer signed of it.
        kept: What its training left beside it, as streams.
        conversion: That this home did, and whose result the files are.
        run: What is signed of the training, or of the conversion, beside that: what is so this once.
    """

    lineage: Lineage | None = None
    environment: Mapping[str, Any] | None = None
    brought: Brought | None = None
    kept: Streams = ()
    conversion: Conversion | None = None
    run: Mapping[str, Any] | None = None


def push_model(
    stores: Stores, pen: Pen, eyes: Eyes, name: str, files: Streams, *, made: Made, actor: Principal, intent: str
) -> Pushed:
    """Stream files into encrypted blobs, scan and describe the sealed bytes, and commit them if they are clean.

    Returns: the version, or REFUSED with findings; the live version when it has this very content.
    Raises: InputError, TooLargeError, StorageError, SandboxError, VerificationError: the dataset's schema, and as
        `check_provenance`, `use_provenance` and `check_result`.
    """
    checked_name(name)
    schema = _schema_of(stores, made.lineage)
    use = _use_of(stores, name, made.lineage)
    with stores.blobs.push(stores.project, f"{AssetKind.MODEL}/{name}") as push, ExitStack() as closing:
        _receive(push, files)
        sealed = {
            path: closing.enter_context(stores.blobs.seal(record, pending=True))
            for path, (record,) in push.files.items()
        }
        believed = made.brought and check_provenance(
            stores, made.brought, name, sealed, dataset=_origin_of(stores, made.lineage)
        )
        if believed:
            made = replace(made, lineage=msgspec.structs.replace(made.lineage or Lineage(), outside=believed.lineage))
        if made.conversion:
            check_result(made.conversion, sealed)
        report, signature = eyes.examine(sealed)
        beside = add_kept(push, made.kept)
        findings = (*report.findings, *scan_checkpoints(stores.blobs, push, eyes.scan))
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
            lineage=made.lineage,
            conversion=made.conversion,
            kept=beside,
            facts={
                "format": report.format,
                "served": msgspec.to_builtins(report.served),
                **({"environment": dict(made.environment)} if made.environment else {}),
            },
        )
        draft = Draft(
            manifest=manifest,
            scan=_scan_facts(report, at=rfc3339(stores.clock.now())),
            run=made.run,
            outside={PROVENANCE: believed.envelope} if believed else {},
        )
        with pen.deciding:  # what it was made from may have been revoked meanwhile
            _origin_of(stores, made.lineage)
            check_origins(stores, manifest)
            if believed:
                use_provenance(stores, pen, believed, manifest, intent=intent)
            check_base(stores, made.lineage)
            version, created = commit_version(stores, pen, draft, push, actor=actor, intent=intent)
    return Pushed(
        verdict=Verdict.CLEAN,
        findings=findings,
        name=name,
        version=version.number,
        digest=version.digest,
        created=created,
    )


def _origin_of(stores: Stores, lineage: Lineage | None) -> Version | None:
    if lineage is None or lineage.dataset is None:
        return None
    about = lineage.dataset
    version = Datasets(stores).find(Ref(about.name, about.number, about.project))
    if version.about != about:
        raise InputError(f"The dataset {about} is not the one that is stored.", code="lineage-mismatch")
    check_not_revoked(stores, version)
    return version


def _schema_of(stores: Stores, lineage: Lineage | None) -> dict[str, Any] | None:
    origin = _origin_of(stores, lineage)
    return Datasets(stores).read_schema(origin) if origin else None


def _use_of(stores: Stores, name: str, lineage: Lineage | None) -> DataUse:
    """Of what it is made from; where no dataset is named, at least of the class of the version before."""
    about = lineage.dataset if lineage is not None else None
    named = Datasets(stores).use_of(Ref(about.name, about.number, about.project)) if about else None
    use = inherited_use(stores, named, lineage)
    if use is not None and named is not None:
        return use
    before = use_of_newest(stores, AssetKind.MODEL, name)
    classes = [one.data_class for one in (before, use) if one]
    return DataUse(data_class=highest_class([DataClass.INTERNAL, *classes]), purposes=use.purposes if use else ())


def _receive(push: Push, files: Streams) -> None:
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
