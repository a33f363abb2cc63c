"""People on record: invite, reset, revoke, list. Each function makes ledger entries; authorise first, append after."""

from __future__ import annotations

import secrets
from collections.abc import Callable
from datetime import datetime, timedelta
from math import isfinite
from typing import Any

import msgspec

from casemate.core import (
    DEFAULT_PROJECT,
    ConflictError,
    Environment,
    InputError,
    NotFoundError,
    Principal,
    PrincipalKind,
    Resource,
    Role,
    checked_name,
    new_id,
    rfc3339,
)
from casemate.iam.access import Access
from casemate.iam.bearer import Kind, hash_of, new_secret
from casemate.iam.credentials import MAX_LIFE, MAX_REASON, LedgerItem
from casemate.iam.names import OWNER_NAME, check_person_name
from casemate.iam.person import Person
from casemate.iam.records import Grant, Invited, PrincipalCreated, Revoked
from casemate.iam.scope import Scope, parse_scope
from casemate.iam.tokens.records import AnyCredential

INVITATION_LIFE = timedelta(hours=72)  # NIST SP 800-63B-4, section 4.1: a code that is sent ends within days
DEFAULT_LIFE = 90 * 86400.0  # s, of the first grant


class PersonRequest(msgspec.Struct, frozen=True, kw_only=True):
    """A person whom somebody invites, with their first grant; checked by `person_request`."""

    name: str
    role: Role
    scope: Scope
    environment: Environment | None
    project: str
    created_at: datetime
    expires_at: datetime  # of the grant

    def resource(self) -> Resource:
        """What the gate is asked about for `user:invite`."""
        return Resource(
            kind="user",
            name=self.name,
            project=self.project,
            environment=self.environment,
            attributes={"role": self.role, "scope": self.scope, "expires_at": rfc3339(self.expires_at)},
        )


class Invitation(msgspec.Struct, frozen=True, kw_only=True):
    """Args: code: the secret; show it once and forget it. entries: to append to the ledger in one commit."""

    person: str
    name: str
    code: str
    expires_at: str
    entries: list[LedgerItem]

    def __repr__(self) -> str:
        return f"Invitation(person={self.person!r}, expires_at={self.expires_at!r})"


class PersonInfo(msgspec.Struct, frozen=True, kw_only=True):
    """What a list of people shows; `state` is `active`, `invited`, `lapsed` (never enrolled in time) or `revoked`."""

    id: str
    name: str
    state: str
    project: str
    roles: tuple[str, ...]  # of live grants, as `role` or `role on scope`
    factors: tuple[str, ...]
    recovery_codes: int  # left
    created_at: str
    created_by: str
    enrolled_at: str | None
    invited_until: str | None
    local: str  # the user id of this machine that they act under


def person_request(
    name: str,
    *,
    role: str,
    scope: str,
    now: datetime,
    life: float = DEFAULT_LIFE,
    environment: Environment | None = None,
    project: str = DEFAULT_PROJECT,
) -> PersonRequest:
    """Check what somebody typed. Args: life: seconds until the grant expires. Raises: InputError."""
    if role not in set(Role):
        raise InputError(f"role {role[:40]!r} is not one of {', '.join(Role)}.", code="bad-role")
    if name == OWNER_NAME:
        raise InputError(f"{OWNER_NAME!r} is what the home's owner is called: take another name.", code="bad-name")
    if not (isfinite(life) and 0 < life <= MAX_LIFE):
        raise InputError("A grant lives for more than 0 seconds and at most 366 days: --for 90d.", code="bad-expiry")
    return PersonRequest(
        name=checked_name(name, what="name"),
        role=Role(role),
        scope=parse_scope(scope),
        environment=environment,
        project=checked_name(project, what="project"),
        created_at=now,
        expires_at=now + timedelta(seconds=life),
    )


