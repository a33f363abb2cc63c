"""Which walls this machine offers, and how to mend those that are missing."""

from __future__ import annotations

from casemate.core.errors import SandboxError
from casemate.core.wire import Frame
from casemate.sandbox.bubblewrap import why_no_bubblewrap
from casemate.sandbox.jobs import run_confined
from casemate.sandbox.landlock import landlock_abi
from casemate.sandbox.limits import Limits
from casemate.sandbox.spawn import spawn
from casemate.sandbox.walls import FLOOR, MENDS, Need, Wall, Walls, WallStatus

_ALONE = Walls(namespaces=Need.NEVER, cgroups=Need.NEVER)


def probe_walls() -> list[WallStatus]:
    """Each wall: present or missing, found out by raising it around a process of its own."""
    missing, why = _try_floor()
    detail = {Wall.LANDLOCK: _abi()}
    statuses = [_status(wall, "" if wall not in missing else why, detail.get(wall, "")) for wall in FLOOR]
    statuses.append(_status(Wall.NAMESPACES, why_no_bubblewrap(), "bubblewrap"))
    return [*statuses, _status(Wall.CGROUPS, _try_groups(), "")]


def verify_floor() -> None:
    """The floor can be raised here, found out by raising it around a process of its own.

    Raises: SandboxError: `walls-missing` names the first wall that cannot be, and how to mend it; other codes as
        `run_confined`.
    """
    run_confined("casemate.sandbox.doctor:nothing", None, limits=Limits(), walls=_ALONE)


def nothing(frame: Frame) -> Frame:
    """A job that answers what it was asked."""
    return Frame(frame.message)


def _status(wall: Wall, problem: str, detail: str) -> WallStatus:
    return WallStatus(
        name=wall.value,
        present=not problem,
        floor=wall in FLOOR,
        detail=problem or detail,
        mend=MENDS[wall] if problem else "",
    )


def _try_floor() -> tuple[set[Wall], str]:
    """The walls of the floor that are not known to stand, and why. They go up in order, so the rest is unknown."""
    try:
        verify_floor()
    except SandboxError as error:
        first = Wall(str(error.details.get("wall", FLOOR[0].value)))
        return set(FLOOR[FLOOR.index(first) :]), error.message
    return set(), ""


def _try_groups() -> str:
    walls = Walls(namespaces=Need.NEVER, cgroups=Need.REQUIRED)
    try:
        with spawn("casemate.sandbox.doctor:nothing", walls=walls, job=True):
            return ""
    except SandboxError as error:
        return error.message


def _abi() -> str:
    try:
        return f"ABI {landlock_abi()}"
    except OSError:
        return ""
