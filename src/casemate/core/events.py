"""What happened, as the audit log and the monitor see it."""

from __future__ import annotations

from typing import Any, Protocol

import msgspec

from casemate.core.words import DEFAULT_PROJECT, SCHEMA


class Event(msgspec.Struct, frozen=True, kw_only=True, omit_defaults=True):
    """One line of the record. Never holds a secret, a raw input or a row of data: digests and summaries only.

    Args:
        id: `evt_...`, or the intent's id for control-plane actions.
        at: RFC 3339, UTC.
        kind: `intent`, `outcome`, `decision`, `prediction`, `worker`, `sandbox`, `server`, ...
        action: An `Action` value, or empty.
        actor: Principal id. `credential`: id of the credential used.
        resource: `str(Resource)`.
        outcome: `allowed`, `refused`, `done`, `failed`, `interrupted`, or empty.
        facts: Small JSON values, by `kind`.
    """

    id: str
    at: str
    kind: str
    schema: int = SCHEMA
    project: str = DEFAULT_PROJECT
    action: str = ""
    actor: str = ""
    credential: str = ""
    resource: str = ""
    outcome: str = ""
    reason: str = ""
    facts: dict[str, Any] = {}


class EventSink(Protocol):
    """Where rooms hand in news. Returns only when the events are durable. Raises: StorageError."""

    def append(self, events: list[Event]) -> None: ...


INTENT, OUTCOME = "int_", "out_"  # prefixes of ids: an intent's outcome bears its number


LATE = "late"  # a fact of an event that waited before the log took it: its time is the writer's word alone


def outcome_id(intent: str) -> str:
    """The id of an intent's one outcome; a second one cannot be recorded."""
    return OUTCOME + intent.removeprefix(INTENT)
