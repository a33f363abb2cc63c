"""Committing and deleting versions: all rows of one push in one transaction, its blobs kept before."""

from __future__ import annotations

import time
from collections.abc import Collection, Iterator, Mapping, Sequence
from contextlib import suppress
from dataclasses import dataclass, field
from datetime import datetime
from typing import Any

import msgspec
from sqlalchemy import Connection, Select, delete, insert, select, update
from sqlalchemy.exc import IntegrityError, SQLAlchemyError

from casemate.core import (
    AssetKind,
    ConflictError,
    Digest,
    NotFoundError,
    Principal,
    Ref,
    StorageError,
    canonical,
    digest_of,
    new_id,
    rfc3339,
)
from casemate.registry.deletions import DELETION, deletion, read_deletion
from casemate.registry.deployments_state import is_undoing
from casemate.registry.provenance import USED
from casemate.registry.stores import Pen, Stores
from casemate.registry.versions import (
    FileEntry,
    Manifest,
    Version,
    find_version,
    manifest_context,
    newest_number,
    pieces_stored,
)
from casemate.signing import RUN, Predicate, VersionIdentity, is_run_here, sign_files, sign_statement, sign_training
from casemate.signing.provenance import PROVENANCE
from casemate.storage import BlobRecord, Push, reading, shred
from casemate.storage.database import assets, attestations, blobs, version_blobs, versions

_SHRED_ATTEMPTS, _SHRED_PAUSE = 5, 0.05  # seconds; a commit or a look of a process of ours lasts some ms
_BATCH = 500  # ids in one statement
_ATTEMPTS = 50  # other pushes of the same name that may come between; each attempt loses to at most one of them


@dataclass(frozen=True, slots=True, kw_only=True)
class Draft:
    """A version that has no number yet.

    Args: scan: facts of the scan statement; None for a dataset. run: what is signed of the training, or conversion, beside
        what the manifest says of it.
        outside: by type, what others signed and is stored beside it; the manifest has its digest.
    """

    manifest: Manifest
    scan: Mapping[str, Any] | None = None
    run: Mapping[str, Any] | None = None
    outside: Mapping[str, bytes] = field(default_factory=dict)


def commit_version(
    stores: Stores,
    pen: Pen,
    draft: Draft,
    push: Push,
    *,
    actor: Principal,
    intent: str,
    shared: Mapping[str, Sequence[BlobRecord]] | None = None,
) -> tuple[Version, bool]:
    """Keep the push's blobs, sign, and commit; or return the live version that has this very content already.

    Args: shared: by path, files that another version of this asset holds, for this one to hold too. That none of them is
        deleted meanwhile, nor a piece that the push shares, is the caller's to see to: see `check_held`.
    Returns: the version, and whether it is new. After a failure nothing of the push is left.
    Raises: ConflictError `busy`: too many pushes of this name at once. StorageError.
    """
    manifest = draft.manifest
    data = canonical(manifest)
    digest = digest_of(data)
    bundle = sign_files(
        manifest.name, {path: entry.digest for path, entry in manifest.files.items()}, signer=pen.signer
    )
    kept = False
    try:
        for _ in range(_ATTEMPTS):
            number = (
                newest_number(stores, manifest.kind, manifest.name) + 1
            )  # first, so that whoever commits from here on takes this number
            existing = _find_live(stores, manifest, digest)
            if existing is not None:
                return existing, False
            about = VersionIdentity(
                project=manifest.project, kind=manifest.kind, name=manifest.name, number=number, digest=digest
            )
            now = stores.clock.now()
            signed = _sign(pen, draft, about, bundle, actor=actor, at=now)
            if not kept:
                push.keep()
                kept = True
            beside = {**signed, **draft.outside}
            rows = _Rows(about=about, manifest=data, data_class=manifest.data_class, signed=beside)
            try:
                _insert(
                    stores, rows, push, {**push.files, **(shared or {})}, actor=actor, intent=intent, at=rfc3339(now)
                )
            except IntegrityError:
                continue
            kept = False
            return find_version(stores, manifest.kind, Ref(manifest.name, number, manifest.project)), True
    finally:
        if kept:
            for record in push.made:
                stores.blobs.delete(record.id)
    raise ConflictError(f"Too many pushes of {manifest.name} at once: push again.", code="busy")


