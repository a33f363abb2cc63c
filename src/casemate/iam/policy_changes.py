"""A home's own policies: proposed by one, approved by another, reverted (docs/policies.md).

Each function returns what to append to the ledger; authorise first, and let nothing come between.
"""

from __future__ import annotations

import difflib
from collections.abc import Callable, Iterator
from datetime import datetime, timedelta

import msgspec

from casemate.core import (
    ConflictError,
    Digest,
    InputError,
    LimitError,
    NotFoundError,
    Principal,
    Resource,
    new_id,
    rfc3339,
)
from casemate.iam.access import Access
from casemate.iam.credentials import LedgerItem
from casemate.iam.policy import Policies
from casemate.iam.policy_records import (
    KIND,
    HomePolicy,
    PackagedAlone,
    PolicyApproved,
    PolicyDenied,
    PolicyProposed,
)

ANSWER_WITHIN = timedelta(days=7)  # a proposal that nobody has answered by then can no longer be approved
MAX_PROPOSALS = 20  # in a day, of one principal: each may put 64 KiB into the signed state


class PolicyInfo(msgspec.Struct, frozen=True, kw_only=True):
    """A proposal, or a return to the packaged policies.

    Args: state: `pending`, `outdated` (others came into force meanwhile), `lapsed`, `denied`, `withdrawn` (by its author), `active`, `ended`.
        version: that it made; None: none. base: what it was compared with.
    """

    id: str
    version: int | None
    state: str
    digest: str
    base: int | None
    reason: str
    proposed_by: str | None
    proposed_at: str | None
    answer_by: str | None
    answered_by: str | None
    answered_at: str | None
    answer: str | None


def propose_policy(
    access: Access,
    policies: Policies,
    text: str,
    *,
    by: Principal,
    reason: str,
    now: datetime,
    ids: Callable[[str], str] = new_id,
) -> tuple[str, list[LedgerItem]]:
    """The id of the proposal, and the entry that makes it.

    Raises: InputError: as `Policies.check`, and `policy-unchanged`; LimitError `too-many-proposals`.
    """
    checked = policies.check(text).home
    state, now = access.snapshot.policy, access.instant(now)
    if checked.digest == state.in_force.digest:
        raise InputError(f"This is what is in force as version {state.in_force.version}.", code="policy-unchanged")
    _check_count(access, by.id, now)
    record = PolicyProposed(
        id=ids("pol"),
        text=text,
        digest=checked.digest,
        base=state.in_force.version,
        reason=reason,
        proposed_by=by.id,
        credential=by.credential,
        proposed_at=now,
        answer_by=now + ANSWER_WITHIN,
    )
    return record.id, [(KIND, record.body())]


def _check_count(access: Access, principal: str, now: datetime) -> None:
    day = timedelta(days=1)
    made = [one.proposed_at for one in access.snapshot.policy.proposals.values() if one.proposed_by == principal]
    lately = sorted(at for at in made if at > now - day)
    if len(lately) >= MAX_PROPOSALS:
        raise LimitError(
            f"You have proposed {MAX_PROPOSALS} times within a day, which is all that anybody may: come back later.",
            retry_after=max(1.0, (lately[-MAX_PROPOSALS] + day - now).total_seconds()),
            code="too-many-proposals",
        )


def answer_policy_resource(access: Access, proposal: str) -> Resource:
    """What the gate is asked about for `policy:approve`. An unknown id has nobody behind it."""
    known = access.snapshot.policy.proposals.get(proposal)
    if known is None:
        return Resource("policy", proposal[:80], attributes={"holder": ""})
    attributes: dict[str, str | int | bool] = {"holder": known.proposed_by, "proposed": known.digest}
    return Resource("policy", proposal, attributes=attributes)


def approve_policy(
    access: Access, policies: Policies, proposal: str, *, by: Principal, reason: str, now: datetime
) -> list[LedgerItem]:
    """The entry that puts a proposal in force. Raises: NotFoundError; ConflictError (policy-outdated, principal-gone, and
    as answered before); InputError, as `Policies.check`."""
    state, known = access.snapshot.policy, _open_proposal(access, proposal, now)
    if known.base != state.in_force.version:
        raise ConflictError(
            f"It was compared with version {known.base}, and {state.in_force.version} is in force: propose it again.",
            code="policy-outdated",
        )
    if _is_gone(access, known):
        raise ConflictError(
            "Whoever proposed it was revoked meanwhile: propose it yourself, if it is right, and let another approve it.",
            code="principal-gone",
        )
    policies.check(known.text)
    record = PolicyApproved(
        id=proposal,
        version=len(state.versions) + 1,
        reason=reason,
        approved_by=by.id,
        approved_at=access.instant(now),
    )
    return [(KIND, record.body())]


def _is_gone(access: Access, proposed: PolicyProposed) -> bool:
    """Whether its author was revoked, or the key that proposed it: a person's session that ended is no such end."""
    snapshot = access.snapshot
    keys = {proposed.credential} & snapshot.credentials.keys()
    return bool(({proposed.proposed_by} | keys) & snapshot.revoked)


def deny_policy(access: Access, proposal: str, *, by: Principal, reason: str, now: datetime) -> list[LedgerItem]:
    """The entry that says no. Raises: NotFoundError; ConflictError."""
    _open_proposal(access, proposal, now)
    record = PolicyDenied(id=proposal, reason=reason, denied_by=by.id, denied_at=access.instant(now))
    return [(KIND, record.body())]


