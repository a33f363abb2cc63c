"""Why somebody may do something, or what they lack: the gate's own decision, with the grants and policies behind it."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from datetime import datetime

import msgspec

from casemate.core import Action, Environment, InputError, NotFoundError, Principal, Resource, Role, rfc3339
from casemate.iam.access import LOCAL, Access, local_owner
from casemate.iam.authorizer import Authorizer, Grounds
from casemate.iam.conditions import Value
from casemate.iam.names import OWNER_NAME
from casemate.iam.policy import Decision
from casemate.iam.records import Grant
from casemate.iam.tokens.records import AnyCredential, TokenBinding

_NAMED = 5  # principals named where somebody else could do it
_ASKED = 1000  # newest credentials asked for that; ~0.1 ms each


class Held(msgspec.Struct, frozen=True, kw_only=True):
    """One grant of the principal. Args: gives: the decision rests on it. why: what it does here, or why nothing."""

    id: str
    role: Role
    scope: str
    environment: Environment | None
    granted_by: str
    granted_at: str
    expires_at: str
    gives: bool
    why: str


class Explanation(msgspec.Struct, frozen=True, kw_only=True):
    """Args: stated: facts that the policies were given. until: when this answer may change by itself."""

    allowed: bool
    principal: str
    name: str
    credential: str
    action: Action
    resource: str
    environment: Environment | None
    stated: Mapping[str, str | int | bool]
    conditions: Mapping[str, str | int | bool]
    policy: str  # the digest of the policies in force
    policies: tuple[str, ...]
    roles: tuple[str, ...]
    reason: str
    grants: tuple[Held, ...]
    missing: tuple[str, ...]
    next_step: str
    until: str | None
    self_approved: bool


def find_principal(access: Access, text: str, *, now: datetime) -> Principal:
    """Whom a person means by `local`, by the id of a principal or of a key, or by the name of a person or of a key's service.

    Of several keys, the one that works and lives longest.
    Raises: NotFoundError (no-principal); InputError (ambiguous-principal).
    """
    if text == OWNER_NAME and access.owner is not None:
        return access.owner
    uid = text.removeprefix(LOCAL)
    if text.startswith(LOCAL) and uid.isascii() and uid.isdigit() and len(uid) <= 10:
        return local_owner(int(uid))
    person = access.snapshot.people.get(access.snapshot.people_by_name.get(text, text))
    held = [one for one in access.snapshot.credentials.values() if text in (one.id, one.principal, one.name)]
    working = [one for one in held if not _ending(access, one, access.instant(now))]
    services = sorted({one.principal for one in working or held})
    if not services and person is None:
        raise NotFoundError(
            f"Nobody is called {text[:80]!r}: write local, or a name or id from casemate user list or key list.",
            code="no-principal",
        )
    if len(services) + (person is not None) > 1:
        named = [*([person.id] if person else []), *services[:_NAMED]]
        what = "services" if person is None else "principals"
        raise InputError(
            f"{len(services) + (person is not None)} {what} are called {text!r}; name one by its id: {', '.join(named)}.",
            code="ambiguous-principal",
        )
    if person is not None:
        return person.principal  # as they are without a fresh second factor
    return _holder(access, max(working or held, key=lambda one: one.expires_at))


def _holder(access: Access, credential: AnyCredential) -> Principal:
    """The principal as it is after it has proved itself with this key."""
    known = access.snapshot.principals[credential.principal]
    return Principal(
        id=known.id, kind=known.kind, name=credential.name, project=credential.project, credential=credential.id
    )


def _ending(access: Access, credential: AnyCredential, now: datetime) -> str:
    """Why a key counts no longer; empty while it does."""
    proofs = [(credential.id, "key"), (credential.principal, "service")]
    if isinstance(credential, TokenBinding):
        proofs.append((credential.issuer, "issuer"))
    for identifier, name in proofs:
        ended = access.snapshot.revocations.get(identifier)
        if ended is not None:
            because = f": {ended.reason}" if ended.reason else ""
            return f"the {name} {identifier} was revoked {rfc3339(ended.revoked_at)} by {ended.revoked_by}{because}"
    if now >= credential.expires_at:
        return f"the key {credential.id} expired {rfc3339(credential.expires_at)}"
    return ""


def explain(
    authorizer: Authorizer,
    principal: Principal,
    action: Action,
    resource: Resource,
    *,
    address: str = "",
    supposed: datetime | None = None,
) -> Explanation:
    """What the gate would decide, and what would have to change. Raises: StorageError (access-stale).

    Args: address: from where; empty: not over a network. supposed: as if it were then; None: now.
    """
    found = authorizer.grounds(
        principal, action, resource, supposed=supposed, **({"address": address} if address else {})
    )
    decision, standing = found.decision, found.standing
    asked = _Asked(authorizer=authorizer, principal=principal, action=action, resource=resource, found=found)
    return Explanation(
        allowed=decision.allowed,
        principal=principal.id,
        name=OWNER_NAME if principal == authorizer.access.owner else principal.name,
        credential=principal.credential,
        action=action,
        resource=str(resource),
        environment=resource.environment,
        stated=resource.attributes,
        conditions=decision.stated,
        policy=decision.policy,
        policies=decision.policies,
        roles=decision.roles,
        reason=decision.reason,
        grants=tuple(asked.held()),
        missing=() if decision.allowed else tuple(asked.missing()),
        next_step="" if decision.allowed else asked.next_step(),
        until=None if standing.until is None else rfc3339(standing.until),
        self_approved=decision.self_approved,
    )


def _aside(grant: Grant) -> str:
    """Why a grant that counts gives nothing here."""
    if grant.emergency:
        return f"is for emergencies, and gives nothing until it is opened: casemate grant break-glass {grant.id}"
    where = f" in {grant.environment}" if grant.environment else ""
    return f"is for {grant.scope}{where} in the project {grant.project}"


class _Asked(msgspec.Struct, frozen=True, kw_only=True):
    """One question and its answer; what it says more comes from asking the same policies with one thing changed."""

    authorizer: Authorizer
    principal: Principal
    action: Action
    resource: Resource
    found: Grounds

    def held(self) -> Iterator[Held]:
        """Every grant that the principal ever had, oldest first."""
        access = self.authorizer.access
        for grant in (*access.snapshot.granted.values(), *access.brought(self.principal)):
            if grant.principal == self.principal.id:
                gives = self.found.decision.allowed and grant in self.found.standing.grants and self.is_able(grant.role)
                yield Held(
                    id=grant.id,
                    role=grant.role,
                    scope=grant.scope,
                    environment=grant.environment,
                    granted_by=grant.granted_by,
                    granted_at=rfc3339(grant.granted_at),
                    expires_at=rfc3339(grant.expires_at),
                    gives=gives,
                    why=self.effect(grant),
                )

    def effect(self, grant: Grant) -> str:
        """What a grant does for this question."""
        access, standing = self.authorizer.access, self.found.standing
        ended = access.snapshot.revocations.get(grant.id)
        if ended is not None:
            return f"was revoked {rfc3339(ended.revoked_at)} by {ended.revoked_by}"
        if grant in standing.lapsed:
            when = "expired" if self.found.at >= grant.expires_at else "ends too early, at"
            return f"{when} {rfc3339(grant.expires_at)}"
        if grant in standing.grants:
            if self.is_able(grant.role):
                return "counts here"
            return "this takes no role" if self.without_role().allowed else f"{grant.role} alone may not"
        if self.ending():
            return standing.because
        return _aside(grant)

    def is_able(self, role: Role) -> bool:
        """Whether the policies would allow this for this role, to the same principal with no other one, once verified."""
        decision = self._decide(frozenset({role}), fresh=True)
        return decision.allowed and not set(decision.policies) <= set(self.without_role().policies)

    def without_role(self) -> Decision:
        """What the policies say of the same principal, if its key counts and it has no role: so it is for one's own."""
        return self._decide(frozenset(), authenticated=True, fresh=True)

    def _decide(self, roles: frozenset[Role], **context: Value) -> Decision:
        return self.authorizer.policies.decide(
            self.principal,
            self.action,
            self.resource,
            roles=roles,
            context={**self.found.context, **context},
            at=self.found.at,
        )

    def able(self) -> tuple[Role, ...]:
        """The roles with which it would be allowed; where a forbid stands against all, those that may otherwise."""
        exact = tuple(role for role in self.authorizer.policies.roles_for(self.action) if self.is_able(role))
        return exact or self.authorizer.policies.roles_for(self.action)

    def _origin(self) -> dict[str, Value]:
        return {name: value for name, value in self.found.context.items() if name == "address"}

    def ending(self) -> str:
        """Why the principal's key counts no longer; empty while it does."""
        access = self.authorizer.access
        credential = access.snapshot.credentials.get(self.principal.credential)
        return "" if credential is None else _ending(access, credential, self.found.at)

    def missing(self) -> Iterator[str]:
        """What stands in the way, the first thing first."""
        standing = self.found.standing
        if why := self.ending():
            yield why
        for policy in self.found.decision.policies:
            comment = self.authorizer.policies.comment(policy)
            yield f"the policy {policy} forbids it" + (f": {comment}" if comment else "")
        able = self.able()
        if self.without_role().allowed:  # then no role is missing
            if not why:
                yield standing.because
            return
        if not able:
            yield f"no policy lets any role do {self.action}"
        elif not self._roles() & frozenset(able):
            where = f" in {self.resource.environment}" if self.resource.environment else ""
            yield f"a grant of {' or '.join(able)} that covers {self.resource}{where}"
        for grant in standing.lapsed:
            if grant.role in able and grant not in standing.grants:
                when = "expired" if self.found.at >= grant.expires_at else "ends too early, at"
                end = rfc3339(grant.expires_at)
                yield f"the grant {grant.id} of {grant.role}, given by {grant.granted_by}, {when} {end}"
        if self.principal.id.startswith(LOCAL) and standing.because:
            yield standing.because

    def _roles(self) -> frozenset[Role]:
        """The roles in effect; of a key that has ended, those that it would bring to some resource."""
        if not self.ending():
            return self.found.standing.roles
        granted = self.authorizer.access.snapshot.grants.get(self.principal.id, {})
        return frozenset(grant.role for grants in granted.values() for grant in grants.values())

    def next_step(self) -> str:
        """What a person can do about it: who may, or which key to ask for."""
        if self.without_role().allowed:
            return "Ask an owner for a new key: any key may do this."
        step = self.found.decision.next_step
        if not self.found.decision.policies:
            return step
        others = self.others()
        if others:
            return f"{step} Let somebody do it who may: {', '.join(others)}.".strip()
        return step or "Nobody else may either: change what is asked, or ask an owner for a key for somebody who may."

    def others(self) -> list[str]:
        """Principals who may do exactly this now: the home's owner, then the holders of the newest keys."""
        access = self.authorizer.access
        newest = list(access.snapshot.credentials.values())[: -_ASKED - 1 : -1]
        asked = [access.owner] if access.owner else []
        asked += [_holder(access, credential) for credential in newest]
        found: dict[str, str] = {}
        for one in asked:
            said = self.authorizer.grounds(one, self.action, self.resource, supposed=self.found.at, **self._origin())
            if said.decision.allowed:
                found[one.id] = OWNER_NAME if one == access.owner else f"{one.name} ({one.id})"
            if len(found) == _NAMED:
                break
        return list(found.values())
