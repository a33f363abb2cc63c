"""Approvals: signed, bound to one version's digest, kept in the ledger."""

from __future__ import annotations

from typing import Any, Literal

import msgspec

from casemate.core import Environment, PolicyError, VerificationError, rfc3339
from casemate.registry.ended import ended_of
from casemate.registry.own_approvals import check_own
from casemate.registry.revocations import check_not_revoked
from casemate.registry.stores import Pen, Stores, unreadable
from casemate.registry.versions import Version
from casemate.signing import Predicate, VersionIdentity, sign_statement, verify_statement
from casemate.storage import LedgerEntry

APPROVAL = "approval"


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


def approvals_of(stores: Stores, version: Version) -> list[Approval]:
    """All approvals of exactly this version, oldest first, as recorded. Raises: VerificationError."""
    found: dict[VersionIdentity, tuple[Approval, ...]] = stores.folded(APPROVAL, {}, _fold_approvals)
    return list(found.get(version.about, ()))


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
        try:
            approval = msgspec.structs.replace(msgspec.convert(entry.body, Approval), at=entry.at)
        except msgspec.ValidationError as error:
            raise unreadable(entry.kind, entry.number) from error
        found[approval.about] = (*found.get(approval.about, ()), approval)
    return found
