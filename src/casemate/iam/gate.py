"""The single door of the control plane: authorise, commit an intent, act, commit the outcome.

    with gate.open(principal, Action.MODEL_APPROVE, resource, reason="looks right") as entry:
        entry.facts["digest"] = approve(...)

A refusal is recorded too. What a crash leaves open, `reconcile` closes at the next start.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import Any

import msgspec

from casemate.core import (
    Action,
    CasemateError,
    Clock,
    Event,
    EventSink,
    Principal,
    Resource,
    StorageError,
    new_id,
    outcome_id,
    rfc3339,
)
from casemate.iam.authorizer import Authorizer, forbidden
from casemate.iam.credentials import KEY_PATTERN, MAX_REASON
from casemate.iam.policy import Decision, Value

MAX_FACTS = 64 << 10  # bytes; facts are summaries


class Entry(msgspec.Struct, frozen=True, kw_only=True):
    """One action under way. `id` is the intent's, for every row that the act writes; fill `facts` for the record."""

    id: str
    decision: Decision
    facts: dict[str, Any]


class Gate:
    """Args: log: returns when events are durable. ids: makes ids from a prefix."""

    def __init__(
        self, *, log: EventSink, authorizer: Authorizer, clock: Clock, ids: Callable[[str], str] = new_id
    ) -> None:
        self._log = log
        self._authorizer = authorizer
        self._clock = clock
        self._ids = ids

    @contextmanager
    def open(
        self,
        principal: Principal,
        action: Action,
        resource: Resource,
        *,
        reason: str = "",
        intent: str = "",
        **context: Value,
    ) -> Iterator[Entry]:
        """Let the block run if it is allowed, between an intent and its outcome, both committed.

        Args: intent: its id, if the caller must know it before; each can be recorded once.
        Raises: PolicyError: refused, recorded. StorageError: the intent could not be committed and nothing ran, or
            the outcome could not, and the reconciler will close it. What the block raises, unchanged.
        """
        asked = _Asked(principal=principal, action=action, resource=resource, reason=reason, context=context)
        decision = self._authorizer.decide(principal, action, resource, **context)
        if not decision.allowed:
            self._record(asked, "decision", "refused", asked.facts(decision))
            raise forbidden(decision)
        intent = intent or self._ids("int")
        self._record(asked, "intent", "allowed", asked.facts(decision), event_id=intent)
        entry = Entry(id=intent, decision=decision, facts=_self_approved(decision))
        try:
            yield entry
        except BaseException as error:
            outcome, failure = _failed(error)
            self._close(asked, entry, outcome, failure)
            raise
        self._close(asked, entry, "done", {})

    def read(
        self, principal: Principal, action: Action, resource: Resource, *, reason: str = "", **context: Value
    ) -> Decision:
        """Record and return the decision on something that changes nothing. Raises: PolicyError; StorageError."""
        asked = _Asked(principal=principal, action=action, resource=resource, reason=reason, context=context)
        decision = self._authorizer.decide(principal, action, resource, **context)
        self._record(asked, "decision", "allowed" if decision.allowed else "refused", asked.facts(decision))
        if not decision.allowed:
            raise forbidden(decision)
        return decision

    def _close(self, asked: _Asked, entry: Entry, outcome: str, failure: dict[str, Any]) -> None:
        facts = {**entry.facts, **failure, "intent": entry.id}
        try:
            self._record(asked, "outcome", outcome, facts, event_id=outcome_id(entry.id))
        except StorageError:
            raise
        except Exception as error:
            raise StorageError(
                "The outcome could not be recorded; the next start settles it.", code="outcome-unrecorded"
            ) from error

    def _record(self, asked: _Asked, kind: str, outcome: str, facts: dict[str, Any], *, event_id: str = "") -> None:
        event = Event(
            id=event_id or self._ids("evt"),
            at=rfc3339(self._clock.now()),
            kind=kind,
            project=asked.resource.project,
            action=asked.action,
            actor=asked.principal.id,
            credential=asked.principal.credential,
            resource=str(asked.resource),
            outcome=outcome,
            reason=_without_keys(asked.reason)[:MAX_REASON],
            facts=recordable(facts),
        )
        self._log.append([event])


class _Asked(msgspec.Struct, frozen=True, kw_only=True):
    """One question put to the gate."""

    principal: Principal
    action: Action
    resource: Resource
    reason: str
    context: dict[str, Value]

    def facts(self, decision: Decision) -> dict[str, Any]:
        environment = self.resource.environment
        return {
            **self.resource.attributes,
            **self.context,
            **({"environment": environment.value} if environment else {}),
            "policies": list(decision.policies),
            "roles": list(decision.roles),
            "because": decision.reason,
            **_self_approved(decision),
        }


def _self_approved(decision: Decision) -> dict[str, Any]:
    return {"self_approved": True} if decision.self_approved else {}


def _failed(error: BaseException) -> tuple[str, dict[str, Any]]:
    if isinstance(error, CasemateError):
        return "failed", {"error": error.code, "message": error.message, "details": error.details}
    if isinstance(error, Exception):
        return "failed", {"error": "internal", "type": type(error).__name__}
    return "interrupted", {"error": type(error).__name__}


def recordable(facts: dict[str, Any]) -> dict[str, Any]:
    """Plain JSON values without API keys. What cannot be written is named by its type; too much is cut to its size."""
    try:
        text = msgspec.json.encode(facts, enc_hook=lambda value: type(value).__name__).decode()
    except (msgspec.MsgspecError, TypeError, ValueError, UnicodeError, RecursionError):
        return {**_core(facts), "unrecordable": sorted(str(name)[:80] for name in facts)[:50]}
    if len(text) > MAX_FACTS:
        return {**_core(facts), "unrecordable": f"{len(text)} bytes of facts are over {MAX_FACTS}"}
    plain: dict[str, Any] = msgspec.json.decode(_without_keys(text))
    return plain


def _core(facts: dict[str, Any]) -> dict[str, Any]:
    """What an outcome cannot do without: its intent."""
    return {name: facts[name] for name in ("intent", "error") if isinstance(facts.get(name), str)}


def _without_keys(text: str) -> str:
    return KEY_PATTERN.sub("[API key]", text)
