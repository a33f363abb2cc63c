"""The one object that answers "who is this" and "may they": what the gate and the data plane ask.

A decision is kept for at most one second. It is found again only under the same principal, credential, action, resource
and conditions, and only while the snapshot of grants and the policies are the very objects it was made from, so a
revocation or a new policy needs no flush; the nearest expiry ends it earlier. Where it came from is a condition only while
a policy in force looks at the address; where one looks at the time, the next full second ends it.
"""

from __future__ import annotations

import threading
from collections.abc import Hashable
from datetime import datetime, timedelta
from functools import partial
from typing import Protocol

import msgspec

from casemate.core import (
    Action,
    Clock,
    PolicyError,
    Principal,
    PrincipalKind,
    Resource,
    StepUpError,
    StorageError,
)
from casemate.iam.access import LOCAL, Access, Standing
from casemate.iam.conditions import ADDRESS, ORIGIN, TIMES, Value, next_second, plain_address
from casemate.iam.credentials import authenticate
from casemate.iam.policy import Decision, Policies
from casemate.iam.sessions import is_session_token
from casemate.iam.tokens.jose import looks_signed
from casemate.iam.tokens.verifier import TokenVerifier

KEEP = timedelta(seconds=1)  # DESIGN.md, policy row: a cached decision dies after 1 s at most
MAX_KEPT = 4096  # decisions; ~1 KB each
_MAX_NAME = 80  # characters; longer ones name nothing, and a decision on them is made anew each time
_GIVING = frozenset(  # never for longer than one's own
    {
        Action.KEY_ISSUE,
        Action.KEY_ROTATE,
        Action.GRANT_APPROVE,
        Action.ISSUER_BIND,
        Action.USER_INVITE,
        Action.USER_RESET,
        Action.PROVIDER_MAP,
        Action.PROVIDER_BIND,
    }
)
FRESH = timedelta(minutes=5)  # how long a second factor counts for what could do great harm
SECOND_FACTOR = "urn:casemate:acr:second-factor"  # what a session's strength is called to other systems (`acr`)
_BROUGHT_BY = {  # whom a second person must not be
    Action.MODEL_APPROVE: "pushed_by",
    Action.DATASET_JUDGE: "pushed_by",
    Action.GRANT_APPROVE: "holder",
    Action.GRANT_ACCEPT: "holder",
    Action.POLICY_APPROVE: "holder",
    Action.REVIEW_ANSWER: "reviewed",
}

_TWO_HANDS = frozenset({Action.MODEL_APPROVE, Action.POLICY_APPROVE})  # of whom neither may act as the other


class SessionSource(Protocol):
    """`Sessions`: who holds a session's token now."""

    def authenticate(self, token: str, now: datetime) -> Principal: ...


class _Kept(msgspec.Struct, frozen=True):
    decision: Decision
    until: datetime
    snapshot: object
    policies: object


class Grounds(msgspec.Struct, frozen=True, kw_only=True):
    """A decision, when it was made, and from what. Args: context: the facts beside the resource's own attributes."""

    at: datetime
    decision: Decision
    standing: Standing
    context: dict[str, Value]