def record_deletion(stores: Stores, pen: Pen, version: Version, *, intent: str) -> None:
    """Say in the ledger, signed, that a version is gone, and the keys of the blobs that no other version holds.

    From here on nothing finds it, whatever rows there are; `remove_version` comes next. Raises: VerificationError.
    """
    with reading(stores.engine) as connection:
        lost = set(connection.execute(_held_alone(version.id)).scalars())
    pen.commit([deletion(stores, version.about, lost)], intent)


def remove_version(stores: Stores, version: Version, *, intent: str) -> dict[str, str]:
    """Destroy a version's files: the keys of blobs that no other version holds go first, then the blobs.

    The row stays as deleted, with its manifest: the number is never given again, and lineage still tells its name.
    Returns: empty, or a `warning` for the answer: traces are left where nothing reads them, until later.
    Raises: NotFoundError: it was removed meanwhile. StorageError `deletion-unfinished`: call it again.
    """
    try:
        _remove(stores, version, intent)
        return _shredded(stores)
    except (SQLAlchemyError, OSError) as error:
        raise StorageError(
            f"{version.about.name}@{version.number} counts as deleted, and what is stored of it could not be removed: "
            "delete it again.",
            code="deletion-unfinished",
        ) from error


def finish_deletions(stores: Stores, intents: Collection[str]) -> None:
    """Remove what a crash left of versions whose deletion was recorded under one of these intents, which are open."""
    for entry in stores.state.entries():
        if entry.kind == DELETION and entry.intent in intents:
            about = read_deletion(entry).about
            with suppress(NotFoundError):
                ref = Ref(about.name, about.number, about.project)
                remove_version(stores, find_version(stores, about.kind, ref, deleted=True), intent=entry.intent)


def _remove(stores: Stores, version: Version, intent: str) -> None:
    with stores.engine.begin() as connection:
        pushed = connection.execute(select(versions.c.intent).where(versions.c.id == version.id)).scalar()
        gone = connection.execute(
            update(versions)
            .where(versions.c.id == version.id, versions.c.state == "live")
            .values(state="deleted", intent=intent)
        )
        if not gone.rowcount:
            raise NotFoundError(f"{version.about} was deleted meanwhile.", code="not-found")
        lost = set(connection.execute(_held_alone(version.id)).scalars())
        connection.execute(delete(version_blobs).where(version_blobs.c.version_id == version.id))
        said = delete(attestations).where(attestations.c.version_digest == version.digest)
        connection.execute(said.where(attestations.c.intent == pushed))  # not of the same content, pushed anew since
        for ids in _batches(sorted(lost)):
            connection.execute(delete(blobs).where(blobs.c.id.in_(ids)))
    for blob_id in lost:  # the keys are gone: a crash from here on leaves files that nobody can read, cleaned at start
        stores.blobs.delete(blob_id)


def _shredded(stores: Stores) -> dict[str, str]:
    """Empty the write-ahead log without making anybody wait; what cannot be now is said, since the version is gone."""
    for attempt in range(_SHRED_ATTEMPTS):
        time.sleep(_SHRED_PAUSE if attempt else 0.0)
        try:
            shred(stores.engine, wait=False)
        except StorageError as error:
            found = error.message
        else:
            return {}
    return {"warning": found}


def check_held(stores: Stores, asset: AssetKind, name: str, shared: Collection[str]) -> None:
    """Return while live versions hold all the blobs `shared`; the caller lets no deletion in until it has committed.

    Raises: ConflictError `rows-gone`: a version that shared them was deleted meanwhile.
    """
    if shared and not set(shared) <= {record.id for record in pieces_stored(stores, asset, name).values()}:
        raise ConflictError(
            f"A version of {name} that has rows in common with this push was deleted meanwhile: push again.",
            code="rows-gone",
        )


def _held_alone(version_id: str) -> Select[Any]:
    """Ids of the blobs that this version holds, and no other."""
    others = version_blobs.alias()
    elsewhere = select(others.c.blob_id).where(
        others.c.version_id != version_id, others.c.blob_id == version_blobs.c.blob_id
    )
    return (
        select(version_blobs.c.blob_id).where(version_blobs.c.version_id == version_id, ~elsewhere.exists()).distinct()
    )


def _batches(ids: list[str]) -> Iterator[list[str]]:
    return (ids[start : start + _BATCH] for start in range(0, len(ids), _BATCH))


