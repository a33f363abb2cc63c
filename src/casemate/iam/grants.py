"""Temporary access: somebody asks for a role, another one lends it, and it ends by itself (docs/grants.md).

A request gives nothing. An approval gives what was asked for, from that moment on, to every key of the principal that
asked (ADR 12). Each function returns what to append to the ledger; authorise first, and let nothing come between.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from datetime import datetime, timedelta

import msgspec

from casemate.core import (
    ConflictError,
    Environment,
    InputError,
    LimitError,
    NotFoundError,
    Principal,
    PrincipalKind,
    Resource,
    Role,
    new_id,
    parse_rfc3339,
    rfc3339,
    without_secrets,
)
from casemate.iam.access import LOCAL, Access
from casemate.iam.credentials import MAX_REASON, LedgerItem, grant_of
from casemate.iam.records import MAX_EMERGENCY, MAX_TEMPORARY, Grant, GrantDenied, GrantRequested, Revoked
from casemate.iam.scope import Scope, parse_scope

ANSWER_WITHIN = 86400.0  # s; a request that nobody has answered by then can no longer be approved
MAX_REQUESTS = 20  # a principal's requests in a day: anybody may ask, and the signed state keeps what they asked
_DAY = timedelta(days=1)


class GrantAsk(msgspec.Struct, frozen=True, kw_only=True):
    """A grant that somebody asks for, for themselves; checked by `grant_ask`."""

    principal: Principal
    role: Role
    scope: Scope
    environment: Environment | None
    life: int  # seconds from the approval on
    reason: str
    emergency: bool = False

    def resource(self) -> Resource:
        """What the gate is asked about for `grant:request`."""
        attributes: dict[str, str | int | bool] = {
            "role": self.role.value,
            "scope": self.scope,
            "holder": self.principal.id,
            "life": self.life,
        }
        return Resource("grant", "", self.principal.project, self.environment, attributes)


class GrantInfo(msgspec.Struct, frozen=True, kw_only=True):
    """What is known of one grant or request.

    Args: state: `pending`, `lapsed` (nobody answered in time), `denied`, `ready` (an emergency grant that can be opened),
        `active`, `expired`, `revoked`. life: seconds. reason: of who asked; of who granted, when nobody asked. answer: of
        who granted or denied what was asked for. opens: the emergency grant that was opened. account: `owed`, `given` or
        `accepted`, with its text; empty where none is due.
    """

    id: str
    principal: str
    name: str
    role: Role
    scope: str
    environment: Environment | None
    project: str
    state: str
    reason: str
    answer: str
    life: int | None
    requested_at: str | None
    answer_by: str | None
    granted_by: str | None
    granted_at: str | None
    expires_at: str | None
    ended_by: str | None
    ended_at: str | None
    ended_because: str | None
    emergency: bool = False
    opens: str = ""
    account: str = ""
    account_text: str = ""
    accepted_by: str = ""

    def resource(self) -> Resource:
        """What the gate is asked about for reading or ending it."""
        return _resource("", self)


def grant_ask(
    principal: Principal,
    *,
    role: str,
    scope: str,
    life: float,
    reason: str,
    environment: Environment | None = None,
    emergency: bool = False,
) -> GrantAsk:
    """Check what a person typed. Args: life: seconds. emergency: one to be opened when it is needed. Raises: InputError."""
    if principal.id.startswith(LOCAL):
        raise InputError(
            "The home's owner may do everything already: a grant is asked for with a key.", code="bad-grant"
        )
    if role not in set(Role):
        raise InputError(f"role {role[:40]!r} is not one of {', '.join(Role)}.", code="bad-role")
    if emergency and principal.kind is not PrincipalKind.USER:
        raise InputError(
            "An emergency grant is a person's, who gives a second factor to open it: sign in and ask.", code="bad-grant"
        )
    if emergency and not 1 <= life <= MAX_EMERGENCY:
        raise InputError("An emergency grant lies ready for at most 366 days: --for 90d.", code="bad-expiry")
    if not emergency and not 1 <= life <= MAX_TEMPORARY:
        raise InputError("A grant lives for at least a second and at most 30 days: --for 2h.", code="bad-expiry")
    return GrantAsk(
        principal=principal,
        role=Role(role),
        scope=parse_scope(scope),
        environment=environment,
        life=int(life),
        reason=stated_reason(reason),
        emergency=emergency,
    )


def stated_reason(reason: str) -> str:
    """`reason` as it may stand in the signed state and before another person's eyes, without API keys.

    Raises: InputError (no-reason, bad-reason).
    """
    if not reason.strip():
        raise InputError('Say why: --reason "...". It goes into the audit log.', code="no-reason")
    if not reason.isprintable():
        raise InputError("A reason is one line of printable characters.", code="bad-reason")
    return without_secrets(reason)[:MAX_REASON]


def request_grant(
    access: Access, ask: GrantAsk, *, now: datetime, ids: Callable[[str], str] = new_id
) -> tuple[str, list[LedgerItem]]:
    """The id of the request, and the entry that makes it. Raises: LimitError (too-many-requests)."""
    now = access.instant(now)
    _check_count(access, ask.principal.id, now)
    record = GrantRequested(
        id=ids("grt"),
        principal=ask.principal.id,
        credential=ask.principal.credential,
        project=ask.principal.project,
        role=ask.role,
        scope=ask.scope,
        environment=ask.environment,
        life=ask.life,
        emergency=ask.emergency,
        reason=ask.reason,
        requested_at=now,
        answer_by=now + timedelta(seconds=ANSWER_WITHIN),
    )
    return record.id, [("grant", record.body())]


def _check_count(access: Access, principal: str, now: datetime) -> None:
    asked = [one.requested_at for one in access.snapshot.requests.values() if one.principal == principal]
    lately = sorted(at for at in asked if at > now - _DAY)
    if len(lately) >= MAX_REQUESTS:
        raise LimitError(
            f"You have asked {MAX_REQUESTS} times within a day, which is all that anybody may: come back later.",
            retry_after=max(1.0, (lately[-MAX_REQUESTS] + _DAY - now).total_seconds()),
            code="too-many-requests",
        )


def answer_resource(access: Access, grant_id: str, *, now: datetime | None = None) -> Resource:
    """What the gate is asked about for `grant:approve`. Args: now: when it would begin; None for a denial.

    An unknown id has neither role nor scope, so that who may not answer cannot tell it from another one.
    """
    request = access.snapshot.requests.get(grant_id)
    if request is None:
        return Resource("grant", grant_id[:80], attributes={"holder": ""})
    resource = _resource(grant_id, request)
    if now is not None:
        end = access.instant(now) + timedelta(seconds=request.life)
        resource.attributes["expires_at"] = rfc3339(end)
    return resource


def approve_grant(
    access: Access, grant_id: str, *, by: Principal, reason: str, decided: Resource, now: datetime
) -> list[LedgerItem]:
    """The entry that lends what was asked for. Args: decided: what the gate allowed, which says when it ends.

    Raises: NotFoundError (grant-not-found); ConflictError (grant-answered, grant-lapsed, principal-gone).
    """
    request = _open_request(access, grant_id, now)
    if "expires_at" not in decided.attributes:  # it was not there yet when the gate was asked
        raise _unknown(grant_id)
    if request.principal in access.snapshot.revoked:
        raise ConflictError("The principal that asked was revoked meanwhile.", code="principal-gone")
    until = parse_rfc3339(str(decided.attributes["expires_at"]))
    at = until - timedelta(seconds=request.life)
    record = grant_of(request, grant_id, request.principal, by=by, reason=reason, at=at, until=until)
    return [("grant", record.body())]


def deny_grant(access: Access, grant_id: str, *, by: Principal, reason: str, now: datetime) -> list[LedgerItem]:
    """The entry that says no. Raises: as `approve_grant`."""
    _open_request(access, grant_id, now)
    record = GrantDenied(id=grant_id, reason=reason, denied_by=by.id, denied_at=access.instant(now))
    return [("grant", record.body())]


def _open_request(access: Access, grant_id: str, now: datetime) -> GrantRequested:
    snapshot = access.snapshot
    request = snapshot.requests.get(grant_id)
    if request is None:
        raise _unknown(grant_id)
    if grant_id in snapshot.granted or grant_id in snapshot.ended:
        raise ConflictError("This request was answered before: see casemate grant show.", code="grant-answered")
    if access.instant(now) >= request.answer_by:
        raise ConflictError(
            f"Nobody answered this request by {rfc3339(request.answer_by)}: it must be asked again.",
            code="grant-lapsed",
        )
    return request


def _unknown(grant_id: str) -> NotFoundError:
    return NotFoundError(
        f"There is no request {grant_id[:80]!r}: see casemate grant list --state pending.", code="grant-not-found"
    )


def end_resource(access: Access, grant_id: str) -> Resource:
    """What the gate is asked about for `grant:read` and `grant:revoke` of one. An unknown id has neither."""
    record = access.snapshot.granted.get(grant_id) or access.snapshot.requests.get(grant_id)
    if record is None:
        return Resource("grant", grant_id[:80])
    return _resource(grant_id, record)


def revoke_grant(access: Access, grant_id: str, *, by: Principal, reason: str, now: datetime) -> list[LedgerItem]:
    """The entry that ends a grant, or withdraws a request; none if it has been. Raises: NotFoundError, ConflictError."""
    snapshot = access.snapshot
    if grant_id not in snapshot.granted and grant_id not in snapshot.requests:
        raise NotFoundError(f"There is no grant {grant_id[:80]!r}: see casemate grant list.", code="grant-not-found")
    if grant_id in snapshot.revoked:
        return []
    if grant_id in snapshot.ended:
        raise ConflictError("This request was denied: there is nothing to end.", code="grant-answered")
    opened = [one.broken.id for one in snapshot.glass.values() if one.broken.emergency == grant_id]
    return [
        ("grant", Revoked(id=one, reason=reason, revoked_by=by.id, revoked_at=access.instant(now)).body())
        for one in (grant_id, *(one for one in opened if one not in snapshot.revoked))
    ]


def list_grants(access: Access, *, now: datetime, project: str, state: str = "") -> Iterator[GrantInfo]:
    """Every grant and request of a project, oldest first."""
    snapshot = access.snapshot
    for grant_id in sorted(snapshot.granted.keys() | snapshot.requests.keys()):
        info = find_grant(access, grant_id, now=now)
        if info is not None and info.project == project and state in ("", info.state, info.account):
            yield info


def find_grant(access: Access, grant_id: str, *, now: datetime) -> GrantInfo | None:
    """One grant or request; None if there is none."""
    snapshot = access.snapshot
    request, grant = snapshot.requests.get(grant_id), snapshot.granted.get(grant_id)
    record = grant or request
    if record is None:
        return None
    ended, glass = snapshot.ended.get(grant_id), snapshot.glass.get(grant_id)
    end: tuple[str | None, str | None, str | None]
    answer = grant.reason if grant and request else ""
    if isinstance(ended, GrantDenied):
        answer, end = ended.reason, (ended.denied_by, rfc3339(ended.denied_at), None)
    elif ended is not None:
        end = (ended.revoked_by, rfc3339(ended.revoked_at), ended.reason)
    else:
        end = (None, None, None)
    return GrantInfo(
        id=grant_id,
        principal=record.principal,
        name=snapshot.principals[record.principal].name,
        role=record.role,
        scope=record.scope,
        environment=record.environment,
        project=record.project,
        state=_state(access, request, grant, ended, access.instant(now)),
        reason=request.reason if request else record.reason,
        answer=answer,
        life=request.life if request else None,
        requested_at=rfc3339(request.requested_at) if request else None,
        answer_by=rfc3339(request.answer_by) if request else None,
        granted_by=grant.granted_by if grant else None,
        granted_at=rfc3339(grant.granted_at) if grant else None,
        expires_at=rfc3339(grant.expires_at) if grant else None,
        ended_by=end[0],
        ended_at=end[1],
        ended_because=end[2],
        emergency=record.emergency,
        opens=glass.broken.emergency if glass else "",
        account=glass.account_state if glass else "",
        account_text=glass.account.text if glass and glass.account else "",
        accepted_by=glass.accepted.accepted_by if glass and glass.accepted else "",
    )


def _state(
    access: Access,
    request: GrantRequested | None,
    grant: Grant | None,
    ended: GrantDenied | Revoked | None,
    now: datetime,
) -> str:
    record = grant or request
    assert record is not None, "what is listed is one or the other"
    if isinstance(ended, GrantDenied):
        return "denied"
    if ended is not None or record.id in access.snapshot.revoked or record.principal in access.snapshot.revoked:
        return "revoked"
    if grant is not None:
        if now >= grant.expires_at:
            return "expired"
        return "ready" if grant.emergency else "active"
    assert request is not None, "what was not granted was asked for"
    return "lapsed" if now >= request.answer_by else "pending"


def _resource(name: str, record: GrantRequested | Grant | GrantInfo) -> Resource:
    attributes: dict[str, str | int | bool] = {
        "role": record.role.value,
        "scope": record.scope,
        "holder": record.principal,
    }
    return Resource("grant", name, record.project, record.environment, attributes)
