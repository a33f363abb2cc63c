"""What the parent asks of a new confined process, in the first frame."""

from __future__ import annotations

from typing import Any

import msgspec

from casemate.sandbox.limits import Limits


class Order(msgspec.Struct, kw_only=True):
    """The order for one process.

    Args:
        job: The entry is a one-shot job. asks: It is called with an `Asking` as well.
        floor: Raise the walls of the floor.
        paths: Folders for `sys.path`. readable, writable: what Landlock lets through.
        devices: Device nodes that it may open, and ask of what their drivers answer.
    """

    entry: str
    args: dict[str, Any]
    limits: Limits
    job: bool
    asks: bool = False
    floor: bool
    report: bool
    paths: list[str]
    readable: list[str]
    writable: list[str]
    devices: list[str] = []
