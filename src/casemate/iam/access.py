"""Who has which roles now: asked of the newest snapshot of the signed ledger, which is read without a lock.

A snapshot never changes once it is published; `refresh` publishes the next one in a single assignment, so a reader sees
all of a revocation or none of it. Whether something has expired is asked at each use, not when it was folded.
"""

from __future__ import annotations

import threading
import time
from collections.abc import Iterable
from datetime import datetime
from typing import Protocol

import msgspec

from casemate.core import DEFAULT_PROJECT, Principal, PrincipalKind, Resource, Role, VerificationError, parse_rfc3339
from casemate.iam.records import Grant
from casemate.iam.scope import environment_covers, scopes_covering
from casemate.iam.snapshot import GrantsByScope, SignedEntry, Snapshot, fold
from casemate.iam.tokens.records import AnyCredential, TokenBinding, is_ci

LOCAL = "local:"  # ids of people known by their user id on this machine; the ledger cannot create one


def local_owner(uid: int) -> Principal:
    """The person with the user id `uid` on this machine; the caller has this from the socket or the process itself."""
    return Principal(id=f"{LOCAL}{uid}", kind=PrincipalKind.USER, name=f"user-{uid}")


class SignedState(Protocol):
    """`storage.Ledger`: entries whose chain and signature have been checked."""

    def entries(self, after: int = 0) -> Iterable[SignedEntry]: ...


class Standing(msgspec.Struct, frozen=True, kw_only=True):
    """The roles that count for one resource at one instant, and until when that is so.

    `live`: who asks is who they say now, whether or not they have a role here. `grants`: those that give the roles.
    `lapsed`: those that cover the resource and have expired, or end too early.
    """

    roles: frozenset[Role] = frozenset()
    until: datetime | None = None  # None: nothing here expires
    because: str = ""  # why there is no role
    live: bool = False
    ci: bool = False  # a CI job's token stands behind it, so nobody can be asked for a second factor
    grants: tuple[Grant, ...] = ()
    lapsed: tuple[Grant, ...] = ()


