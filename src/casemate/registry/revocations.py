"""Revocations: a version that was found bad is used for nothing again; nor, where asked, is what was made from it."""

from __future__ import annotations

from typing import Any, Literal

import msgspec

from casemate.core import AssetKind, CasemateError, Digest, Principal, VerificationError, digest_of, rfc3339
from casemate.registry.deletions import deleted_of
from casemate.registry.stores import Stores, unreadable
from casemate.registry.versions import (
    Manifest,
    Version,
    is_deleted,
    list_versions,
    newest_number,
    traced_versions,
)
from casemate.signing import VersionIdentity
from casemate.storage import LedgerEntry

_REVOCATION = "revocation"
_ROWS = "data.parquet"
_MADE_FROM = ("restored", "quarantined", "made_from")  # facts of a dataset's manifest that name a version by its digest


class Revocation(msgspec.Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """A ledger body: nothing with this digest is deployed, loaded, trained on or restored again.

    Args: content: the digest of a dataset's rows, or of the file that a model serves; newest: the highest number that was given
        under the name by then. What has this content and a higher number is revoked, too, whatever is said of it.
    """

    about: VersionIdentity
    revoked_by: str
    reason: str
    at: str
    content: Digest | None = None
    newest: int = 0
    schema: Literal[1] = 1


_Content = tuple[str, AssetKind, str, Digest]  # project, kind and name; the digest of what was pushed under it


class _Ended(msgspec.Struct, frozen=True):
    """Args: contents: that were revoked, and the number up to which a version that holds them stays as it is."""

    digests: frozenset[Digest] = frozenset()
    contents: dict[_Content, int] = {}


def revocation(stores: Stores, version: Version, *, actor: Principal, reason: str) -> tuple[str, dict[str, Any]]:
    """The ledger entry that ends a version."""
    at, about = rfc3339(stores.clock.now()), version.about
    content = _content(version)
    newest = newest_number(stores, about.kind, about.name) if content else 0
    body = Revocation(about=about, revoked_by=actor.id, reason=reason, at=at, content=content, newest=newest)
    return _REVOCATION, msgspec.to_builtins(body)


def descendants_of(stores: Stores, version: Version) -> list[Version]:
    """The live versions that were made from `version`, at whatever remove, as their manifests tell.

    Made from a dataset: what was restored, parted or, as its pusher says, anonymised from it; models that were trained on it,
    here or elsewhere. Made from a model: what holds the file that it serves, under whatever name, what began from it, and what
    this home converted from the same pickle. What was deleted meanwhile is followed through, too.
    A version whose manifest was altered is left out, since nobody knows what it was made from: see `altered_versions`.
    """
    whole = _traced(stores)
    found: list[Version] = []
    seen, marks = {version.digest}, marks_of(version)
    while True:
        born = [one for one, manifest in whole if one.digest not in seen and marks & origins_of(manifest)]
        if not born:
            gone = deleted_of(stores)
            return [one for one in found if one.state == "live" and not is_deleted(gone, one)]
        found += born
        seen |= {one.digest for one in born}
        marks = marks.union(*map(marks_of, born))


def resting_on(stores: Stores, signer: str) -> list[Version]:
    """The live model versions whose provenance this signer signed, and all that was made from these. Args: signer: its id."""
    found: dict[Digest, Version] = {}
    gone = deleted_of(stores)
    for one, manifest in _traced(stores):
        if manifest.lineage and manifest.lineage.outside and manifest.lineage.outside.signer == signer:
            if one.state == "live" and not is_deleted(gone, one):
                found[one.digest] = one
            found |= {made.digest: made for made in descendants_of(stores, one)}
    return list(found.values())


def altered_versions(stores: Stores) -> list[Version]:
    """The live versions whose manifest is not the one that was signed. None of them loads; one may serve since before."""
    return [one for kind in AssetKind for one in list_versions(stores, kind) if _manifest(one) is None]


def is_revoked(stores: Stores, version: Version) -> bool:
    """Whether this version was revoked, or its rows or the file that it serves were before they came again under its name."""
    ended, about = _ended(stores), version.about
    if version.digest in ended.digests:
        return True
    content = _content(version)
    last = ended.contents.get((about.project, about.kind, about.name, content)) if content else None
    return last is not None and version.number > last


def revoked_digests(stores: Stores) -> frozenset[Digest]:
    """The contents that were revoked. Raises: VerificationError."""
    return _ended(stores).digests


def check_not_revoked(stores: Stores, version: Version) -> None:
    """Raises: VerificationError `revoked`."""
    if is_revoked(stores, version):
        raise VerificationError(
            f"{version.about.name}@{version.number} was revoked: use another version.", code="revoked"
        )


def check_origins(stores: Stores, manifest: Manifest) -> None:
    """Return while nothing that a version says it was made from was revoked, here or by an outside trainer's word.

    Raises: VerificationError `revoked`.
    """
    ended = _ended(stores)
    bad = {*ended.digests, *(content for _, kind, _, content in ended.contents if kind is AssetKind.DATASET)}
    if bad & origins_of(manifest):
        raise VerificationError(
            f"{manifest.name} says that it was made from what was revoked: train it on something else.", code="revoked"
        )


def _ended(stores: Stores) -> _Ended:
    return stores.folded(_REVOCATION, _Ended(), _fold_revocations)


def _fold_revocations(last: _Ended, entries: list[LedgerEntry]) -> _Ended:
    digests, contents = set(last.digests), dict(last.contents)
    for entry in entries:
        try:
            body = msgspec.convert(entry.body, Revocation)
        except msgspec.ValidationError as error:
            raise unreadable(entry.kind, entry.number) from error
        about = body.about
        digests.add(about.digest)
        if body.content:
            contents.setdefault((about.project, about.kind, about.name, body.content), body.newest)
    return _Ended(frozenset(digests), contents)


def _traced(stores: Stores) -> list[tuple[Version, Manifest]]:
    """All versions that were ever there, with what was signed of them."""
    return [
        (one, manifest) for kind in AssetKind for one in traced_versions(stores, kind) if (manifest := _manifest(one))
    ]


def _manifest(version: Version) -> Manifest | None:
    """As it was signed; None where the row says something else."""
    if digest_of(version.manifest) != version.digest:
        return None
    try:
        return version.read_manifest()
    except CasemateError:
        return None


def _rows(version: Version) -> Digest | None:
    """The digest of a dataset's rows, as they are pulled."""
    manifest = _manifest(version)
    entry = manifest.files.get(_ROWS) if manifest and version.about.kind is AssetKind.DATASET else None
    return entry.digest if entry else None


def _content(version: Version) -> Digest | None:
    """What was pushed: a dataset's rows, or the file that a model serves."""
    return _rows(version) or _served(_manifest(version))


def marks_of(version: Version) -> set[str]:
    """What others know a version by: its digest, that of its rows as they are pulled, that of the file that it serves."""
    manifest = _manifest(version)
    rows, served = _rows(version), _served(manifest)
    return {
        version.digest,
        *([rows] if rows else []),
        *([f"served {served}"] if served else []),
        *_pickle(manifest),
    }


def origins_of(manifest: Manifest) -> set[str]:
    """What this version says it was made from, by the marks of others."""
    lineage, served = manifest.lineage, _served(manifest)
    named = [lineage.dataset, lineage.base] if lineage else []
    found: set[str] = {one.digest for one in named if one}
    if lineage and lineage.outside:
        found |= {one.digest for one in lineage.outside.training.dependencies if one.digest}
    facts = [manifest.facts.get(name) for name in _MADE_FROM]
    found |= {str(fact["digest"]) for fact in facts if isinstance(fact, dict) and "digest" in fact}
    return {*found, *([f"served {served}"] if served else []), *_pickle(manifest)}


def _pickle(manifest: Manifest | None) -> set[str]:
    """What it was converted from, which may lie behind other versions, too."""
    return {f"converted {manifest.conversion.source.digest}"} if manifest and manifest.conversion else set()


def _served(manifest: Manifest | None) -> Digest | None:
    """Of the file that is the model."""
    served = manifest.facts.get("served") if manifest else None
    entry = manifest.files.get(served["path"]) if manifest and isinstance(served, dict) else None
    return entry.digest if entry else None