class Authorizer:
    """Args: stale_after: seconds after which grants that could not be refreshed are no longer trusted; None: never.

    tokens: reads signed tokens; None where API keys alone count. sessions: of people; None where none are taken, as on
    the data plane.
    """

    def __init__(
        self,
        *,
        access: Access,
        policies: Policies,
        clock: Clock,
        stale_after: float | None = None,
        tokens: TokenVerifier | None = None,
        sessions: SessionSource | None = None,
    ) -> None:
        self.access = access
        self._sessions = sessions
        self._packaged = self._in_force = policies
        self._clock = clock
        self._stale_after = stale_after
        self._tokens = tokens
        self._kept: dict[Hashable, _Kept] = {}
        self._lock = threading.Lock()

    @property
    def policies(self) -> Policies:
        """Those in force: the packaged ones, and the home's own as the newest snapshot has them."""
        home, found = self.access.snapshot.policy.in_force, self._in_force
        if found.home is not home and found.home != home:
            found = self._in_force = self._packaged.with_home(home)
        return found

    @policies.setter
    def policies(self, packaged: Policies) -> None:
        self._packaged = self._in_force = packaged

    def authenticate(self, bearer: str, certificate: bytes = b"") -> Principal:
        """Who holds this session, token or key (without `Bearer`). Args: certificate: of the connection, DER.

        Raises: AuthError; StorageError: access-stale, access-unreadable: no fault of the caller's.
        """
        self.check_readable()
        if self._sessions is not None and is_session_token(bearer):
            return self._sessions.authenticate(bearer, self._clock.now())
        if self._tokens is not None and looks_signed(bearer):
            return self._tokens.authenticate(self.access, bearer, self._clock.now(), certificate)
        return authenticate(self.access, bearer, self._clock.now())

    def check_readable(self) -> None:
        """Raises: StorageError: access-stale, access-unreadable: nobody is let in."""
        self._check_age()
        if self.access.unreadable:
            raise StorageError(
                "The signed record of who may do what does not verify, so nobody is let in: see casemate audit verify.",
                code="access-unreadable",
            )

    def authorize(self, principal: Principal, action: Action, resource: Resource, **context: Value) -> Decision:
        """The decision that allows it. Raises: PolicyError (forbidden), naming policy, reason and next step."""
        decision = self.decide(principal, action, resource, **context)
        if not decision.allowed:
            raise forbidden(decision)
        return decision

    def is_fresh(self, principal: Principal) -> bool:
        """Whether a second factor stands behind the principal that is new enough; a service's key has no other."""
        if principal.kind is not PrincipalKind.USER:
            return True
        if principal.verified_at is not None:
            return self.access.instant(self._clock.now()) - principal.verified_at < FRESH
        return principal.id.startswith(LOCAL) and not self.access.asks_local(principal.id)

    def decide(self, principal: Principal, action: Action, resource: Resource, **context: Value) -> Decision:
        """Allowed or refused, and why. Raises: StorageError (access-stale)."""
        self._check_age()
        snapshot, policies = self.access.snapshot, self.policies
        facts = _weighed(context, policies) if context else context
        key: Hashable = (
            principal.id,
            principal.credential,
            principal.kind,
            principal.brought,
            self.is_fresh(principal),
            action,
            resource.kind,
            resource.name,
            resource.project,
            resource.environment,
            _frozen(resource.attributes) if resource.attributes else None,
            _frozen(facts) if facts else None,
        )
        now = self.access.instant(self._clock.now())
        kept = self._kept.get(key)
        if kept is not None and now < kept.until and kept.snapshot is snapshot and kept.policies is policies:
            return kept.decision
        found = self._weigh(principal, action, resource, facts, now=now, policies=policies)
        until = next_second(now) if policies.looks_at(*TIMES) else now + KEEP
        if found.standing.until is not None:
            until = min(until, found.standing.until)
        if len(resource.name) <= _MAX_NAME:
            self._keep(key, _Kept(found.decision, until, snapshot, policies))
        return found.decision

    def grounds(
        self,
        principal: Principal,
        action: Action,
        resource: Resource,
        *,
        supposed: datetime | None = None,
        **context: Value,
    ) -> Grounds:
        """The decision, made anew, with what it rests on. Args: supposed: as if it were then. Raises: StorageError (access-stale)."""
        self._check_age()
        policies = self.policies
        now = self.access.instant(self._clock.now()) if supposed is None else supposed
        return self._weigh(
            principal, action, resource, context, now=now, policies=policies, supposed=supposed is not None
        )

    def _weigh(
        self,
        principal: Principal,
        action: Action,
        resource: Resource,
        context: dict[str, Value],
        *,
        now: datetime,
        policies: Policies,
        supposed: bool = False,
    ) -> Grounds:
        bringer = _BROUGHT_BY.get(action)
        if bringer and self._counts_as(principal, str(resource.attributes.get(bringer, "")), action):
            context = {**context, bringer: principal.id}
        lasting = str(resource.attributes.get("expires_at", "")) if action in _GIVING else ""
        standing = self.access.standing(principal, resource, now, lasting=lasting, supposed=supposed)
        fresh = self.is_fresh(principal)
        # Last: nobody else can say so.
        local = standing.live and principal.id.startswith(LOCAL)
        context = {**context, "authenticated": standing.live, "ci": standing.ci, "fresh": True, "local": local}
        ask = partial(
            policies.decide, principal, action, resource, roles=standing.roles, because=standing.because, at=now
        )
        decision = ask(context=context)
        if decision.allowed and not fresh:  # whoever may not do it at all is not asked for a code
            context["fresh"] = False
            decision = ask(context=context)
            decision = msgspec.structs.replace(decision, step_up=not decision.allowed)
        return Grounds(at=now, decision=decision, standing=standing, context=context)

    def _counts_as(self, principal: Principal, bringer: str, action: Action) -> bool:
        """Four eyes: who got a key from the one who pushed, or who asks for a grant, is not a second person. Nor is, for a
        model or a policy, who knows a secret of the one who pushed or proposed, or invited or reset them.

        The machine's own owner is excepted: on a new home every key comes from them, and they hold the signing keys.
        """
        if not bringer or bringer.startswith(LOCAL):
            return False
        if self.access.descends(principal.id, bringer):
            return True
        hands = self.access.hands
        return action in _TWO_HANDS and bool(hands(bringer, invited=True) & hands(principal.id))

    def _keep(self, key: Hashable, kept: _Kept) -> None:
        with self._lock:
            if key not in self._kept and len(self._kept) >= MAX_KEPT:
                del self._kept[next(iter(self._kept))]
            self._kept[key] = kept

    def _check_age(self) -> None:
        if self._stale_after is not None and self.access.age() > self._stale_after:
            raise StorageError(
                "The record of who may do what cannot be read at the moment: try again soon.", code="access-stale"
            )


def forbidden(decision: Decision) -> PolicyError | StepUpError:
    """The refusal for the person. `details` go into the log."""
    message = f"Refused: {decision.reason}." + (f" {decision.next_step}" if decision.next_step else "")
    kind = StepUpError if decision.step_up else PolicyError
    return kind(message, details={"policies": list(decision.policies), "roles": list(decision.roles)})


def _frozen(facts: dict[str, Value]) -> tuple[tuple[str, type, Value], ...]:
    """Types too: 1, True and 1.0 are equal in Python and not in a policy."""
    return tuple(sorted((name, type(value), value) for name, value in facts.items()))


def _weighed(context: dict[str, Value], policies: Policies) -> dict[str, Value]:
    """The facts that may decide something. Where a request came from is one only while a policy looks at it."""
    facts = {name: value for name, value in context.items() if name not in ORIGIN}
    address = plain_address(str(context.get(ADDRESS, ""))) if policies.looks_at(ADDRESS) else ""
    return {**facts, ADDRESS: address} if address else facts
