"""Immutable versions, each named by the digest of its canonical manifest."""

from __future__ import annotations

from typing import Any

import msgspec
from sqlalchemy import Row, func, select

from casemate.core import (
    SCHEMA,
    AssetKind,
    Digest,
    NotFoundError,
    Ref,
    Signature,
    StorageError,
    VerificationError,
    canonical,
)
from casemate.core.datasheets import Datasheet
from casemate.registry.claims import ClaimedLineage
from casemate.registry.conversions import Conversion
from casemate.registry.deletions import Deleted, deleted_of
from casemate.registry.stores import Stores
from casemate.registry.tags import find_tagged
from casemate.signing import SignedVersion, VersionIdentity
from casemate.signing.provenance import OutsideTraining
from casemate.storage import BlobRecord, reading
from casemate.storage.database import attestations, blobs, version_blobs, versions

KEPT = "/"  # begins the stored name of what is kept beside a model; no path inside an asset begins so


class FileEntry(msgspec.Struct, frozen=True, kw_only=True):
    digest: Digest
    size: int


class OutsideLineage(msgspec.Struct, frozen=True, kw_only=True, omit_defaults=True):
    """A training elsewhere, as somebody signed who was trusted for it when it was pushed.

    Args:
        statement, envelope: Digests of what was signed, and of what is stored of it beside the version.
        signer, signer_name: Who was trusted, as `registry.signers` keeps them. signed_by: key, certificate or identity.
        signed_at: When it is proven to have been signed; empty where nothing does. finished: When the training ended.
    """

    statement: Digest
    envelope: Digest
    signer: str
    signer_name: str
    method: str
    signed_by: str
    finished: str
    training: OutsideTraining
    signed_at: str = ""


class Lineage(msgspec.Struct, frozen=True, kw_only=True, omit_defaults=True):
    """Part of the manifest, and the facts of the signed training statement.

    Args:
        dataset: The version trained on, or linked by whoever pushed.
        script, environment: Digests of the training script and of the locked environment; None when not trained here.
        base: The model version that it was made from: trained further, or an adapter of.
        seed: That the script was given.
        hosts: `HOST:PORT` that the script was let out to; empty: nowhere.
    """

    dataset: VersionIdentity | None = None
    script: Digest | None = None
    parameters: dict[str, Any] = {}
    environment: Digest | None = None
    purpose: str = ""  # that the training was for, as stated
    outside: OutsideLineage | None = None
    claimed: ClaimedLineage | None = None  # by another system, attested by nobody
    base: VersionIdentity | None = None
    seed: int | None = None
    hosts: tuple[str, ...] = ()


class Manifest(msgspec.Struct, frozen=True, kw_only=True, omit_defaults=True):
    """What a version is. Its digest names the version, so nothing here knows the version's number or time."""

    schema: int
    project: str
    kind: AssetKind
    name: str
    files: dict[str, FileEntry]
    data_class: str
    signature: Signature | None = None
    lineage: Lineage | None = None
    facts: dict[str, Any] = {}
    purposes: tuple[str, ...] = ()  # that it may be trained on, or further, for; empty: any
    datasheet: Datasheet | None = None
    conversion: Conversion | None = None  # that this home did, and whose result the files are
    # Beside the asset and no part of it: log, metrics and checkpoints of a model's training, keys of a dataset's pseudonyms.
    kept: dict[str, FileEntry] = {}


class Version(msgspec.Struct, frozen=True, kw_only=True):
    """One row: what the database says, which `verify` checks against what was signed."""

    id: str
    about: VersionIdentity
    manifest: bytes
    data_class: str
    state: str  # "live" | "deleted"
    created_at: str
    created_by: str

    @property
    def number(self) -> int:
        return self.about.number

    @property
    def digest(self) -> Digest:
        return self.about.digest

    def read_manifest(self) -> Manifest:
        """Raises: StorageError `manifest-malformed`."""
        try:
            manifest = msgspec.json.decode(self.manifest, type=Manifest)
        except ValueError as error:
            raise StorageError(f"The manifest of {self.about} cannot be read.", code="manifest-malformed") from error
        if manifest.schema > SCHEMA:
            raise StorageError(f"{self.about} was written by a newer Casemate.", code="manifest-malformed")
        return manifest

    def summary(self) -> dict[str, Any]:
        """The row of a list."""
        return {
            "name": self.about.name,
            "version": self.number,
            "digest": self.digest,
            "data_class": self.data_class,
            "created_at": self.created_at,
            "created_by": self.created_by,
        }


