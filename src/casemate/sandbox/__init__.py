"""Confined processes: walls, limits and the hand-over of sealed bytes. Knows nothing of models.

    with spawn("package.module:function", limits=Limits(memory=1 << 30)) as cell:
        cell.channel.send({"hello": 1}, fds=[sealed.fd])
        frame = cell.channel.recv(timeout=5)

In the child, `function(channel, args)` runs after every wall is up; its module was imported before the filter of system
calls, so that its libraries are loaded. A one-shot job is `def job(frame: Frame) -> Frame`, called by `run_confined`; one that
asks its parent for more on the way is `def job(frame: Frame, ask: Asking) -> Frame`.

`Cell.channel.socket` is a Unix stream socket for asyncio users; frames on it are those of `core.wire`: a 4-byte
big-endian length, a MessagePack header `[message, [buffer lengths]]` (`decode_header`), then the raw buffers in order.
"""

from casemate.sandbox.channel import Asking, Channel
from casemate.sandbox.doctor import probe_walls, verify_floor
from casemate.sandbox.exits import TOO_MUCH, Exit, ExitReason
from casemate.sandbox.jobs import run_confined
from casemate.sandbox.limits import Limits
from casemate.sandbox.spawn import Cell, spawn
from casemate.sandbox.walls import Need, Walls, WallStatus
from casemate.sandbox.watch import Denial

__all__ = [
    "TOO_MUCH",
    "Asking",
    "Cell",
    "Channel",
    "Denial",
    "Exit",
    "ExitReason",
    "Limits",
    "Need",
    "WallStatus",
    "Walls",
    "probe_walls",
    "run_confined",
    "spawn",
    "verify_floor",
]
