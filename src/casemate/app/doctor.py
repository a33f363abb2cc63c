"""`casemate doctor`: what stands on this machine, what does not, and how to mend it."""

from __future__ import annotations

from typing import Any

from casemate.core import CasemateError
from casemate.keys import Keeper
from casemate.runtime.scratch import MEMORY, check_memory
from casemate.sandbox import probe_walls
from casemate.settings import Settings
from casemate.storage import open_home
from casemate.storage.home import free_bytes


def examine(settings: Settings) -> list[dict[str, Any]]:
    """A row for each wall and each part of the home: name, state (present, missing, optional), detail, mend."""
    rows = [
        {
            "name": wall.name,
            "state": "present" if wall.present else "missing" if wall.floor else "optional",
            "detail": wall.detail,
            "mend": "" if wall.present else wall.mend,
        }
        for wall in probe_walls()
    ]
    return [*rows, _memory(), *_home(settings)]


def _memory() -> dict[str, Any]:
    try:
        check_memory(MEMORY)
    except CasemateError as error:
        return {"name": "memory folder", "state": "missing", "detail": str(MEMORY), "mend": error.message}
    return {"name": "memory folder", "state": "present", "detail": f"{MEMORY}, for training", "mend": ""}


def _home(settings: Settings) -> list[dict[str, Any]]:
    try:
        home = open_home(settings.home)
        Keeper(settings.keys / home.id)
    except CasemateError as error:
        return [{"name": "home", "state": "optional", "detail": str(settings.home), "mend": error.message}]
    free = free_bytes(home.path)
    enough = free > settings.free_bytes
    return [
        {"name": "home", "state": "present", "detail": f"{home.path}, keys in {settings.keys / home.id}", "mend": ""},
        {
            "name": "disk",
            "state": "present" if enough else "missing",
            "detail": f"{free >> 20} MiB free",
            "mend": "" if enough else f"A push must leave {settings.free_bytes >> 20} MiB free: make room.",
        },
    ]