def find_version(stores: Stores, kind: AssetKind, ref: Ref, *, deleted: bool = False) -> Version:
    """The live version that `ref` names; the latest when it names none.

    Args: deleted: also one whose row is there although its deletion is on record: to delete it, and for nothing else.
    Raises: NotFoundError `not-found`: no such asset or version, or it was deleted; VerificationError.
    """
    gone = Deleted() if deleted else deleted_of(stores)
    query = _live(stores, kind).where(versions.c.name == ref.name)
    if isinstance(ref.version, int):
        query = query.where(versions.c.number == ref.version)
    elif ref.version is not None and ref.version != "latest":
        query = query.where(*_named(stores, kind, ref.name, ref.version))
    with reading(stores.engine) as connection:
        rows = connection.execute(query.order_by(versions.c.number.desc()))
        row = next((row for row in rows if not gone.holds(row.project, kind, row.name, row.number)), None)
    if row is None or ref.project != stores.project:
        raise NotFoundError(f"There is no {kind} {ref}: see casemate {kind} list.", code="not-found")
    return _version(stores, row)


def _named(stores: Stores, kind: AssetKind, name: str, version: str) -> list[Any]:
    """Conditions for a digest, or for a tag as the signed state has it: only datasets have tags."""
    about = find_tagged(stores, name, version) if kind is AssetKind.DATASET and ":" not in version else None
    return (
        [versions.c.digest == version]
        if about is None
        else [versions.c.digest == about.digest, versions.c.number == about.number]
    )


def list_versions(stores: Stores, kind: AssetKind, name: str | None = None) -> list[Version]:
    """All live versions, by name, oldest first. Raises: VerificationError: the signed state was altered."""
    gone = deleted_of(stores)
    return [one for one in stored_versions(stores, kind, name) if not is_deleted(gone, one)]


def is_deleted(gone: Deleted, version: Version) -> bool:
    """Whether its deletion is on record; then its rows are what a crash left, or what somebody put back."""
    about = version.about
    return gone.holds(about.project, about.kind, about.name, about.number)


def stored_versions(stores: Stores, kind: AssetKind, name: str | None = None) -> list[Version]:
    """All that the rows call live, by name, oldest first: also what was deleted, and is there again."""
    query = _live(stores, kind).order_by(versions.c.name, versions.c.number)
    if name is not None:
        query = query.where(versions.c.name == name)
    with reading(stores.engine) as connection:
        return [_version(stores, row) for row in connection.execute(query)]


def traced_versions(stores: Stores, kind: AssetKind) -> list[Version]:
    """All versions that were ever there, deleted ones too: what was made from these is still made from them."""
    query = select(versions).where(versions.c.project == stores.project, versions.c.kind == kind.value)
    with reading(stores.engine) as connection:
        rows = connection.execute(query.order_by(versions.c.name, versions.c.number))
        return [_version(stores, row) for row in rows]


def find_traced(stores: Stores, kind: AssetKind, ref: Ref) -> Version:
    """As `find_version`, or a deleted version that `ref` names by number or digest: to say that it was bad, and no more."""
    try:
        return find_version(stores, kind, ref)
    except NotFoundError:
        traced = [one for one in traced_versions(stores, kind) if one.about.name == ref.name]
        named = [one for one in traced if ref.version in (one.number, one.digest)]
        if not named or ref.project != stores.project:
            raise
        return named[-1]


def newest_number(stores: Stores, kind: AssetKind, name: str) -> int:
    """The highest number that a version of an asset was ever given; 0: none."""
    query = select(func.max(versions.c.number)).where(
        versions.c.project == stores.project, versions.c.kind == kind.value, versions.c.name == name
    )
    with reading(stores.engine) as connection:
        stored = connection.execute(query).scalar() or 0
    return max(stored, deleted_of(stores).last_number(stores.project, kind, name))


def latest_versions(stores: Stores, kind: AssetKind) -> list[tuple[Version, int]]:
    """The newest live version of each asset, with how many there are, as the rows say."""
    newest: dict[str, tuple[Version, int]] = {}
    for version in list_versions(stores, kind):
        _, count = newest.get(version.about.name, (version, 0))
        newest[version.about.name] = version, count + 1
    return list(newest.values())


