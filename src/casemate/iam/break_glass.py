"""Break-glass: open an emergency grant of one's own, say afterwards what was done, and accept what was said.

Each function returns what to append to the ledger; authorise first, and let nothing come between.
"""

from __future__ import annotations

import hashlib
from collections.abc import Callable, Iterable
from datetime import datetime, timedelta
from typing import Any

from casemate.core import (
    Action,
    ConflictError,
    Event,
    InputError,
    NotFoundError,
    Principal,
    new_id,
    rfc3339,
    without_secrets,
)
from casemate.iam.access import Access
from casemate.iam.credentials import LedgerItem
from casemate.iam.glass import KIND, MAX_ACCOUNT, MAX_OPEN, Glass, GlassAccepted, GlassAccounted, GlassBroken, owing
from casemate.iam.records import Revoked
from casemate.iam.unfamiliar import ALERT

BREAK_GLASS, UNACCOUNTED = "break-glass", "break-glass-unaccounted"  # rules of alerts
_TOLD = frozenset({"answer", "ended_at", "account", "address", "client"})
ACCOUNT_WITHIN = timedelta(hours=72)  # of its end; then an alert is raised


def break_glass(
    access: Access,
    grant_id: str,
    *,
    by: Principal,
    life: float,
    reason: str,
    now: datetime,
    ids: Callable[[str], str] = new_id,
) -> tuple[str, list[LedgerItem]]:
    """The id of the grant that is made, and its entry. Args: life: seconds. by: its holder, whom the gate let in.

    Raises: NotFoundError (grant-not-found); InputError (bad-expiry); ConflictError (not-emergency, grant-ended,
        account-owed).
    """
    snapshot, now = access.snapshot, access.instant(now)
    emergency = snapshot.granted.get(grant_id)
    if emergency is None or emergency.principal != by.id:
        raise NotFoundError(f"You have no grant {grant_id[:80]!r}: see casemate grant list.", code="grant-not-found")
    if not emergency.emergency:
        raise ConflictError("This grant is in force as it is: there is nothing to break.", code="not-emergency")
    if grant_id in snapshot.revoked or now >= emergency.expires_at:
        raise ConflictError("This emergency grant has ended: ask for another one.", code="grant-ended")
    if not 1 <= life <= MAX_OPEN.total_seconds():
        raise InputError("Break-glass access lasts for at most 4 hours: --for 1h.", code="bad-expiry")
    if (before := owing(snapshot.glass, by.id)) is not None:
        raise ConflictError(
            f"You owe an account of {before.broken.id} first, and somebody else must accept it: "
            f'casemate grant account {before.broken.id} --reason "what was done, and why".',
            code="account-owed",
        )
    until = min(now + timedelta(seconds=int(life)), emergency.expires_at)
    record = GlassBroken(id=ids("grt"), emergency=grant_id, principal=by.id, reason=reason, broken_at=now, until=until)
    return record.id, [(KIND, record.body())]


def account_for(access: Access, grant_id: str, *, by: Principal, reason: str, now: datetime) -> list[LedgerItem]:
    """The entries that say what was done under it, and end it: nothing is done under what is accounted for.

    Raises: NotFoundError; ConflictError (account-accepted).
    """
    glass = _glass(access, grant_id)
    if glass.broken.principal != by.id:
        raise _unknown(grant_id)
    if glass.accepted is not None:
        raise ConflictError("This account was accepted, and stays as it is.", code="account-accepted")
    now = access.instant(now)
    record = GlassAccounted(id=grant_id, text=reason, accounted_by=by.id, accounted_at=now)
    if grant_id in access.snapshot.revoked or now >= glass.broken.until:
        return [(KIND, record.body())]
    ended = Revoked(id=grant_id, reason="accounted for", revoked_by=by.id, revoked_at=now)
    return [(KIND, record.body()), ("grant", ended.body())]


def accept_account(access: Access, grant_id: str, *, by: Principal, reason: str, now: datetime) -> list[LedgerItem]:
    """The entry that accepts it. Raises: NotFoundError; ConflictError (account-owed, account-accepted)."""
    glass = _glass(access, grant_id)
    if glass.account is None:
        raise ConflictError("Whoever opened it has not said yet what they did: ask them.", code="account-owed")
    if glass.accepted is not None:
        raise ConflictError("This account was accepted before.", code="account-accepted")
    record = GlassAccepted(id=grant_id, reason=reason, accepted_by=by.id, accepted_at=access.instant(now))
    return [(KIND, record.body())]


def stated_account(text: str) -> str:
    """What may stand as an account, without API keys. Raises: InputError (no-reason, bad-reason)."""
    if not text.strip():
        raise InputError('Say what was done, and why: --reason "...".', code="no-reason")
    if not text.isprintable() or len(text) > MAX_ACCOUNT:
        raise InputError(f"An account is at most {MAX_ACCOUNT} printable characters.", code="bad-reason")
    return without_secrets(text)


def break_glass_alerts(events: Iterable[Event]) -> list[Event]:
    """An alert for each emergency grant that was opened, as the record has it."""
    return [
        _alert(BREAK_GLASS, event.id, at=event.at, actor=event.actor, resource=event.resource, facts=event.facts)
        for event in events
        if event.kind == "outcome" and event.action == Action.GRANT_BREAK_GLASS and event.outcome == "done"
    ]


def unaccounted_alerts(access: Access, *, now: datetime) -> list[Event]:
    """An alert, always the same one, for each opening that nobody accounted for in time."""
    late = access.instant(now) - ACCOUNT_WITHIN
    return [
        _alert(
            UNACCOUNTED,
            glass.broken.id,
            at=rfc3339(now),
            actor=glass.broken.principal,
            resource=f"{access.snapshot.granted[glass.broken.id].project}/grant:{glass.broken.id}",
            facts={"ended_at": rfc3339(glass.broken.until), "account": glass.account_state},
        )
        for glass in access.snapshot.glass.values()
        if glass.accepted is None and glass.broken.until <= late
    ]


def _alert(rule: str, subject: str, *, at: str, actor: str, resource: str, facts: dict[str, Any]) -> Event:
    known = hashlib.sha256(f"{rule} {subject}".encode()).hexdigest()[:32]
    told = {name: value for name, value in facts.items() if name in _TOLD}
    return Event(
        id=f"evt_{known}",
        at=at,
        kind=ALERT,
        actor=actor,
        resource=resource,
        reason=rule,
        facts={"rule": rule, "subject": actor, "technique": "AML.T0012", **told},
    )


def _glass(access: Access, grant_id: str) -> Glass:
    found = access.snapshot.glass.get(grant_id)
    if found is None:
        raise _unknown(grant_id)
    return found


def _unknown(grant_id: str) -> NotFoundError:
    return NotFoundError(
        f"{grant_id[:80]!r} is no emergency grant that was opened: see casemate grant list --state owed.",
        code="grant-not-found",
    )
