"""Closes what a crash left open: intents without an outcome."""

from __future__ import annotations

from collections.abc import Callable, Iterable

from casemate.core import Clock, Event, EventSink, outcome_id, rfc3339


def reconcile(
    open_intents: Iterable[Event],
    log: EventSink,
    took_effect: Callable[[Event], bool | None],
    clock: Clock,
) -> list[Event]:
    """Commit an outcome for each open intent, all at once; returns the outcomes. With nothing open it writes nothing.

    Args: open_intents: from the log, so a second run has none. took_effect: True: the act is wholly there, and is
        recorded as done; False: nothing is; None: nobody can tell. The last two are recorded as interrupted.
    Raises: StorageError: nothing was closed; the next start tries again. What `took_effect` raises: the same.
    """
    closed: dict[str, Event] = {}
    for intent in open_intents:
        if intent.id not in closed:
            closed[intent.id] = _outcome(intent, took_effect(intent), clock)
    if closed:
        log.append(list(closed.values()))
    return list(closed.values())


def _outcome(intent: Event, effect: bool | None, clock: Clock) -> Event:  # noqa: FBT001
    found = {True: "it had taken effect", False: "it had not taken effect", None: "its effect is not known"}[effect]
    return Event(
        id=outcome_id(intent.id),
        at=rfc3339(clock.now()),
        kind="outcome",
        project=intent.project,
        action=intent.action,
        actor=intent.actor,
        credential=intent.credential,
        resource=intent.resource,
        outcome="done" if effect else "interrupted",
        reason=f"closed at start: {found}",
        facts={"intent": intent.id},
    )
