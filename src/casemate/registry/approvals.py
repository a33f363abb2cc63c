"""Approvals and revocations: signed, bound to one version's digest, kept in the ledger."""

from __future__ import annotations

from typing import Any, Literal

import msgspec

from casemate.core import Digest, Environment, PolicyError, Principal, VerificationError, rfc3339
from casemate.registry.ended import ended_of
from casemate.registry.own_approvals import check_own
from casemate.registry.stores import Pen, Stores, T, unreadable
from casemate.registry.versions import Version
from casemate.signing import Predicate, VersionIdentity, sign_statement, verify_statement
from casemate.storage import LedgerEntry

APPROVAL, _REVOCATION = "approval", "revocation"


class Approval(msgspec.Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """A ledger body: somebody said that this version may be deployed to this environment.

    Args: at: when the ledger took it. statement: the signed envelope that says the same; the ledger entry without it
        counts for nothing. own: the envelope that the approver signed themselves, if they did.
    """

    about: VersionIdentity
    environment: Environment
    approver: str
    self_approved: bool
    reason: str
    at: str
    statement: str
    own: str = ""
    schema: Literal[1] = 1

    def summary(self) -> dict[str, Any]:
        """What a person sees of it."""
        return {
            "name": self.about.name,
            "version": self.about.number,
            "digest": self.about.digest,
            "environment": self.environment,
            "approver": self.approver,
            "self_approved": self.self_approved,
            "own_signature": bool(self.own),
            "reason": self.reason,
            "at": self.at,
        }

    def facts(self) -> dict[str, Any]:
        """What its statement must say."""
        return {
            "environment": self.environment.value,
            "approver": self.approver,
            "self_approved": self.self_approved,
        }


class Revocation(msgspec.Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """A ledger body: nothing with this digest may be deployed or loaded again."""

    about: VersionIdentity
    revoked_by: str
    reason: str
    at: str
    schema: Literal[1] = 1


def signed_approval(
    stores: Stores,
    pen: Pen,
    version: Version,
    environment: Environment,
    *,
    approver: str,
    alone: bool,
    reason: str,
    own: str = "",
) -> Approval:
    """The signed word that a version may be deployed. Args: alone: the approver counts as who pushed it. own: an envelope
    that the approver signed themselves.

    Raises: PolicyError `self-approval`: alone, outside `dev`; VerificationError `revoked`; as `check_own`.
    """
    if alone and environment is not Environment.DEV:
        raise PolicyError(
            f"You pushed {version.about.name}@{version.number}: somebody else must approve it for {environment}.",
            code="self-approval",
        )
    check_not_revoked(stores, version)
    now = stores.clock.now()
    if own:
        ended = ended_of(stores)
        check_own(stores.approvers(), own, version.about, environment, approver, at=now, ended=ended)
    approval = Approval(
        about=version.about,
        environment=environment,
        approver=approver,
        self_approved=alone,
        reason=reason,
        at=rfc3339(now),
        statement="",
        own=own,
    )
    statement = sign_statement(Predicate.APPROVAL, version.about, approval.facts(), signer=pen.signer, at=now)
    return msgspec.structs.replace(approval, statement=statement.decode())


def revocation(stores: Stores, version: Version, *, actor: Principal, reason: str) -> tuple[str, dict[str, Any]]:
    """The ledger entry that ends a version: it is never deployed or loaded again."""
    at = rfc3339(stores.clock.now())
    body = Revocation(about=version.about, revoked_by=actor.id, reason=reason, at=at)
    return _REVOCATION, msgspec.to_builtins(body)


def approvals_of(stores: Stores, version: Version) -> list[Approval]:
    """All approvals of exactly this version, oldest first, as recorded. Raises: VerificationError."""
    found: dict[VersionIdentity, tuple[Approval, ...]] = stores.folded(APPROVAL, {}, _fold_approvals)
    return list(found.get(version.about, ()))


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


def check_statement(stores: Stores, version: Version, approval: Approval) -> None:
    """What was recorded of an approval is what was signed. Raises: VerificationError."""
    said = verify_statement(
        approval.statement.encode(),
        Predicate.APPROVAL,
        version.about,
        trust=stores.trust(),
        at=stores.clock.now(),
    )
    if said.facts != approval.facts():
        raise VerificationError(
            f"The approval of {version.about} says something else than its record.", code="approval-mismatch"
        )


def _fold_approvals(
    last: dict[VersionIdentity, tuple[Approval, ...]], entries: list[LedgerEntry]
) -> dict[VersionIdentity, tuple[Approval, ...]]:
    found = dict(last)
    for entry in entries:
        approval = msgspec.structs.replace(_read(entry, Approval), at=entry.at)
        found[approval.about] = (*found.get(approval.about, ()), approval)
    return found


def _fold_revocations(last: frozenset[Digest], entries: list[LedgerEntry]) -> frozenset[Digest]:
    return last | {_read(entry, Revocation).about.digest for entry in entries}


def _read(entry: LedgerEntry, shape: type[T]) -> T:
    try:
        return msgspec.convert(entry.body, shape)
    except msgspec.ValidationError as error:
        raise unreadable(entry.kind, entry.number) from error