def invite(
    access: Access,
    request: PersonRequest,
    *,
    by: Principal,
    local: bool = False,
    reason: str = "",
    random_bytes: Callable[[int], bytes] = secrets.token_bytes,
    ids: Callable[[str], str] = new_id,
) -> Invitation:
    """A new person, their grant, and the code with which they enrol.

    Args: local: it is `by`, who owns the home on its machine, under the same user id.
    Raises: ConflictError `name-taken`, `local-taken`. InputError `not-local`.
    """
    check_person_name(access, request.name, now=request.created_at)
    if local and (access.owner is None or by.id != access.owner.id):
        raise InputError("--local is for the home's owner, on its own machine.", code="not-local")
    if local and any(_living(access, one).created.local == by.id for one in access.snapshot.people_by_name.values()):
        raise ConflictError(f"{by.id} is a person already: see casemate user list.", code="local-taken")
    person = ids("usr")
    created = PrincipalCreated(
        id=person,
        kind=PrincipalKind.USER,
        name=request.name,
        project=request.project,
        local=by.id if local else "",
        created_by=by.id,
        created_at=request.created_at,
    )
    grant = Grant(
        id=ids("grt"),
        principal=person,
        project=request.project,
        role=request.role,
        scope=request.scope,
        environment=request.environment,
        reason=reason[:MAX_REASON],
        granted_by=by.id,
        granted_at=request.created_at,
        expires_at=request.expires_at,
    )
    code, invited = _invited(person, by=by, reason=reason, now=request.created_at, random_bytes=random_bytes, ids=ids)
    entries = [("principal", created.body()), ("principal", invited.body()), ("grant", grant.body())]
    return Invitation(
        person=person, name=request.name, code=code, expires_at=rfc3339(invited.expires_at), entries=entries
    )


def reset_person(
    access: Access,
    person_id: str,
    *,
    by: Principal,
    reason: str,
    now: datetime,
    random_bytes: Callable[[int], bytes] = secrets.token_bytes,
    ids: Callable[[str], str] = new_id,
) -> Invitation:
    """End somebody's factors and sessions, and let them enrol anew. Raises: NotFoundError `user-not-found`."""
    person = find_person(access, person_id)
    code, invited = _invited(
        person.id,
        by=by,
        reason=reason,
        now=now,
        random_bytes=random_bytes,
        ids=ids,
        resets=person.enrolled_at is not None,
    )
    return Invitation(
        person=person.id,
        name=person.name,
        code=code,
        expires_at=rfc3339(invited.expires_at),
        entries=[("principal", invited.body())],
    )


def revoke_person(
    access: Access, person_id: str, *, callers: bool = False, by: Principal, reason: str, now: datetime
) -> list[LedgerItem]:
    """The entries that end a person, with their sessions and invitation, and what they made that could act for them: every
    living key and binding of theirs, or of a service of theirs, that may do more than call. None if all had ended.

    Args: callers: those that may only call, too. Raises: NotFoundError.
    """
    if person_id not in access.snapshot.people:
        raise _unknown(person_id)

    def ended(one: str, why: str) -> dict[str, Any]:
        return Revoked(id=one, reason=why[:MAX_REASON], revoked_by=by.id, revoked_at=now).body()

    entries = [] if person_id in access.snapshot.revoked else [("principal", ended(person_id, reason))]
    made = [one for one in made_by(access, person_id, now=now) if callers or one.role is not Role.CALLER]
    return [*entries, *(("credential", ended(one.id, f"made by {person_id}: {reason}")) for one in made)]


def made_by(access: Access, person_id: str, *, now: datetime) -> list[AnyCredential]:
    """What lives and proves a service, and was made by this person, or by a service that they made, oldest first."""
    snapshot, now = access.snapshot, access.instant(now)
    makers, found = {person_id}, dict[str, AnyCredential]()
    while new := [one for one in snapshot.credentials.values() if one.created_by in makers and one.id not in found]:
        found |= {one.id: one for one in new}
        makers |= {one.principal for one in new}
    return [one for one in found.values() if one.id not in snapshot.revoked and now < one.expires_at]


