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
_MADE_FROM = ("restored", "quarantined")  # facts of a dataset's manifest that name a version by its digest


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

    Of a dataset: what was restored or parted from it, and the models that were made from any of these, or from one of
    these models. Of a model: what holds the file that it serves, under whatever name, and what was made from any of these. A version whose manifest was altered is left out, since nobody
    knows what it was made from: see `altered_versions`.
    """
    whole = [
        (one, manifest) for kind in AssetKind for one in list_versions(stores, kind) if (manifest := _manifest(one))
    ]
    served = _served(_manifest(version)) if version.about.kind is AssetKind.MODEL else None
    found = {
        one.digest: one
        for one, manifest in whole
        if served and one.digest != version.digest and served == _served(manifest)
    }
    ancestors = {version.digest, *found}
    while True:
        born = [one for one, manifest in whole if one.digest not in ancestors and ancestors & _origins(manifest)]
        if not born:
            return list(found.values())
        found |= {one.digest: one for one in born}
        ancestors |= {one.digest for one in born}


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


def _origins(manifest: Manifest) -> set[str]:
    """Digests of the versions that this one says it was made from."""
    lineage = manifest.lineage
    found = {one.digest for one in (lineage.dataset, lineage.base) if one} if lineage else set()
    facts = [manifest.facts.get(name) for name in _MADE_FROM]
    return {*found, *(str(fact["digest"]) for fact in facts if isinstance(fact, dict) and "digest" in fact)}


def _served(manifest: Manifest | None) -> Digest | None:
    """Of the file that is the model."""
    served = manifest.facts.get("served") if manifest else None
    entry = manifest.files.get(served["path"]) if manifest and isinstance(served, dict) else None
    return entry.digest if entry else None
