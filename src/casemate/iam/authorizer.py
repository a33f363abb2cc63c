"""The one object that answers "who is this" and "may they": what the gate and the data plane ask.

A decision is kept for at most one second. It is found again only under the same principal, credential, action, resource
and conditions, and only while the snapshot of grants and the policies are the very objects it was made from, so a
revocation or a new policy needs no flush; the nearest expiry ends it earlier.
"""

from __future__ import annotations

import threading
from collections.abc import Hashable
from datetime import datetime, timedelta

import msgspec

from casemate.core import Action, Clock, PolicyError, Principal, Resource, StorageError
from casemate.iam.access import LOCAL, Access
from casemate.iam.credentials import authenticate
from casemate.iam.policy import Decision, Policies, Value

KEEP = timedelta(seconds=1)  # DESIGN.md, policy row: a cached decision dies after 1 s at most
MAX_KEPT = 4096  # decisions; ~1 KB each


class _Kept(msgspec.Struct, frozen=True):
    decision: Decision
    until: datetime
    snapshot: object
    policies: object


class Authorizer:
    """Args: stale_after: seconds after which grants that could not be refreshed are no longer trusted; None: never."""

    def __init__(self, *, access: Access, policies: Policies, clock: Clock, stale_after: float | None = None) -> None:
        self.access = access
        self.policies = policies
        self._clock = clock
        self._stale_after = stale_after
        self._kept: dict[Hashable, _Kept] = {}
        self._lock = threading.Lock()

    def authenticate(self, bearer: str) -> Principal:
        """Who holds this key (the token, without `Bearer`). Raises: AuthError; StorageError (access-stale)."""
        self._check_age()
        return authenticate(self.access, bearer, self._clock.now())

    def authorize(self, principal: Principal, action: Action, resource: Resource, **context: Value) -> Decision:
        """The decision that allows it. Raises: PolicyError (forbidden), naming policy, reason and next step."""
        decision = self.decide(principal, action, resource, **context)
        if not decision.allowed:
            raise forbidden(decision)
        return decision

    def decide(self, principal: Principal, action: Action, resource: Resource, **context: Value) -> Decision:
        """Allowed or refused, and why. Raises: StorageError (access-stale)."""
        self._check_age()
        key: Hashable = (
            principal.id,
            principal.credential,
            principal.kind,
            action,
            resource.kind,
            resource.name,
            resource.project,
            resource.environment,
            _frozen(resource.attributes) if resource.attributes else None,
            _frozen(context) if context else None,
        )
        now = self.access.instant(self._clock.now())
        snapshot, policies = self.access.snapshot, self.policies.current
        kept = self._kept.get(key)
        if kept is not None and now < kept.until and kept.snapshot is snapshot and kept.policies is policies:
            return kept.decision
        decision, until = self._fresh(principal, action, resource, context, now)
        self._keep(key, _Kept(decision, until, snapshot, policies))
        return decision

    def _fresh(
        self, principal: Principal, action: Action, resource: Resource, context: dict[str, Value], now: datetime
    ) -> tuple[Decision, datetime]:
        if action is Action.MODEL_APPROVE and self._counts_as_pusher(principal, resource):
            context = {**context, "pushed_by": principal.id}
        lasting = str(resource.attributes.get("expires_at", "")) if action is Action.KEY_ISSUE else ""
        standing = self.access.standing(principal, resource, now, lasting=lasting)
        decision = self.policies.decide(
            principal, action, resource, roles=standing.roles, context=context, because=standing.because
        )
        latest = now + KEEP
        return decision, latest if standing.until is None else min(latest, standing.until)

    def _counts_as_pusher(self, principal: Principal, resource: Resource) -> bool:
        """Four eyes: who got a key from the pusher is not a second person.

        The machine's own owner is excepted: on a new home every key comes from them, and they hold the signing keys.
        """
        pusher = str(resource.attributes.get("pushed_by", ""))
        return bool(pusher) and not pusher.startswith(LOCAL) and self.access.descends(principal.id, pusher)

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


def forbidden(decision: Decision) -> PolicyError:
    """The refusal for the person. `details` go into the log."""
    message = f"Refused: {decision.reason}." + (f" {decision.next_step}" if decision.next_step else "")
    return PolicyError(message, details={"policies": list(decision.policies), "roles": list(decision.roles)})


def _frozen(facts: dict[str, Value]) -> tuple[tuple[str, type, Value], ...]:
    """Types too: 1, True and 1.0 are equal in Python and not in a policy."""
    return tuple(sorted((name, type(value), value) for name, value in facts.items()))
