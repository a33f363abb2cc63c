"""Work that comes back now and then beside the server, in a thread of its own."""

from __future__ import annotations

import logging
import threading
from collections.abc import Callable

from casemate.core import CasemateError

_log = logging.getLogger("casemate")

Task = Callable[[], list[CasemateError]]  # does its work; returns what failed


def attempt(task: Task, what: str) -> None:
    """Do it once; what fails is logged, and stops nobody. Args: what: that failed, as in "the review was not opened"."""
    try:
        for error in task():
            _log.error("%s: %s (%s)", what, error.message, error.code)
    except Exception:  # noqa: BLE001 nobody else would look again
        _log.exception("%s", what)


def repeat(task: Task, what: str, stop: threading.Event, *, every: float, at_once: bool = False) -> None:
    """Do it every `every` seconds, in a thread, until `stop` is set. Args: at_once: and in that thread before that."""

    def run() -> None:
        if at_once and not stop.is_set():
            attempt(task, what)
        while not stop.wait(every):
            attempt(task, what)

    threading.Thread(target=run, name=f"casemate-{every:g}s", daemon=True).start()
