"""The walls by name, and which of them a caller asks for."""

from __future__ import annotations

from enum import StrEnum

import msgspec


class Wall(StrEnum):
    """Each wall by the name that errors, `doctor` and events use."""

    LANDLOCK = "landlock"
    SECCOMP = "seccomp"
    LIMITS = "limits"
    PRIVILEGES = "privileges"
    NAMESPACES = "namespaces"
    CGROUPS = "cgroups"


FLOOR = (Wall.PRIVILEGES, Wall.LIMITS, Wall.LANDLOCK, Wall.SECCOMP)  # in the order in which they go up


class Need(StrEnum):
    """How much a caller wants a wall that is not of the floor."""

    NEVER = "never"
    IF_PRESENT = "if-present"
    REQUIRED = "required"


class Walls(msgspec.Struct, frozen=True, kw_only=True):
    """The floor always stands; these are the walls on top of it."""

    namespaces: Need = Need.IF_PRESENT
    cgroups: Need = Need.IF_PRESENT


class WallStatus(msgspec.Struct, frozen=True, kw_only=True):
    """What `doctor` says about one wall.

    Args:
        floor: Without it no worker starts.
        detail: What was found, e.g. `ABI 7`.
        mend: What to do when it is missing, as an instruction; empty when present.
    """

    name: str
    present: bool
    floor: bool
    detail: str
    mend: str = ""


MENDS = {  # what to do about a wall that is missing
    Wall.PRIVILEGES: "Run on Linux 5.13 or newer, x86_64 or aarch64.",
    Wall.LIMITS: "Raise the hard limits of this user (ulimit -H -a) or lower Limits.",
    Wall.LANDLOCK: "Run Linux 5.13 or newer with landlock in its lsm= list (see /sys/kernel/security/lsm).",
    Wall.SECCOMP: "Run Linux 5.13 or newer built with CONFIG_SECCOMP_FILTER, on x86_64 or aarch64.",
    Wall.NAMESPACES: "Install bubblewrap (apt-get install bubblewrap) and allow user namespaces.",
    Wall.CGROUPS: "Start with a delegated control group (systemd: Delegate=yes) or as root.",
}
