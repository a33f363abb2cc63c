"""Who has access to what: every grant with the keys that use it, in whatever state, from the signed state and the log."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator
from datetime import datetime

import msgspec

from casemate.core import DEFAULT_PROJECT, Environment, PrincipalKind, Role, rfc3339
from casemate.iam.access import Access
from casemate.iam.names import OWNER_NAME, named_in_evidence
from casemate.iam.records import Grant
from casemate.iam.sessions import Session, as_session
from casemate.iam.tokens.records import AnyCredential, TokenBinding

NetworksOf = Callable[[str, str], tuple[str, ...]]  # principal, credential -> prefixes, the latest first
LastUse = Callable[[str, str], tuple[str, str] | None]  # principal, credential -> (time, address); None: never


SessionsOf = Callable[[str], Iterable[Session]]  # principal -> the live ones


class AccessRow(msgspec.Struct, frozen=True, kw_only=True):
    """One grant as one key uses it.

    Args: since, until: RFC 3339; `until` is when the key or the grant ends, whichever is first, and None means never.
        last_used: RFC 3339; None means never. networks: /24 or /48, the latest first. state: `active`, `ready` (for emergencies), `expired`, `revoked`. ended: how, if it was revoked.
    """

    principal: str
    name: str
    kind: PrincipalKind
    credential: str
    grant: str
    role: Role
    scope: str
    environment: Environment | None
    project: str
    since: str | None
    until: str | None
    granted_by: str
    granted_by_name: str
    reason: str
    last_used: str | None
    last_used_from: str
    networks: tuple[str, ...]
    state: str
    ended: str


def access_report(
    access: Access,
    *,
    now: datetime,
    last_use: LastUse,
    networks: NetworksOf = lambda *_: (),
    sessions: SessionsOf = lambda _: (),
    project: str = DEFAULT_PROJECT,
) -> Iterator[AccessRow]:
    """A row for the home's owner, then one for each grant of a person, and each grant and key of a service, oldest first."""
    now = access.instant(now)
    if access.owner is not None and project == DEFAULT_PROJECT:
        yield _owner_row(access, last_use)
    keys: dict[str, list[AnyCredential]] = {}
    for credential in access.snapshot.credentials.values():
        keys.setdefault(credential.principal, []).append(credential)
    for grant in access.snapshot.granted.values():
        if grant.project == project:
            if grant.principal in access.snapshot.people:
                yield _row(access, grant, None, now, last_use)
            for credential in keys.get(grant.principal, []):
                seen = networks(grant.principal, credential.id)
                yield _row(access, grant, credential, now, last_use, networks=seen)
    yield from _brought_rows(access, now, last_use, sessions, project)


def _brought_rows(
    access: Access, now: datetime, last_use: LastUse, sessions: SessionsOf, project: str
) -> Iterator[AccessRow]:
    """A row for each role that a live session through an outside provider brought."""
    for person in dict.fromkeys(link.principal for link in access.snapshot.outside.links.values()):
        for session in sessions(person):
            for grant in access.brought(as_session(access.snapshot.principals[person], session)):
                if grant.project == project:
                    row = _row(access, grant, None, now, last_use)
                    since = rfc3339(max(grant.granted_at, session.created_at))
                    yield msgspec.structs.replace(row, credential=session.id, since=since)


def _owner_row(access: Access, last_use: LastUse) -> AccessRow:
    owner = access.owner
    assert owner is not None, "asked for where somebody is local"
    at, address = last_use(owner.id, "") or (None, "")
    return AccessRow(
        principal=owner.id,
        name=OWNER_NAME,
        kind=owner.kind,
        credential="",
        grant="",
        role=Role.OWNER,
        scope="*",
        environment=None,
        project=DEFAULT_PROJECT,
        since=None,
        until=None,
        granted_by="",
        granted_by_name="",
        reason="owns the home on its machine",
        last_used=at,
        last_used_from=address,
        networks=(),
        state="active",
        ended="",
    )


def _row(
    access: Access,
    grant: Grant,
    credential: AnyCredential | None,
    now: datetime,
    last_use: LastUse,
    *,
    networks: tuple[str, ...] = (),
) -> AccessRow:
    """Args: credential: None for a person, whose sessions come and go."""
    until = min(grant.expires_at, credential.expires_at) if credential else grant.expires_at
    at, address = last_use(grant.principal, credential.id if credential else "*") or (None, "")
    ended = _ended(access, grant, credential)
    known = access.snapshot.principals
    return AccessRow(
        principal=grant.principal,
        name=known[grant.principal].name,
        kind=known[grant.principal].kind,
        credential=credential.id if credential else "",
        grant=grant.id,
        role=grant.role,
        scope=grant.scope,
        environment=grant.environment,
        project=grant.project,
        since=rfc3339(max(grant.granted_at, credential.created_at) if credential else grant.granted_at),
        until=rfc3339(until),
        granted_by=grant.granted_by,
        granted_by_name=named_in_evidence(access, grant.granted_by),
        reason=_why(access, grant),
        last_used=at,
        last_used_from=address,
        networks=networks,
        state="revoked" if ended else "expired" if now >= until else "ready" if grant.emergency else "active",
        ended=ended,
    )


def _why(access: Access, grant: Grant) -> str:
    """Why it was given, and what for, where somebody asked."""
    asked = access.snapshot.requests.get(grant.id)
    return f"{asked.reason} (answered: {grant.reason})" if asked else grant.reason


def _ended(access: Access, grant: Grant, credential: AnyCredential | None) -> str:
    """How it was revoked: the grant, the key, or the whole principal; empty if none was."""
    ends = [("grant", grant.id), ("service" if credential else "person", grant.principal)]
    if credential is not None:
        ends.insert(1, ("key", credential.id))
    if isinstance(credential, TokenBinding):
        ends.append(("issuer", credential.issuer))
    for what, identifier in ends:
        record = access.snapshot.revocations.get(identifier)
        if record is not None:
            why = f": {record.reason}" if record.reason else ""
            return f"{what} revoked {rfc3339(record.revoked_at)} by {named_in_evidence(access, record.revoked_by)}{why}"
    return ""
