"""`casemate doctor`: what stands on this machine, what does not, and how to mend it."""

from __future__ import annotations

from typing import Any

from casemate.app.certificates import certificate_row
from casemate.app.database import examine_database
from casemate.app.ground import home_of
from casemate.core import CasemateError, SystemClock
from casemate.keys import Keeper
from casemate.runtime.scratch import MEMORY, check_memory
from casemate.sandbox import probe_walls
from casemate.settings import Settings
from casemate.storage import KeptPlace
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
        home = home_of(settings)
        KeptPlace(home, settings.keys / home.id).check()
        keeper = Keeper(settings.keys / home.id)
    except CasemateError as error:
        return [{"name": "home", "state": "optional", "detail": str(settings.home), "mend": error.message}]
    free = free_bytes(home.path)
    enough = free > settings.free_bytes
    return [
        {"name": "home", "state": "present", "detail": f"{home.path}, keys in {settings.keys / home.id}", "mend": ""},
        _keys(keeper),
        examine_database(settings, home),
        certificate_row(settings.keys / home.id / "tls", now=SystemClock().now()),
        {
            "name": "disk",
            "state": "present" if enough else "missing",
            "detail": f"{free >> 20} MiB free",
            "mend": "" if enough else f"A push must leave {settings.free_bytes >> 20} MiB free: make room.",
        },
    ]


def _keys(keeper: Keeper) -> dict[str, Any]:
    """Whether who holds the key-encryption keys wraps and unwraps now."""
    detail = f"held by {keeper.keyring.provider}"
    try:
        keeper.unwrap(keeper.wrap(b"doctor", b"doctor"), b"doctor")
    except CasemateError as error:
        return {"name": "key-encryption keys", "state": "missing", "detail": detail, "mend": error.message}
    return {"name": "key-encryption keys", "state": "present", "detail": detail, "mend": ""}
