"""Committing and deleting versions: all rows of one push in one transaction, its blobs kept before."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from datetime import datetime
from typing import Any

import msgspec
from sqlalchemy import Connection, delete, func, insert, select, update
from sqlalchemy.exc import IntegrityError

from casemate.core import (
    ConflictError,
    Digest,
    NotFoundError,
    Principal,
    Ref,
    canonical,
    digest_of,
    new_id,
    rfc3339,
)
from casemate.registry.stores import Pen, Stores
from casemate.registry.versions import Manifest, Version, blobs_of, find_version, manifest_context
from casemate.signing import Predicate, VersionIdentity, sign_files, sign_statement
from casemate.storage import BlobRecord, Push, reading, shred
from casemate.storage.database import assets, attestations, blobs, version_blobs, versions

_ATTEMPTS = 50  # other pushes of the same name that may come between; each attempt loses to at most one of them


@dataclass(frozen=True, slots=True, kw_only=True)
class Draft:
    """A version that has no number yet. Args: scan: facts of the scan statement; None for a dataset."""

    manifest: Manifest
    scan: Mapping[str, Any] | None = None


def commit_version(
    stores: Stores, pen: Pen, draft: Draft, push: Push, *, actor: Principal, intent: str
) -> tuple[Version, bool]:
    """Keep the push's blobs, sign, and commit; or return the live version that has this very content already.

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
            number = _next_number(stores, manifest)  # first, so that whoever commits from here on takes this number
            existing = _find_live(stores, manifest, digest)
            if existing is not None:
                return existing, False
            about = VersionIdentity(
                project=manifest.project, kind=manifest.kind, name=manifest.name, number=number, digest=digest
            )
            now = stores.clock.now()
            signed = _sign(pen, draft, about, bundle, now)
            if not kept:
                push.keep()
                kept = True
            rows = _Rows(about=about, manifest=data, data_class=manifest.data_class, signed=signed)
            try:
                _insert(stores, rows, push.records, actor=actor, intent=intent, at=rfc3339(now))
            except IntegrityError:
                continue
            kept = False
            return find_version(stores, manifest.kind, Ref(manifest.name, number, manifest.project)), True
    finally:
        if kept:
            for record in push.records.values():
                stores.blobs.delete(record.id)
    raise ConflictError(f"Too many pushes of {manifest.name} at once: push again.", code="busy")


def delete_version(stores: Stores, version: Version, *, intent: str) -> None:
    """Destroy a version's files: the keys of blobs that no other version holds go first, then the blobs.

    The row stays as deleted, with its manifest: the number is never given again, and lineage still tells its name.
    Raises: NotFoundError: it was deleted meanwhile.
    """
    held = {record.id for record in blobs_of(stores, version).values()}
    with stores.engine.begin() as connection:
        gone = connection.execute(
            update(versions)
            .where(versions.c.id == version.id, versions.c.state == "live")
            .values(state="deleted", intent=intent)
        )
        if not gone.rowcount:
            raise NotFoundError(f"{version.about} was deleted meanwhile.", code="not-found")
        connection.execute(delete(version_blobs).where(version_blobs.c.version_id == version.id))
        connection.execute(delete(attestations).where(attestations.c.version_digest == version.digest))
        shared = set(
            connection.execute(select(version_blobs.c.blob_id).where(version_blobs.c.blob_id.in_(held))).scalars()
        )
        lost = held - shared
        connection.execute(delete(blobs).where(blobs.c.id.in_(lost)))
    for blob_id in lost:  # the keys are gone: a crash from here on leaves files that nobody can read, cleaned at start
        stores.blobs.delete(blob_id)
    shred(stores.engine)


def took_effect(stores: Stores, intent: str) -> bool:
    """Whether what was done under this intent is wholly there: its rows or its ledger entry were committed."""
    with reading(stores.engine) as connection:
        row = connection.execute(select(versions.c.id).where(versions.c.intent == intent).limit(1)).first()
    return row is not None or any(entry.intent == intent for entry in stores.state.entries())


class _Rows(msgspec.Struct, frozen=True, kw_only=True):
    about: VersionIdentity
    manifest: bytes
    data_class: str
    signed: dict[Predicate, bytes]


def _sign(pen: Pen, draft: Draft, about: VersionIdentity, bundle: bytes, at: datetime) -> dict[Predicate, bytes]:
    facts: dict[Predicate, Mapping[str, Any]] = {Predicate.RELEASE: {"bundle": digest_of(bundle)}}
    if draft.scan is not None:
        facts[Predicate.SCAN] = draft.scan
    if draft.manifest.lineage is not None:
        facts[Predicate.TRAINING] = msgspec.to_builtins(draft.manifest.lineage)
    statements = {
        predicate: sign_statement(predicate, about, dict(said), signer=pen.signer, at=at)
        for predicate, said in facts.items()
    }
    return {Predicate.FILES: bundle, **statements}


def _insert(
    stores: Stores, rows: _Rows, records: Mapping[str, BlobRecord], *, actor: Principal, intent: str, at: str
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
        connection.execute(insert(blobs), [{**msgspec.structs.asdict(r), "created_at": at} for r in records.values()])
        connection.execute(
            insert(version_blobs),
            [{"version_id": version_id, "path": path, "blob_id": record.id} for path, record in records.items()],
        )
        connection.execute(
            insert(attestations),
            [
                {
                    "id": new_id("att"),
                    "project": about.project,
                    "version_digest": about.digest,
                    "predicate_type": predicate.value,
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


def _next_number(stores: Stores, manifest: Manifest) -> int:
    query = select(func.max(versions.c.number)).where(
        versions.c.project == manifest.project,
        versions.c.kind == manifest.kind.value,
        versions.c.name == manifest.name,
    )
    with reading(stores.engine) as connection:
        return (connection.execute(query).scalar() or 0) + 1


def _find_live(stores: Stores, manifest: Manifest, digest: Digest) -> Version | None:
    try:
        return find_version(stores, manifest.kind, Ref(manifest.name, digest, manifest.project))
    except NotFoundError:
        return None
