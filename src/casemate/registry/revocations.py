"""Revocations: a version that was found bad is used for nothing again; nor, where asked, is what was made from it."""

from __future__ import annotations

from typing import Any, Literal

import msgspec

from casemate.core import AssetKind, CasemateError, Digest, Principal, VerificationError, digest_of, rfc3339
from casemate.registry.stores import Stores, unreadable
from casemate.registry.versions import Manifest, Version, list_versions
from casemate.signing import VersionIdentity
from casemate.storage import LedgerEntry

_REVOCATION = "revocation"
_ROWS = "data.parquet"
_MADE_FROM = ("restored", "quarantined", "made_from")  # facts of a dataset's manifest that name a version by its digest


class Revocation(msgspec.Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """A ledger body: nothing with this digest is deployed, loaded, trained on or restored again."""

    about: VersionIdentity
    revoked_by: str
    reason: str
    at: str
    schema: Literal[1] = 1


def revocation(stores: Stores, version: Version, *, actor: Principal, reason: str) -> tuple[str, dict[str, Any]]:
    """The ledger entry that ends a version."""
    at = rfc3339(stores.clock.now())
    body = Revocation(about=version.about, revoked_by=actor.id, reason=reason, at=at)
    return _REVOCATION, msgspec.to_builtins(body)


def descendants_of(stores: Stores, version: Version) -> list[Version]:
    """The live versions that were made from `version`, at whatever remove, as their manifests tell.

    Made from a dataset: what was restored, parted or, as its pusher says, anonymised from it; models that were trained on it,
    here or elsewhere. Made from a model: what holds the file that it serves, under whatever name, what began from it, and what
    this home converted from the same pickle.
    A version whose manifest was altered is left out, since nobody knows what it was made from: see `altered_versions`.
    """
    whole = [
        (one, manifest) for kind in AssetKind for one in list_versions(stores, kind) if (manifest := _manifest(one))
    ]
    found: dict[Digest, Version] = {}
    marks = _marks(version, _manifest(version))
    while True:
        born = [
            (one, manifest)
            for one, manifest in whole
            if one.digest not in found and one.digest != version.digest and marks & _origins(manifest)
        ]
        if not born:
            return list(found.values())
        found |= {one.digest: one for one, _ in born}
        marks = marks.union(*(_marks(one, manifest) for one, manifest in born))


def resting_on(stores: Stores, signer: str) -> list[Version]:
    """The live model versions whose provenance this signer signed, and all that was made from these. Args: signer: its id."""
    found: dict[Digest, Version] = {}
    for one in list_versions(stores, AssetKind.MODEL):
        manifest = _manifest(one)
        if manifest and manifest.lineage and manifest.lineage.outside and manifest.lineage.outside.signer == signer:
            found |= {made.digest: made for made in (one, *descendants_of(stores, one))}
    return list(found.values())


def altered_versions(stores: Stores) -> list[Version]:
    """The live versions whose manifest is not the one that was signed. None of them loads; one may serve since before."""
    return [one for kind in AssetKind for one in list_versions(stores, kind) if _manifest(one) is None]


def is_revoked(stores: Stores, version: Version) -> bool:
    """Whether this content was revoked, under whatever number."""
    return version.digest in revoked_digests(stores)


def revoked_digests(stores: Stores) -> frozenset[Digest]:
    """The contents that were revoked. Raises: VerificationError."""
    start: frozenset[Digest] = frozenset()
    return stores.folded(_REVOCATION, start, _fold_revocations)


def check_not_revoked(stores: Stores, version: Version) -> None:
    """Raises: VerificationError `revoked`."""
    if is_revoked(stores, version):
        raise VerificationError(
            f"{version.about.name}@{version.number} was revoked: use another version.", code="revoked"
        )


def _fold_revocations(last: frozenset[Digest], entries: list[LedgerEntry]) -> frozenset[Digest]:
    found = set(last)
    for entry in entries:
        try:
            found.add(msgspec.convert(entry.body, Revocation).about.digest)
        except msgspec.ValidationError as error:
            raise unreadable(entry.kind, entry.number) from error
    return frozenset(found)


def _manifest(version: Version) -> Manifest | None:
    """As it was signed; None where the row says something else."""
    if digest_of(version.manifest) != version.digest:
        return None
    try:
        return version.read_manifest()
    except CasemateError:
        return None


def _marks(version: Version, manifest: Manifest | None) -> set[str]:
    """What others know a version by: its digest, that of its rows as they are pulled, that of the file that it serves."""
    rows = manifest.files.get(_ROWS) if manifest and version.about.kind is AssetKind.DATASET else None
    served = _served(manifest)
    return {
        version.digest,
        *([rows.digest] if rows else []),
        *([f"served {served}"] if served else []),
        *_pickle(manifest),
    }


def _origins(manifest: Manifest) -> set[str]:
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