class Access:
    """The folded state and its age. Args: owner_uid: user id that owns the home; None where nobody is local."""

    def __init__(self, ledger: SignedState, *, owner_uid: int | None = None) -> None:
        self._ledger = ledger
        self._owner = None if owner_uid is None else f"{LOCAL}{owner_uid}"
        self._lock = threading.Lock()
        self._latest: datetime | None = None
        self._timing = threading.Lock()
        self._refreshed = time.monotonic()
        self.snapshot = Snapshot()
        self.unreadable = False  # the ledger did not verify: nobody is known until it does

    def refresh(self) -> bool:
        """Fold what the ledger has gained; True if anything had. A ledger that does not verify leaves nobody allowed.

        Raises: VerificationError: nobody has access until a refresh succeeds. StorageError: the last state stands,
            and `age` grows.
        """
        with self._lock:
            try:
                before = self.snapshot
                self.snapshot = fold(before, list(self._ledger.entries(after=before.number)))
            except VerificationError:
                self.snapshot, self.unreadable = Snapshot(), True
                raise
            self.unreadable = False
            self._refreshed = time.monotonic()
            if self.snapshot.latest is not None:
                self.instant(self.snapshot.latest)
            return self.snapshot is not before

    @property
    def owner(self) -> Principal | None:
        """The person who owns the home; None where nobody is local."""
        return None if self._owner is None else local_owner(int(self._owner.removeprefix(LOCAL)))

    def asks_local(self, principal: str) -> bool:
        """Whether the person behind a user id of this machine has a second factor here, and so is asked for it."""
        people = (self.snapshot.people[one] for one in self.snapshot.people_by_name.values())
        return any(person.created.local == principal and person.is_active for person in people)

    def age(self) -> float:
        """Seconds since the state was last known to be the newest."""
        return time.monotonic() - self._refreshed

    def instant(self, now: datetime) -> datetime:
        """`now`, or the latest time ever seen here: what has expired stays so when the clock goes back."""
        with self._timing:  # asked and set as one, or a thread that asked earlier could set it back
            if self._latest is None or now > self._latest:
                self._latest = now
            return self._latest

    def is_person(self, principal: str) -> bool:
        """Whether this id is the home's owner's, or of a person with a second factor. No service is, whoever uses it."""
        person = self.snapshot.people.get(principal)
        return principal == self._owner if person is None else person.is_active

    def descends(self, principal: str, other: str) -> bool:
        """Whether `other` is in the line of `principal`."""
        return other in self.line(principal)

    def hands(self, principal: str, *, invited: bool = False) -> set[str]:
        """Who may act as `principal`: whoever issued or rotated a key of it saw the secret, and so did whoever made theirs;
        whoever chose the issuer of its tokens, or its keys, may sign one.

        The home's owner is left out, from whom all keys of a new home come. So are what binds a CI job, whose tokens are
        nobody's. Args: invited: and of a person, whoever invited or reset them last, since the code with which all their
        factors began was theirs to use, and whoever chose the provider that vouches for them.
        """
        snapshot = self.snapshot
        makers = self._vouchers() if invited else {}
        for credential in snapshot.credentials.values():
            if not is_ci(credential):
                makers.setdefault(credential.principal, set()).update(self._makers(credential))
        found, ahead = {principal}, [principal]
        while ahead:
            one = ahead.pop()
            new = {maker for maker in makers.get(one, set()) if not maker.startswith(LOCAL)} - found
            found |= new
            ahead += new
        return found

    def line(self, principal: str) -> set[str]:
        """`principal`, whoever issued a key of theirs, chose its issuer or invited them, and the line before those.

        Of a person the newest invitation counts: whoever made it saw the code with which all factors began.
        """
        issuers: dict[str, set[str]] = {}
        for credential in self.snapshot.credentials.values():
            issuers.setdefault(credential.principal, set()).update(self._makers(credential))
        for person, vouchers in self._vouchers().items():
            issuers.setdefault(person, set()).update(vouchers)
        line, ahead = {principal}, [principal]
        while ahead:
            found = issuers.get(ahead.pop(), set()) - line
            line |= found
            ahead += found
        return line

    def _makers(self, credential: AnyCredential) -> set[str]:
        """Who made it; and who chose the issuer of its tokens, or recorded the keys that now sign them: they may hold one."""
        if not isinstance(credential, TokenBinding):
            return {credential.created_by}
        issuer = self.snapshot.issuers[credential.issuer]
        return {credential.created_by, issuer.about.created_by, issuer.keys.recorded_by}

    def _vouchers(self) -> dict[str, set[str]]:
        """Of each person: who invited or reset them last, and who chose the provider that vouches for them."""
        vouchers: dict[str, set[str]] = {}
        for person in self.snapshot.people.values():
            if person.invitation is not None:
                vouchers.setdefault(person.id, set()).add(person.invitation.invited_by)
        outside = self.snapshot.outside
        for link in outside.links.values():
            vouchers.setdefault(link.principal, set()).update(
                {outside.providers[link.provider].created_by, link.linked_by} - {""}
            )
        return vouchers

    def standing(
        self, principal: Principal, resource: Resource, now: datetime, *, lasting: str = "", supposed: bool = False
    ) -> Standing:
        """The roles of `principal` on `resource`. Args: lasting: RFC 3339; only grants that live so long count.

        supposed: `now` is only asked about, and moves no clock. Nothing may be let in on the answer.
        """
        now = now if supposed else self.instant(now)
        if principal.id.startswith(LOCAL):
            return self._local(principal, resource)
        snapshot = self.snapshot
        if principal.id not in snapshot.principals or principal.id in snapshot.revoked:
            return Standing(because="the principal is not known or was revoked")
        if principal.id in snapshot.people:
            return self._person(principal, resource, now, lasting)
        return self._service(principal, resource, now, lasting)

    def _service(self, principal: Principal, resource: Resource, now: datetime, lasting: str) -> Standing:
        snapshot = self.snapshot
        credential = snapshot.credentials.get(principal.credential)
        if credential is None or credential.principal != principal.id or credential.id in snapshot.revoked:
            return Standing(because="the credential is not known or was revoked")
        if now >= credential.expires_at:
            return Standing(because="the credential has expired")
        if isinstance(credential, TokenBinding) and credential.issuer in snapshot.revoked:
            return Standing(because="the issuer of its tokens was revoked")
        granted, ci = snapshot.grants.get(principal.id, {}), is_ci(credential)
        return _effective(granted, credential.expires_at, resource, now, lasting, ci=ci)

    def _person(self, principal: Principal, resource: Resource, now: datetime, lasting: str) -> Standing:
        """A session is not on the ledger: `Sessions` has said that it counts. What it is for a person is said here."""
        snapshot = self.snapshot
        if not snapshot.people[principal.id].is_active:
            return Standing(because="the person has no second factor yet")
        if principal.credential in snapshot.revoked:
            return Standing(because="the session was ended")
        own = snapshot.grants.get(principal.id, {})
        return _effective(own, None, resource, now, lasting, brought=self.brought(principal))

    def brought(self, principal: Principal) -> tuple[Grant, ...]:
        """What the groups at an outside provider give the session behind `principal`, as the signed mappings say now."""
        snapshot, found = self.snapshot, []
        for one in principal.brought if principal.brought_until else ():
            group = snapshot.outside.groups.get(one)
            if group is not None and not {one, group.provider} & snapshot.revoked:
                assert principal.brought_until is not None, "looked at above"
                until = min(principal.brought_until, group.expires_at or principal.brought_until)
                grant = Grant(
                    id=one,
                    principal=principal.id,
                    project=group.project,
                    role=group.role,
                    scope=group.scope,
                    environment=group.environment,
                    reason=f"group {group.group} at {snapshot.outside.providers[group.provider].name}",
                    granted_by=group.created_by,
                    granted_at=group.created_at,
                    expires_at=until,
                )
                found.append(grant)
        return tuple(found)

    def _local(self, principal: Principal, resource: Resource) -> Standing:
        if principal.id != self._owner:
            return Standing(because="this user id does not own the home")
        if resource.project != DEFAULT_PROJECT:
            return Standing(because=f"the home's owner owns the project {DEFAULT_PROJECT!r} only")
        return Standing(roles=frozenset({Role.OWNER}), live=True)


