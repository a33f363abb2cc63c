"""The child's side: `python -I -m casemate.sandbox.boot`. Standard input is its socket, and all that it inherits.

Order: die with the parent; read the order; lay down privileges; limits; Landlock (while there is one thread); import
the entry's module, which starts the pools of its libraries inside these walls; filter the system calls of all threads;
tell the parent. Only then can foreign bytes arrive.
"""

from __future__ import annotations

import importlib
import os
import socket
import sys
import traceback
from collections.abc import Callable
from typing import Any, NoReturn

import msgspec

from casemate.core.errors import CasemateError
from casemate.core.wire import Frame
from casemate.sandbox.channel import Asking, Channel
from casemate.sandbox.exits import CODE_FAILED, CODE_MEMORY
from casemate.sandbox.landlock import raise_landlock
from casemate.sandbox.limits import apply_limits
from casemate.sandbox.order import Order
from casemate.sandbox.privileges import die_with_parent, drop_privileges
from casemate.sandbox.seccomp import raise_seccomp
from casemate.sandbox.view import DEV_NULL
from casemate.sandbox.walls import FLOOR, Wall


class _WallMissing(Exception):  # noqa: N818 it never leaves this module
    def __init__(self, wall: Wall, cause: Exception) -> None:
        super().__init__(f"{wall.value}: {cause}")
        self.wall = wall


def main() -> NoReturn:
    die_with_parent()
    channel = Channel(_only_socket(), take_fds=True)
    channel.socket.sendall(b"\0")  # lets the parent learn this process id, whatever namespace it is in
    order = msgspec.convert(channel.recv().message, Order)
    os.umask(0o077)
    sys.path += order.paths
    try:
        function = _prepare(order, channel)
    except _WallMissing as missing:
        channel.send({"missing": missing.wall.value, "detail": str(missing)})
        _leave(CODE_FAILED)
    except MemoryError:
        _leave(CODE_MEMORY)
    except BaseException as error:  # noqa: BLE001 whatever an import can raise, the parent must learn of it
        traceback.print_exc()
        channel.send({"failed": f"{type(error).__name__}: {error}"[:500]})
        _leave(CODE_FAILED)
    _run(function, order, channel)


def _only_socket() -> socket.socket:
    """Take the socket from standard input, put /dev/null there, close what else was inherited."""
    sock = socket.socket(fileno=os.dup(0))
    null = os.open(DEV_NULL, os.O_RDWR)
    os.dup2(null, 0)
    os.close(null)
    os.closerange(3, sock.fileno())
    os.closerange(sock.fileno() + 1, os.sysconf("SC_OPEN_MAX"))
    return sock


def _prepare(order: Order, channel: Channel) -> Callable[..., Any]:
    if order.floor:
        _raise(Wall.PRIVILEGES, drop_privileges)
        _raise(Wall.LIMITS, lambda: apply_limits(order.limits))
        writable = [DEV_NULL, *order.writable]
        _raise(Wall.LANDLOCK, lambda: raise_landlock(order.readable, writable, order.devices))
        sys.path[:] = [path for path in sys.path if _can_list(path)]
    module, _, name = order.entry.partition(":")
    function: Callable[..., Any] = getattr(importlib.import_module(module), name)
    listener = (
        _raise(Wall.SECCOMP, lambda: raise_seccomp(report=order.report, devices=bool(order.devices)))
        if order.floor
        else None
    )
    walls = [wall.value for wall in FLOOR] if order.floor else []
    channel.send({"walls": walls}, fds=[] if listener is None else [listener])
    if listener is not None:
        os.close(listener)
    return function


def _can_list(path: str) -> bool:
    """False for what the view leaves out, such as the source folder of an editable install: not worth an attempt."""
    try:
        os.scandir(path).close()
    except NotADirectoryError:  # an archive
        return True
    except OSError:
        return False
    return True


def _raise(wall: Wall, action: Callable[[], int | None]) -> int | None:
    try:
        return action()
    except (OSError, ValueError, RuntimeError, KeyError) as error:
        raise _WallMissing(wall, error) from error


def _run(function: Callable[..., Any], order: Order, channel: Channel) -> NoReturn:
    try:
        if order.job:
            _answer(function, channel, asks=order.asks)
        else:
            function(channel, order.args)
    except MemoryError:
        _leave(CODE_MEMORY)
    except SystemExit as left:
        _leave(left.code if isinstance(left.code, int) else int(left.code is not None))
    except BaseException:  # noqa: BLE001 the traceback goes to the parent's log, the status tells the rest
        traceback.print_exc()
        _leave(CODE_FAILED)
    _leave(0)


def _answer(job: Callable[..., Frame], channel: Channel, *, asks: bool) -> None:
    try:
        frame = channel.recv()
        answer = job(frame, Asking(channel)) if asks else job(frame)
    except CasemateError as error:
        channel.send({"error": {"family": type(error).__name__, "code": error.code, "message": error.message}})
    else:
        channel.send({"answer": answer.message}, answer.buffers)


def _leave(code: int) -> NoReturn:
    """End without the clean-up of foreign code."""
    sys.stdout.flush()
    sys.stderr.flush()
    os._exit(code)


if __name__ == "__main__":
    main()