def took_effect(stores: Stores, intent: str) -> bool:
    """Whether what was done under this intent is wholly there: its rows or its ledger entry were committed, not undone."""
    with reading(stores.engine) as connection:
        row = connection.execute(select(versions.c.id).where(versions.c.intent == intent).limit(1)).first()
    # That a statement is used is said before the version is there, which alone is what was to be done.
    entries = [entry for entry in stores.state.entries() if entry.intent == intent and entry.kind != USED]
    return row is not None or (bool(entries) and not any(is_undoing(entry) for entry in entries))


class _Rows(msgspec.Struct, frozen=True, kw_only=True):
    about: VersionIdentity
    manifest: bytes
    data_class: str
    signed: dict[str, bytes]  # by type


def _sign(
    pen: Pen, draft: Draft, about: VersionIdentity, bundle: bytes, *, actor: Principal, at: datetime
) -> dict[str, bytes]:
    release = {"bundle": digest_of(bundle), "pushed_by": actor.id}
    facts: dict[Predicate, Mapping[str, Any]] = {Predicate.RELEASE: release}
    if draft.scan is not None:
        facts[Predicate.SCAN] = draft.scan
    run = {RUN: {**draft.run, "by": actor.id}} if draft.run else {}
    conversion = draft.manifest.conversion
    if conversion is not None:
        facts[Predicate.CONVERSION] = {**msgspec.to_builtins(conversion), **run}
    if draft.manifest.lineage is not None:
        facts[Predicate.TRAINING] = {**msgspec.to_builtins(draft.manifest.lineage), **({} if conversion else run)}
    signed: dict[str, bytes] = {Predicate.FILES.value: bundle}
    for predicate, said in facts.items():
        if predicate is Predicate.TRAINING and is_run_here(said):
            files, kept = (_digests(entries) for entries in (draft.manifest.files, draft.manifest.kept))
            signed[PROVENANCE] = sign_training(about, dict(said), files, kept, signer=pen.signer, at=at)
        else:
            signed[predicate.value] = sign_statement(predicate, about, dict(said), signer=pen.signer, at=at)
    return signed


def _digests(files: Mapping[str, FileEntry]) -> dict[str, Digest]:
    return {path: entry.digest for path, entry in files.items()}


def _insert(
    stores: Stores,
    rows: _Rows,
    push: Push,
    files: Mapping[str, Sequence[BlobRecord]],
    *,
    actor: Principal,
    intent: str,
    at: str,
) -> None:
    about, version_id = rows.about, new_id("ver")
    context = manifest_context(about.project, about.kind.value, about.name, about.number)
    with stores.engine.begin() as connection:
        _ensure_asset(connection, about, at)
        connection.execute(
            insert(versions).values(
                id=version_id,
                project=about.project,
                kind=about.kind.value,
                name=about.name,
                number=about.number,
                digest=about.digest,
                manifest=stores.cipher.seal(rows.manifest, context),
                data_class=rows.data_class,
                state="live",
                created_at=at,
                created_by=actor.id,
                intent=intent,
            )
        )
        if push.made:
            made = [{**msgspec.structs.asdict(record), "created_at": at} for record in push.made]
            connection.execute(insert(blobs), made)
            stores.blobs.check_keys(push.made)
        connection.execute(
            insert(version_blobs),
            [
                {"version_id": version_id, "path": path, "piece": piece, "blob_id": record.id}
                for path, pieces in files.items()
                for piece, record in enumerate(pieces)
            ],
        )
        connection.execute(
            insert(attestations),
            [
                {
                    "id": new_id("att"),
                    "project": about.project,
                    "version_digest": about.digest,
                    "predicate_type": predicate,
                    "envelope": envelope,
                    "created_at": at,
                    "intent": intent,
                }
                for predicate, envelope in rows.signed.items()
            ],
        )


def _ensure_asset(connection: Connection, about: VersionIdentity, at: str) -> None:
    key = {"project": about.project, "kind": about.kind.value, "name": about.name}
    found = select(assets.c.name).filter_by(**key)
    if connection.execute(found).first() is None:
        connection.execute(insert(assets).values(**key, created_at=at))


def _find_live(stores: Stores, manifest: Manifest, digest: Digest) -> Version | None:
    try:
        return find_version(stores, manifest.kind, Ref(manifest.name, digest, manifest.project))
    except NotFoundError:
        return None