def _effective(
    granted: GrantsByScope,
    ending: datetime | None,
    resource: Resource,
    now: datetime,
    lasting: str,
    *,
    ci: bool = False,
    brought: tuple[Grant, ...] = (),
) -> Standing:
    """Args: ending: when the credential does; None: whoever made sure of it looks at each request. brought: by a session."""
    scopes = scopes_covering(resource)
    asked = [grant for scope in scopes for grant in granted.get(scope, {}).values()]
    covering = [
        grant
        for grant in (*asked, *(one for one in brought if one.scope in scopes))
        if grant.project == resource.project and environment_covers(grant.environment, resource.environment)
    ]
    alive = [grant for grant in covering if now < grant.expires_at]
    if not alive:
        what = "has expired" if covering else f"covers {resource}"
        because = f"{'every grant' if covering else 'no grant'} {what}"
        return Standing(because=because, live=True, ci=ci, until=ending, lapsed=tuple(covering))
    if lasting:
        end = parse_rfc3339(lasting)
        alive = [grant for grant in alive if end <= _nearest(ending, grant.expires_at)]
        if not alive:
            because = (
                "it would outlive the grants of whoever gives it: ask for a shorter time, or let somebody do it whose "
                "grants last as long"
            )
            return Standing(because=because, live=True, ci=ci, until=ending, lapsed=tuple(covering))
    return Standing(
        roles=frozenset(grant.role for grant in alive),
        until=_nearest(ending, *(grant.expires_at for grant in alive)),
        live=True,
        ci=ci,
        grants=tuple(alive),
        lapsed=tuple(grant for grant in covering if grant not in alive),
    )


def _nearest(ending: datetime | None, *ends: datetime) -> datetime:
    return min(ends if ending is None else (ending, *ends))
