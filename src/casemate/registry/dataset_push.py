"""A table becomes a version: its pieces are stored as they come, signed as one file, and committed if all went well."""

from __future__ import annotations

import os
from collections.abc import Callable, Mapping, Sequence
from contextlib import nullcontext
from typing import TYPE_CHECKING, Any, Protocol, Self

import msgspec

from casemate.core import (
    SCHEMA,
    AssetKind,
    CasemateError,
    ConflictError,
    Finding,
    NotFoundError,
    Principal,
    Ref,
    SealedFile,
    TooLargeError,
    Verdict,
    canonical,
    checked_name,
    memory_file,
)
from casemate.core.datasheets import Datasheet, settled_sheet
from casemate.registry.data_use import DataUse, signed_use, stated_use, use_of_newest
from casemate.registry.pseudonym_keys import MADE_FROM, HeldKeys, carried, check_current, keep_keys
from casemate.registry.releases import Draft, check_held, commit_version
from casemate.registry.revocations import check_not_revoked, is_revoked
from casemate.registry.stores import Pen, Stores
from casemate.registry.verification import signed_manifest
from casemate.registry.versions import FileEntry, Manifest, Version, find_version, pieces_stored
from casemate.signing import VersionIdentity
from casemate.storage import BlobRecord, PiecedFile

if TYPE_CHECKING:
    from casemate.privacy import Look, PersonalReport

PARQUET, SCHEMA_FILE = "data.parquet", "schema.json"
SUSPECTS, REPORT = "suspects.parquet", "screening.json"  # what a quarantine set aside, and why: of no use to training
MOST_LOOKED_AT = 1 << 30  # bytes of a table in memory, while it is looked at


class Described(Protocol):
    """`scanning.DescribedDataset`."""

    @property
    def schema(self) -> Mapping[str, Any]: ...
    @property
    def findings(self) -> Sequence[Finding]: ...


class Table(Protocol):
    """`scanning.ConvertedDataset`, or a file that is converted as it is asked for."""

    def stream(self, take: Callable[[bytes], None]) -> Described:
        """Give `take` the pieces of the Parquet file, in order, and say what they were."""
        ...


class Stated(msgspec.Struct, frozen=True, kw_only=True):
    """What whoever pushes says of the rows; what is left out is as it was.

    Args: data_class, purposes: as `stated_use` takes them. widening: it may have a lower class, or more purposes, than the
        version before it. required: that the datasheet be whole. origin: the version that they were made from. facts: more of
        the manifest's. keys: that made pseudonyms in the rows, for the version to hold.
    """

    data_class: str = ""
    purposes: Sequence[str] = ()
    widening: bool = False
    sheet: Datasheet | None = None
    required: bool = False
    origin: VersionIdentity | None = None
    facts: Mapping[str, Any] = {}
    keys: HeldKeys = {}


def push_version(
    stores: Stores,
    pen: Pen,
    name: str,
    table: Table,
    said: Stated,
    *,
    look: Look | None = None,
    actor: Principal,
    intent: str,
) -> dict[str, Any]:
    """A new version of `name`, or the live one that has the same content.

    A piece that a version of `name` holds already is not stored again, once its stored bytes were read and are the same.
    Args: look: for personal data; what was looked for and found stands in the signed manifest.
    Returns: name, version, digest, created, verdict, findings; `stored`: bytes that were written for it; `revoked`, where these
        very rows were revoked before. REFUSED, with findings and no version, where the look refuses.
    Raises: InputError; TooLargeError; StorageError; ConflictError `wider-use`, `rows-gone`. Nothing is left then.
    """
    checked_name(name)
    use = _use(stores, name, said)
    known = pieces_stored(stores, AssetKind.DATASET, name)
    with stores.blobs.push(stores.project, f"{AssetKind.DATASET}/{name}", known) as push:
        file = push.pieces(PARQUET)
        with _Copied(file.add) if look else nullcontext() as copied:
            told = table.stream(copied.add if copied else file.add)
            purposed = bool(said.purposes or use.purposes)
            personal = look(copied.seal(), use.data_class, purposed) if look and copied else None
        findings = [*told.findings, *(personal.findings if personal else ())]
        if personal is not None and personal.verdict is not Verdict.CLEAN:
            return {
                "verdict": Verdict.REFUSED,
                "findings": findings,
                "name": name,
                "version": None,
                "digest": None,
                "created": False,
                "stored": 0,
            }
        schema = push.add(SCHEMA_FILE, [canonical(told.schema)])
        columns = [column["name"] for column in told.schema["columns"]]
        keys, held = keep_keys(push, said.keys)
        manifest = Manifest(
            schema=SCHEMA,
            project=stores.project,
            kind=AssetKind.DATASET,
            name=name,
            files={PARQUET: _entry(file), SCHEMA_FILE: FileEntry(digest=schema.digest, size=schema.size)},
            data_class=use.data_class.value,
            purposes=use.purposes,
            facts={
                "rows": told.schema["rows"],
                "columns": len(columns),
                **({} if personal is None else {"personal": _kinds_in(personal)}),
                **({MADE_FROM: _told(said.origin)} if said.origin else {}),
                **said.facts,
            },
            kept=keys,
            datasheet=settled_sheet(said.sheet, _sheet_of_newest(stores, name), columns, required=said.required),
        )
        with pen.deciding:  # no deletion takes the shared pieces between the look at them and the commit
            check_held(stores, AssetKind.DATASET, name, push.shared | _ids(held))
            check_current(stores, name, said.keys)
            if said.origin:
                check_not_revoked(stores, find_version(stores, AssetKind.DATASET, _ref(said.origin)))
            version, created = commit_version(
                stores, pen, Draft(manifest=manifest), push, actor=actor, intent=intent, shared=held
            )
        stored = sum(record.size for record in push.made) if created else 0
    return {
        "verdict": Verdict.CLEAN,
        "findings": findings,
        "name": name,
        "version": version.number,
        "digest": version.digest,
        "created": created,
        "stored": stored,
        **({"revoked": True} if is_revoked(stores, version) else {}),
    }


