"""What ends for good: a version, or the trust in a signer outside; with it, where asked, what rests on it, in one commit."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import msgspec

from casemate.core import AssetKind, InputError, Principal, Ref
from casemate.registry.deployments_state import KIND, Change, changed, deployments_of
from casemate.registry.revocations import (
    altered_versions,
    descendants_of,
    resting_on,
    revocation,
    revoked_digests,
)
from casemate.registry.signers import Signers, removal
from casemate.registry.stores import Pen, Stores
from casemate.registry.versions import Version, find_traced


def end_version(
    stores: Stores, pen: Pen, ref: Ref, kind: AssetKind, *, actor: Principal, intent: str, reason: str, cascade: bool
) -> dict[str, Any]:
    """Revoke a version, also one that was deleted, and pause what serves it. Args: cascade: and what was made from it, as `descendants_of` finds it.

    Returns: paused: the names of deployments; descendants: what was made from it, ended or not; altered: versions that may
        have been, and nobody can tell.
    Raises: NotFoundError; InputError `no-reason`.
    """
    _check_reason(reason)
    with pen.deciding:
        version = find_traced(stores, kind, ref)
        descendants = descendants_of(stores, version)
        also = descendants if cascade else []
        paused = _end(stores, pen, [version], also, actor=actor, intent=intent, reason=reason)
    return {
        "name": version.about.name,
        "version": version.number,
        "digest": version.digest,
        "state": "revoked",
        **_told(stores, descendants, paused, cascade=cascade),
    }


def end_signer(
    stores: Stores, pen: Pen, name: str, *, actor: Principal, intent: str, reason: str, cascade: bool
) -> dict[str, Any]:
    """Believe nothing any more that a signer outside signs.

    Args: name: or id. cascade: end every version that was pushed under it, and what was made from these; without it they
        stay, as they were believed then.
    Returns: as `end_version`; descendants: what rests on its word, ended or not.
    Raises: NotFoundError; InputError `no-reason`.
    """
    _check_reason(reason)
    with pen.deciding:
        signer = Signers(stores).find(name)
        resting = resting_on(stores, signer.id)
        gone = removal(stores, signer, actor=actor, reason=reason)
        also = resting if cascade else []
        paused = _end(stores, pen, [], also, [gone], actor=actor, intent=intent, reason=reason)
    told = _told(stores, resting, paused, cascade=cascade)
    return {"id": signer.id, "name": signer.name, "state": "removed", **told}


def _end(
    stores: Stores,
    pen: Pen,
    named: list[Version],
    also: list[Version],
    first: Sequence[tuple[str, dict[str, Any]]] = (),
    *,
    actor: Principal,
    intent: str,
    reason: str,
) -> list[str]:
    """Revoke and pause in one commit; the names of what is paused.

    Args: named: said again where they ended before. also: those that did not. first: what is said before.
    """
    before = revoked_digests(stores)
    digests = {one.digest for one in (*named, *also)}
    serving = [last for last in deployments_of(stores).values() if last.digest in digests and not last.paused]
    records = [changed(last, Change.PAUSED, actor, reason, paused=True) for last in serving]
    fresh = [*named, *(one for one in also if one.digest not in before)]
    entries = [revocation(stores, one, actor=actor, reason=reason) for one in fresh]
    pen.commit([*first, *entries, *((KIND, msgspec.to_builtins(record)) for record in records)], intent)
    return [record.name for record in records]


def _told(stores: Stores, resting: list[Version], paused: list[str], *, cascade: bool) -> dict[str, Any]:
    return {
        "cascade": cascade,
        "descendants": [_named(one) for one in resting],
        "altered": [_named(one) for one in altered_versions(stores)],
        "paused": paused,
    }


def _named(version: Version) -> dict[str, Any]:
    about = version.about
    return {"kind": about.kind.value, "name": about.name, "version": about.number, "digest": about.digest}


def _check_reason(reason: str) -> None:
    if not reason:
        raise InputError("Say why, since it cannot be undone: --reason TEXT.", code="no-reason")
