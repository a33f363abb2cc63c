"""The log's pen with an eye on what it writes: unfamiliar use, and emergency grants, become events of kind `alert`.

The keeper sees the events of both doors and of every gateway, so one key used at two of them is one key here.
"""

from __future__ import annotations

import logging
import threading
from pathlib import Path

from sqlalchemy import Engine

from casemate.auditlog import networks_seen
from casemate.core import ConflictError, Event, EventSink
from casemate.iam import Geography, GeographyFile, UnfamiliarUse, break_glass_alerts

_log = logging.getLogger("casemate.keeper")


class WatchedLog:
    """An EventSink. That an event is durable does not wait for what is thought of it.

    Fails open: an alert that cannot be made or written is logged, and what it was about stays on record.
    """

    def __init__(self, sink: EventSink, watch: UnfamiliarUse) -> None:
        self._sink, self._watch = sink, watch
        self._lock = threading.Lock()

    def append(self, events: list[Event]) -> None:
        """Returns when the events are durable. Raises: as the log does."""
        self._sink.append(events)
        try:
            with self._lock:
                alerts = [*self._watch.look(events), *break_glass_alerts(events)]
            for alert in alerts:
                self._raise(alert)
        except Exception:  # noqa: BLE001 what is on record is on record
            _log.exception("what %d events mean could not be looked at", len(events))

    def _raise(self, alert: Event) -> None:
        try:
            self._sink.append([alert])
        except ConflictError:
            return  # it was raised before this process began
        _log.warning("alert: %s of %s (%s)", alert.reason, alert.facts["subject"], alert.id)


def watch_of(engine: Engine, networks: Path | None) -> UnfamiliarUse:
    """Args: networks: an operator's file in MaxMind's format. Raises: StorageError; InputError `bad-networks-file`."""
    geography: Geography | None = GeographyFile(networks.expanduser()) if networks else None

    def history(actor: str, credential: str) -> list[tuple[str, str]]:
        seen = networks_seen(engine, actor, credential)
        return [(one.network, one.last_at) for one in reversed(seen)]

    return UnfamiliarUse(history=history, geography=geography)