def _ids(files: Mapping[str, Sequence[BlobRecord]]) -> set[str]:
    return {record.id for pieces in files.values() for record in pieces}


def _told(about: VersionIdentity) -> dict[str, Any]:
    return {"name": about.name, "version": about.number, "digest": about.digest}


def _ref(about: VersionIdentity) -> Ref:
    return Ref(about.name, about.digest, about.project)


def _kinds_in(report: PersonalReport) -> dict[str, Any]:
    from casemate.privacy import facts_of

    return facts_of(report)


class Aside(msgspec.Struct, frozen=True, kw_only=True):
    """What a quarantine sets aside. Args: report: why, as JSON. facts: for the manifest. widening: as of `Stated`."""

    suspects: SealedFile
    report: bytes
    facts: dict[str, Any]
    widening: bool


def push_clean(
    stores: Stores, pen: Pen, version: Version, clean: Table, aside: Aside, *, actor: Principal, intent: str
) -> dict[str, Any]:
    """A new version of what is left of `version`, with its class, purposes and datasheet; it keeps what was set aside, and why.

    Raises: ConflictError `wider-use`: as with `restore`; `rows-gone`. VerificationError; TooLargeError; StorageError.
    """
    name = version.about.name
    use, newest = signed_use(stores, version), use_of_newest(stores, AssetKind.DATASET, name)
    if newest is not None and use.is_wider_than(newest) and not aside.widening:
        raise ConflictError(f"The newest version of {name} has changed: quarantine again.", code="wider-use")
    sheet, before = signed_sheet(stores, version), version.read_manifest()
    keys = carried(stores, version)
    kept_facts = {name: before.facts[name] for name in (MADE_FROM, "anonymised") if name in before.facts}
    known = pieces_stored(stores, AssetKind.DATASET, name)
    with stores.blobs.push(stores.project, f"{AssetKind.DATASET}/{name}", known) as push:
        file = push.pieces(PARQUET)
        told = clean.stream(file.add)
        schema = push.add(SCHEMA_FILE, [canonical(told.schema)])
        suspects = push.add(SUSPECTS, aside.suspects.chunks())
        report = push.add(REPORT, [aside.report])
        origin = {"version": version.number, "digest": version.digest, **aside.facts}
        small = {SCHEMA_FILE: schema, SUSPECTS: suspects, REPORT: report}
        manifest = Manifest(
            schema=SCHEMA,
            project=stores.project,
            kind=AssetKind.DATASET,
            name=name,
            files={PARQUET: _entry(file)}
            | {path: FileEntry(digest=blob.digest, size=blob.size) for path, blob in small.items()},
            data_class=use.data_class.value,
            purposes=use.purposes,
            facts={"rows": told.schema["rows"], "columns": len(told.schema["columns"]), "quarantined": origin}
            | kept_facts,
            kept=before.kept,
            datasheet=sheet,
        )
        with pen.deciding:
            check_not_revoked(stores, version)
            check_held(stores, AssetKind.DATASET, name, push.shared | _ids(keys))
            made, created = commit_version(
                stores, pen, Draft(manifest=manifest), push, actor=actor, intent=intent, shared=keys
            )
    return {
        "name": name,
        "version": made.number,
        "digest": made.digest,
        "created": created,
        "from": version.number,
        "aside": aside.facts["aside"],
    }


class _Copied:
    """Keeps what passes by in a memory file, for a look at the whole of it. A context manager, which closes it."""

    def __init__(self, take: Callable[[bytes], None]) -> None:
        self._take, self._fd, self._size = take, memory_file("looked at"), 0
        self._sealed: SealedFile | None = None

    def add(self, piece: bytes) -> None:
        """Raises: TooLargeError."""
        self._size += len(piece)
        if self._size > MOST_LOOKED_AT:
            raise TooLargeError(
                f"Personal data is looked for in up to {MOST_LOOKED_AT >> 30} GiB: push it in parts, or have the "
                "operator set CASEMATE_PERSONAL_DATA=off.",
                code="personal-too-large",
            )
        os.writev(self._fd, [piece])
        self._take(piece)

    def seal(self) -> SealedFile:
        self._sealed = SealedFile(self._fd)
        return self._sealed

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        if self._sealed is not None:
            self._sealed.close()
        else:
            os.close(self._fd)


def signed_sheet(stores: Stores, version: Version) -> Datasheet | None:
    """As the manifest says that a trusted signer released. Raises: VerificationError."""
    return signed_manifest(stores, version).datasheet


def _sheet_of_newest(stores: Stores, name: str) -> Datasheet | None:
    """None, too, where the newest version does not verify: nothing is handed on from it."""
    try:
        return signed_sheet(stores, find_version(stores, AssetKind.DATASET, Ref(name)))
    except (NotFoundError, CasemateError):
        return None


def _use(stores: Stores, name: str, said: Stated) -> DataUse:
    before = use_of_newest(stores, AssetKind.DATASET, name)
    use = stated_use(before, said.data_class, said.purposes)
    if before is not None and use.is_wider_than(before) and not said.widening:
        raise ConflictError(
            f"The newest version of {name} is of the class {before.data_class}, or for fewer purposes: push it again.",
            code="wider-use",
        )
    return use


def _entry(file: PiecedFile) -> FileEntry:
    return FileEntry(digest=file.digest, size=file.size)