def withdraw_policy(access: Access, proposal: str, *, by: Principal, reason: str, now: datetime) -> list[LedgerItem]:
    """The entry with which its author takes a proposal back. Raises: NotFoundError; ConflictError."""
    if _open_proposal(access, proposal, now).proposed_by != by.id:
        raise ConflictError(
            "Whoever proposed it may withdraw it; to say no to another's: casemate policy deny.",
            code="policy-of-another",
        )
    record = PolicyDenied(id=proposal, reason=reason, denied_by=by.id, denied_at=access.instant(now))
    return [(KIND, record.body())]


def return_to_packaged(access: Access, *, by: Principal, reason: str, now: datetime) -> list[LedgerItem]:
    """The entry that ends the home's own policies; none where it has none."""
    state = access.snapshot.policy
    if not state.in_force.text:
        return []
    number = len(state.versions) + 1
    record = PackagedAlone(version=number, reason=reason, reverted_by=by.id, reverted_at=access.instant(now))
    return [(KIND, record.body())]


def _open_proposal(access: Access, proposal: str, now: datetime) -> PolicyProposed:
    state = access.snapshot.policy
    known = state.proposals.get(proposal)
    if known is None:
        raise NotFoundError(
            f"There is no proposal {proposal[:80]!r}: see casemate policy list.", code="policy-not-found"
        )
    if proposal in state.denied or state.approved(proposal) is not None:
        raise ConflictError("This proposal was answered before: see casemate policy list.", code="policy-answered")
    if access.instant(now) >= known.answer_by:
        raise ConflictError(
            f"Nobody answered this proposal by {rfc3339(known.answer_by)}: propose it again.", code="policy-lapsed"
        )
    return known


def find_version(access: Access, version: int) -> HomePolicy:
    """Raises: NotFoundError (policy-not-found)."""
    versions = access.snapshot.policy.versions
    if not 0 <= version <= len(versions):
        raise NotFoundError(
            f"The home's policies have no version {version}: see casemate policy list.", code="policy-not-found"
        )
    return versions[version - 1][0] if version else HomePolicy()


def find_text(access: Access, what: str) -> HomePolicy:
    """A version by its number, or a proposal by its id; what is in force, where `what` is empty. Raises: NotFoundError."""
    state = access.snapshot.policy
    if not what:
        return state.in_force
    if what.isascii() and what.isdigit() and len(what) < 10:
        return find_version(access, int(what))
    known = state.proposals.get(what)
    if known is None:
        raise NotFoundError(
            f"There is neither a version nor a proposal {what[:80]!r}: see casemate policy list.",
            code="policy-not-found",
        )
    return HomePolicy(version=known.base, text=known.text, digest=Digest(known.digest))


def difference(old: HomePolicy, new: HomePolicy) -> str:
    """The change as a unified diff; empty where there is none."""
    lines = difflib.unified_diff(
        old.text.splitlines(), new.text.splitlines(), f"version {old.version}", "proposed", lineterm=""
    )
    return "\n".join(lines)


def list_policies(access: Access, *, now: datetime) -> Iterator[PolicyInfo]:
    """Every proposal, and every return to the packaged policies, oldest first."""
    state = access.snapshot.policy
    reverted = [made for made, change in state.versions if isinstance(change, PackagedAlone)]
    infos = [
        *(describe_proposal(access, one, now=now) for one in state.proposals.values()),
        *(_reverted(access, made) for made in reverted),
    ]
    yield from sorted(infos, key=lambda one: one.proposed_at or one.answered_at or "")


def describe_proposal(access: Access, proposed: PolicyProposed, *, now: datetime) -> PolicyInfo:
    """What became of a proposal."""
    state = access.snapshot.policy
    approved, denied = state.approved(proposed.id), state.denied.get(proposed.id)
    answer: tuple[str | None, str | None, str | None] = (None, None, None)
    if approved is not None:
        answer = (approved.approved_by, rfc3339(approved.approved_at), approved.reason)
        standing = "active" if approved.version == state.in_force.version else "ended"
    elif denied is not None:
        answer, standing = (denied.denied_by, rfc3339(denied.denied_at), denied.reason), "denied"
        if denied.denied_by == proposed.proposed_by:
            standing = "withdrawn"
    elif access.instant(now) >= proposed.answer_by:
        standing = "lapsed"
    else:
        standing = "pending" if proposed.base == state.in_force.version else "outdated"
    return PolicyInfo(
        id=proposed.id,
        version=approved.version if approved else None,
        state=standing,
        digest=proposed.digest,
        base=proposed.base,
        reason=proposed.reason,
        proposed_by=proposed.proposed_by,
        proposed_at=rfc3339(proposed.proposed_at),
        answer_by=rfc3339(proposed.answer_by),
        answered_by=answer[0],
        answered_at=answer[1],
        answer=answer[2],
    )


def _reverted(access: Access, made: HomePolicy) -> PolicyInfo:
    state = access.snapshot.policy
    change = state.versions[made.version - 1][1]
    assert isinstance(change, PackagedAlone), "the caller chose these"
    return PolicyInfo(
        id="",
        version=made.version,
        state="active" if made.version == state.in_force.version else "ended",
        digest=made.digest,
        base=None,
        reason=change.reason,
        proposed_by=None,
        proposed_at=None,
        answer_by=None,
        answered_by=change.reverted_by,
        answered_at=rfc3339(change.reverted_at),
        answer=None,
    )
