"""Refusals on record, without letting whoever is refused fill the log.

The first refusal of a kind (why, who, from where) is an event of its own. What repeats within `window` seconds is
counted in one event that is written when the window ends; its id is on each receipt. At most `kinds` kinds are told
apart in a window; the rest share one event per code, which names nobody.
"""

from __future__ import annotations

import threading
from collections.abc import Callable

import msgspec

from casemate.core import DEFAULT_PROJECT, Clock, Event, new_id, prefix_of, rfc3339


class RecorderConfig(msgspec.Struct, frozen=True, kw_only=True):
    """How events reach the log. Safe as it stands."""

    wait: float = 0.05  # seconds an answered prediction may wait for its place in the log
    batch: int = 1000  # events in one commit: where group commit stops getting faster
    queue: int = 20_000  # events; some 20 MB, seconds of full load while the log catches up
    commit: float = 5.0  # seconds that a strict answer waits for its place in the log
    retry: float = 0.5  # seconds between attempts while the sink fails
    window: float = 10.0  # seconds in which equal refusals are counted together
    kinds: int = 64  # kinds of refusal told apart in a window: some 13 events a second at most, whatever comes
    close: float = 10.0  # seconds to hand in what is queued when the server stops


class Refusal(msgspec.Struct, frozen=True):
    """What makes two refusals equal. Every part is ours or bounded: nothing a caller wrote freely."""

    code: str
    status: int
    guard: str = ""  # that refused; empty when the wire did
    action: str = ""
    resource: str = ""
    actor: str = ""
    credential: str = ""
    address: str = ""
    project: str = DEFAULT_PROJECT


class RefusalCounter:
    """Refusals by kind within the running window. Safe to call from several threads."""

    def __init__(self, config: RecorderConfig, clock: Clock, monotonic: Callable[[], float]) -> None:
        self._config = config
        self._clock = clock
        self._monotonic = monotonic
        self._lock = threading.Lock()
        self._kinds: dict[Refusal, list[str | int]] = {}  # -> [event id, count since the first, the last client]
        self._ends = 0.0

    def count(self, refusal: Refusal, client: str = "") -> tuple[str, Event | None]:
        """Args: client: what the caller calls itself; it tells no kinds apart, since anybody may claim anything.

        Returns: the event's id, and the event itself when it is the first of its kind in this window."""
        with self._lock:
            if not self._kinds:
                self._ends = self._monotonic() + self._config.window
            if refusal not in self._kinds and len(self._kinds) >= self._config.kinds:
                refusal = Refusal(refusal.code, refusal.status)
            counted = self._kinds.get(refusal)
            if counted is None:
                self._kinds[refusal] = ["", 0, ""]
                event = self._event(refusal, new_id("evt"), 1, client)
                return event.id, event
            counted[0] = counted[0] or new_id("evt")
            counted[1], counted[2] = int(counted[1]) + 1, client
            return str(counted[0]), None

    def due(self, *, everything: bool = False) -> list[Event]:
        """The events of a window that has ended, or of the running one when `everything` is asked for."""
        with self._lock:
            if not self._kinds or (self._monotonic() < self._ends and not everything):
                return []
            kinds, self._kinds = self._kinds, {}
        return [
            self._event(refusal, str(key), int(count), str(client))
            for refusal, (key, count, client) in kinds.items()
            if count
        ]

    def seconds_left(self) -> float | None:
        """Until the window ends; None when none is open."""
        with self._lock:
            return max(0.0, self._ends - self._monotonic()) if self._kinds else None

    def _event(self, refusal: Refusal, event_id: str, count: int, client: str) -> Event:
        return Event(
            id=event_id,
            at=rfc3339(self._clock.now()),
            kind="prediction" if refusal.action == "deployment:predict" else "decision",
            project=refusal.project,
            action=refusal.action,
            actor=refusal.actor,
            credential=refusal.credential,
            resource=refusal.resource,
            outcome="failed" if refusal.status >= 500 else "refused",
            reason=refusal.code,
            facts={
                "status": refusal.status,
                "guard": refusal.guard,
                "address": refusal.address,
                "network": prefix_of(refusal.address),
                **({"client": client} if client else {}),
                "count": count,
            },
        )