def blobs_of(stores: Stores, version: Version) -> dict[str, list[BlobRecord]]:
    """path -> the pieces of that file, in order, as the database says."""
    return {path: pieces for path, pieces in _stored(stores, version).items() if not path.startswith(KEPT)}


def kept_blobs_of(stores: Stores, version: Version) -> dict[str, list[BlobRecord]]:
    """The same of what is kept beside the asset."""
    found = _stored(stores, version).items()
    return {path.removeprefix(KEPT): pieces for path, pieces in found if path.startswith(KEPT)}


def _stored(stores: Stores, version: Version) -> dict[str, list[BlobRecord]]:
    query = (
        select(version_blobs.c.path, blobs)
        .join(blobs, blobs.c.id == version_blobs.c.blob_id)
        .where(version_blobs.c.version_id == version.id)
        .order_by(version_blobs.c.path, version_blobs.c.piece)
    )
    found: dict[str, list[BlobRecord]] = {}
    with reading(stores.engine) as connection:
        for row in connection.execute(query):
            found.setdefault(row.path, []).append(_record(row))
    return found


def pieces_stored(stores: Stores, kind: AssetKind, name: str) -> dict[Digest, BlobRecord]:
    """By digest: the blobs that live versions of an asset hold, as the database says."""
    query = (
        select(blobs)
        .join(version_blobs, version_blobs.c.blob_id == blobs.c.id)
        .join(versions, versions.c.id == version_blobs.c.version_id)
        .where(versions.c.project == stores.project, versions.c.kind == kind.value, versions.c.name == name)
        .where(versions.c.state == "live", blobs.c.asset == f"{kind}/{name}", blobs.c.project == stores.project)
        .distinct()
    )
    gone = deleted_of(stores).blobs
    with reading(stores.engine) as connection:
        return {Digest(row.digest): _record(row) for row in connection.execute(query) if row.id not in gone}


def _record(row: Row[Any]) -> BlobRecord:
    return BlobRecord(
        id=row.id,
        project=row.project,
        asset=row.asset,
        wrapped_key=bytes(row.wrapped_key),
        size=row.size,
        digest=Digest(row.digest),
    )


def signed_version(stores: Stores, version: Version) -> SignedVersion:
    """The version's record with its attestations; nothing of it is verified yet."""
    return SignedVersion(about=version.about, manifest=version.manifest, attestations=_attestations(stores, version))


def known_blobs(stores: Stores) -> set[str]:
    """Ids of the blobs that a row names: at start, `BlobStore.clean` removes every other."""
    with reading(stores.engine) as connection:
        return set(connection.execute(select(blobs.c.id)).scalars())


def _attestations(stores: Stores, version: Version) -> dict[str, bytes]:
    # The manifest holds project, kind and name, so one live version at most has this digest; deleting removes both.
    query = select(attestations.c.predicate_type, attestations.c.envelope).where(
        attestations.c.version_digest == version.digest, attestations.c.project == version.about.project
    )
    with reading(stores.engine) as connection:
        return {row.predicate_type: bytes(row.envelope) for row in connection.execute(query)}


def _live(stores: Stores, kind: AssetKind) -> Any:
    return select(versions).where(
        versions.c.project == stores.project, versions.c.kind == kind.value, versions.c.state == "live"
    )


def _version(stores: Stores, row: Row[Any]) -> Version:
    return Version(
        id=row.id,
        about=VersionIdentity(
            project=row.project,
            kind=AssetKind(row.kind),
            name=row.name,
            number=row.number,
            digest=Digest(row.digest),
        ),
        manifest=_open_manifest(stores, row),
        data_class=row.data_class,
        state=row.state,
        created_at=row.created_at,
        created_by=row.created_by,
    )


def manifest_context(project: str, kind: str, name: str, number: int) -> bytes:
    """What binds an encrypted manifest to its row."""
    return canonical({"project": project, "kind": kind, "name": name, "number": number})


def _open_manifest(stores: Stores, row: Row[Any]) -> bytes:
    """The manifest, or nothing if it was altered: that has not its digest, so nothing comes of the version."""
    try:
        return stores.cipher.open(bytes(row.manifest), manifest_context(row.project, row.kind, row.name, row.number))
    except VerificationError:
        return b""