def find_person(access: Access, text: str) -> Person:
    """The person with this id or name, who was not revoked. Raises: NotFoundError `user-not-found`."""
    person = access.snapshot.people.get(access.snapshot.people_by_name.get(text, text))
    if person is None or person.id in access.snapshot.revoked:
        raise _unknown(text)
    return person


def person_resource(access: Access, text: str) -> Resource:
    """What the gate is asked about for one person: whose it is. An unknown one is nobody's."""
    person_id = access.snapshot.people_by_name.get(text, text)
    person = access.snapshot.people.get(person_id)
    if person is None:
        return Resource(kind="user", name=text[:80])
    return Resource(kind="user", name=person.id, project=person.principal.project, attributes={"holder": person.id})


def reset_resource(access: Access, text: str, *, now: datetime) -> Resource:
    """What the gate is asked about for `user:reset`: the code that is shown opens all that the person may do."""
    resource = person_resource(access, text)
    return msgspec.structs.replace(resource, attributes={**resource.attributes, **impersonated(access, text, now=now)})


def impersonated(access: Access, text: str, *, now: datetime) -> dict[str, str | int | bool]:
    """Until when somebody who could act as this person would have their roles, as the gate weighs it: `expires_at`.

    Emergency grants count, since whoever is the person opens them. Empty where there is no role to be had.
    """
    snapshot = access.snapshot
    person = snapshot.people_by_name.get(text, text)
    held = (one for one in snapshot.granted.values() if one.principal == person and one.id not in snapshot.revoked)
    ends = [one.expires_at for one in held if one.expires_at > access.instant(now)]
    return {"expires_at": rfc3339(max(ends))} if ends else {}


def list_people(access: Access, *, now: datetime, project: str = DEFAULT_PROJECT) -> list[PersonInfo]:
    """Everybody of a project, revoked ones included, the newest last."""
    now = access.instant(now)
    return [
        describe_person(access, person, now=now)
        for person in access.snapshot.people.values()
        if person.principal.project == project
    ]


def describe_person(access: Access, person: Person, *, now: datetime) -> PersonInfo:
    """What may be told of a person: no hash and no secret."""
    grants = access.snapshot.grants.get(person.id, {})
    invitation = person.invitation
    open_until = invitation.expires_at if invitation and person.enrolled_at is None else None
    held = {"password": person.password, "totp": person.totp, "passkey": person.passkeys}
    return PersonInfo(
        id=person.id,
        name=person.name,
        state=_state(access, person, now),
        project=person.principal.project,
        roles=tuple(
            f"{grant.role}" if scope == "*" else f"{grant.role} on {scope}"
            for scope, held in grants.items()
            for grant in held.values()
            if now < grant.expires_at
        ),
        factors=tuple(kind for kind, factor in held.items() if factor),
        recovery_codes=len(person.recovery),
        created_at=rfc3339(person.created.created_at),
        created_by=person.created.created_by,
        enrolled_at=rfc3339(person.enrolled_at) if person.enrolled_at else None,
        invited_until=rfc3339(open_until) if open_until else None,
        local=person.created.local,
    )


def _state(access: Access, person: Person, now: datetime) -> str:
    if person.id in access.snapshot.revoked:
        return "revoked"
    if person.is_active:
        return "active"
    return "invited" if person.invitation and now < person.invitation.expires_at else "lapsed"


def _living(access: Access, person_id: str) -> Person:
    return access.snapshot.people[person_id]


def _invited(
    person: str,
    *,
    by: Principal,
    reason: str,
    now: datetime,
    random_bytes: Callable[[int], bytes],
    ids: Callable[[str], str],
    resets: bool = False,
) -> tuple[str, Invited]:
    code = new_secret(Kind.INVITATION, random_bytes)
    record = Invited(
        id=ids("inv"),
        principal=person,
        hash=hash_of(code),
        resets=resets,
        reason=reason[:MAX_REASON],
        invited_by=by.id,
        invited_at=now,
        expires_at=now + INVITATION_LIFE,
    )
    return code, record


def _unknown(text: str) -> NotFoundError:
    return NotFoundError(f"There is no person {text[:80]!r}: see casemate user list.", code="user-not-found")
