"""The single door of the control plane: authorise, commit an intent, act, commit the outcome.

    with gate.open(principal, Action.MODEL_APPROVE, resource, reason="looks right") as entry:
        entry.facts["digest"] = approve(...)

A refusal is recorded too. What a crash leaves open, `reconcile` closes at the next start.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from types import MappingProxyType
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
    without_secrets,
)
from casemate.iam.authorizer import Authorizer, forbidden
from casemate.iam.conditions import Value
from casemate.iam.credentials import MAX_REASON
from casemate.iam.policy import Decision

# Details of an error that stay on record. What a confined process said is not among them: it may hold rows of data.
_DETAILS = frozenset({"code", "credential", "entry", "kept", "number", "policies", "roles", "signal", "size", "wall"})
_NOTHING: Mapping[str, Value] = MappingProxyType({})
MAX_FACTS = 64 << 10  # bytes; facts are summaries
MAX_MESSAGE = 1000  # characters of an error's; ours are a sentence or two


class Entry(msgspec.Struct, frozen=True, kw_only=True):
    """One action under way. `id` is the intent's, for every row that the act writes; fill `facts` for the record.

    `resource` is what was decided on, to the last attribute.
    """

    id: str
    resource: Resource
    decision: Decision
    facts: dict[str, Any]


class Gate:
    """Args: log: returns when events are durable. ids: makes ids from a prefix. took_effect: what the signed state and
    the rows say of an intent: asked where a failure of storage leaves that open."""

    def __init__(
        self,
        *,
        log: EventSink,
        authorizer: Authorizer,
        clock: Clock,
        ids: Callable[[str], str] = new_id,
        took_effect: Callable[[str], bool] = lambda _: False,
    ) -> None:
        self._log = log
        self._authorizer = authorizer
        self._clock = clock
        self._ids = ids
        self._took_effect = took_effect

    @contextmanager
    def open(
        self,
        principal: Principal,
        action: Action,
        resource: Resource,
        *,
        reason: str = "",
        intent: str = "",
        noted: Mapping[str, Value] = _NOTHING,
        counted: Callable[[], bool] = lambda: False,
        **context: Value,
    ) -> Iterator[Entry]:
        """Let the block run if it is allowed, between an intent and its outcome, both committed.

        Args: intent: its id, if the caller must know it before; each can be recorded once. noted: what the record says
            of it besides, which decides nothing. counted: asked about a refusal: True: it is on record among others
            like it, and needs no entry of its own.
        Raises: PolicyError: refused, recorded. StorageError: the intent could not be committed and nothing ran, or
            the outcome could not, and the reconciler will close it. What the block raises, unchanged; where that is a
            failure of storage, the outcome is what the signed state says.
        """
        asked = _Asked(
            principal=principal, action=action, resource=resource, reason=reason, context=context, noted=noted
        )
        decision = self._authorizer.decide(principal, action, resource, **context)
        if not decision.allowed:
            if not counted():
                self._record(asked, "decision", "refused", asked.facts(decision))
            raise forbidden(decision)
        intent = intent or self._ids("int")
        self._record(asked, "intent", "allowed", asked.facts(decision), event_id=intent)
        entry = Entry(id=intent, resource=resource, decision=decision, facts={**noted, **_self_approved(decision)})
        try:
            yield entry
        except BaseException as error:
            outcome, failure = _failed(error)
            if _leaves_open(error) and self._took_effect(entry.id):
                outcome = "done"  # and `failure` says what came after it
            self._close(asked, entry, outcome, failure)
            raise
        self._close(asked, entry, "done", {})

    def read(
        self,
        principal: Principal,
        action: Action,
        resource: Resource,
        *,
        reason: str = "",
        noted: Mapping[str, Value] = _NOTHING,
        counted: Callable[[], bool] = lambda: False,
        **context: Value,
    ) -> Decision:
        """Record and return the decision on something that changes nothing. Raises: PolicyError; StorageError.

        Args: noted, counted: as for `open`.
        """
        asked = _Asked(
            principal=principal, action=action, resource=resource, reason=reason, context=context, noted=noted
        )
        decision = self._authorizer.decide(principal, action, resource, **context)
        if decision.allowed:
            self._record(asked, "decision", "allowed", asked.facts(decision))
            return decision
        if not counted():
            self._record(asked, "decision", "refused", asked.facts(decision))
        raise forbidden(decision)

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
            resource=without_secrets(str(asked.resource)),
            outcome=outcome,
            reason=without_secrets(asked.reason)[:MAX_REASON],
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
    noted: Mapping[str, Value]

    def facts(self, decision: Decision) -> dict[str, Any]:
        environment = self.resource.environment
        return {
            **self.noted,
            **self.resource.attributes,
            **self.context,
            **({"environment": environment.value} if environment else {}),
            "policies": list(decision.policies),
            "roles": list(decision.roles),
            "because": decision.reason,
            "policy": decision.policy,
            "conditions": dict(decision.stated),
            **_self_approved(decision),
        }


def _self_approved(decision: Decision) -> dict[str, Any]:
    return {"self_approved": True} if decision.self_approved else {}


def _leaves_open(error: BaseException) -> bool:
    """Whether it may have come after a commit: the head was not kept, an answer was lost, or it is not ours at all."""
    return isinstance(error, StorageError) or (isinstance(error, Exception) and not isinstance(error, CasemateError))


def _failed(error: BaseException) -> tuple[str, dict[str, Any]]:
    if isinstance(error, CasemateError):
        details = {name: value for name, value in error.details.items() if name in _DETAILS}
        said = {} if error.details.get("foreign") else {"message": error.message[:MAX_MESSAGE]}
        return "failed", {"error": error.code, **said, "details": details}
    if isinstance(error, Exception):
        return "failed", {"error": "internal", "type": type(error).__name__}
    return "interrupted", {"error": type(error).__name__}


def recordable(facts: dict[str, Any]) -> dict[str, Any]:
    """Plain JSON values without secrets of ours. What cannot be written is named by its type; too much is cut to its size."""
    try:
        text = msgspec.json.encode(facts, enc_hook=lambda value: type(value).__name__).decode()
    except (msgspec.MsgspecError, TypeError, ValueError, UnicodeError, RecursionError):
        return {**_core(facts), "unrecordable": sorted(str(name)[:80] for name in facts)[:50]}
    if len(text) > MAX_FACTS:
        return {**_core(facts), "unrecordable": f"{len(text)} bytes of facts are over {MAX_FACTS}"}
    plain: dict[str, Any] = msgspec.json.decode(without_secrets(text))
    return plain


def _core(facts: dict[str, Any]) -> dict[str, Any]:
    """What an outcome cannot do without: its intent."""
    return {name: facts[name] for name in ("intent", "error") if isinstance(facts.get(name), str)}
