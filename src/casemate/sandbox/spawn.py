"""The parent's side: start a confined process, and end it."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any, Self

from casemate.sandbox.channel import Channel
from casemate.sandbox.exits import Exit
from casemate.sandbox.limits import Limits
from casemate.sandbox.walls import Walls
from casemate.sandbox.watch import Denial


class Cell:
    """A confined process. Leaving its context kills it.

    Attributes:
        channel: Frames to and from it; `channel.socket` for asyncio users.
        pid: Its process id as seen from here.
        walls: Names of the walls that stand; empty when started insecurely.
    """

    channel: Channel
    pid: int
    walls: tuple[str, ...]

    @property
    def denials(self) -> list[Denial]:
        """Refused attempts so far, each once, in order; empty without `report=True`."""
        raise NotImplementedError

    @property
    def output(self) -> bytes:
        """The last 64 KiB that it wrote to stdout and stderr. Foreign text: show it escaped."""
        raise NotImplementedError

    def kill(self) -> None:
        """End it now; idempotent."""
        raise NotImplementedError

    def wait(self, timeout: float | None = None) -> Exit:
        """How it ended. Raises: SandboxError `sandbox-timeout` when it still runs after `timeout` seconds."""
        raise NotImplementedError

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        self.kill()


def spawn(
    entry: str,
    *,
    limits: Limits | None = None,
    walls: Walls | None = None,
    writable: Path | None = None,
    paths: Sequence[Path] = (),
    report: bool = False,
    args: Mapping[str, Any] | None = None,
    insecure: bool = False,
) -> Cell:
    """Start `entry` ("package.module:function") behind the walls; returns once they stand.

    Args:
        writable: The one folder in which it may create, change and delete files and folders (no links).
        paths: Further folders that it may read, put on its `sys.path`.
        report: Record refused attempts in `Cell.denials`; costs some 20 us for each file it opens.
        args: Plain data for the function.
        insecure: Raise no wall. Only for `--insecure-no-sandbox`.
    Raises: SandboxError: `walls-missing` names the wall and how to mend it; `sandbox-start` when the entry cannot be
        imported or the process ended before its walls stood. Nothing foreign has been touched then.
    """
    raise NotImplementedError
