"""The parent's side: start a confined process, and end it."""

from __future__ import annotations

import logging
import os
import socket
import struct
import sys
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any, Self

import msgspec

from casemate.core.errors import SandboxError
from casemate.core.wire import MAX_BUFFERS, recv_frame
from casemate.sandbox.bubblewrap import bubblewrap_command, find_bubblewrap, why_no_bubblewrap
from casemate.sandbox.cgroups import ControlGroup, make_group
from casemate.sandbox.channel import Channel
from casemate.sandbox.exits import Exit, ExitReason, error_of
from casemate.sandbox.limits import Limits
from casemate.sandbox.order import Order
from casemate.sandbox.supervisor import Launch, Supervisor
from casemate.sandbox.view import DEV_NULL, DEVICE_FACTS, readable_paths
from casemate.sandbox.walls import MENDS, Need, Wall, Walls
from casemate.sandbox.watch import Denial, Watch

_LOG = logging.getLogger("casemate.sandbox")

_START_SECONDS = 60.0  # for the imports of the entry; a cold disk with scikit-learn takes ten
_BURIAL_SECONDS = 10.0  # from SIGKILL to the end, on a machine that swaps


class Cell:
    """A confined process. Leaving its context kills it.

    Attributes:
        channel: Frames to and from it; `channel.socket` for asyncio users.
        pid: Its process id as seen from here.
        walls: Names of the walls that stand; empty when started insecurely.
    """

    def __init__(self, channel: Channel, supervisor: Supervisor, *, pid: int, walls: tuple[str, ...]) -> None:
        self.channel, self.pid, self.walls = channel, pid, walls
        self._supervisor = supervisor

    @property
    def alive(self) -> bool:
        """Whether it has not ended yet."""
        return self._supervisor.wait(0) is None

    @property
    def denials(self) -> list[Denial]:
        """Refused attempts so far, each once, in order; empty without `report=True`."""
        return self._supervisor.denials()

    @property
    def output(self) -> bytes:
        """The last 64 KiB that it wrote to stdout and stderr. Foreign text: show it escaped."""
        return bytes(self._supervisor.output)

    def kill(self) -> None:
        """End it now; returns when it is gone. Idempotent."""
        self._supervisor.kill()
        self._supervisor.wait(_BURIAL_SECONDS)

    def wait(self, timeout: float | None = None) -> Exit:
        """How it ended. Raises: SandboxError `sandbox-timeout` when it still runs after `timeout` seconds."""
        exit_ = self._supervisor.wait(timeout)
        if exit_ is None:
            raise SandboxError("The confined process still runs.", code="sandbox-timeout")
        return exit_

    def gone(self, *, alive: ExitReason) -> SandboxError:
        """Why it closed its socket. One that closed it and lives on is killed. Args: alive: what it then ended by."""
        try:
            exit_ = self.wait(_BURIAL_SECONDS)
        except SandboxError:
            self.kill()
            exit_ = self.wait()
        if exit_.reason is ExitReason.KILLED:
            exit_ = msgspec.structs.replace(exit_, reason=alive)
        return error_of(exit_, output=self.output)

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        self.kill()
        self.channel.close()


def spawn(
    entry: str,
    *,
    limits: Limits | None = None,
    walls: Walls | None = None,
    writable: Path | None = None,
    paths: Sequence[Path] = (),
    devices: Sequence[Path] = (),
    hash_seed: int | None = None,
    report: bool = False,
    args: Mapping[str, Any] | None = None,
    insecure: bool = False,
    job: bool = False,
    asks: bool = False,
) -> Cell:
    """Start `entry` ("package.module:function") behind the walls; returns once they stand.

    Args:
        writable: The one folder in which it may create, change and delete files and folders (no links).
        paths: Further folders that it may read, put on its `sys.path`.
        devices: Device nodes that it may use. A device's driver is then within its reach, with every request that it answers.
        hash_seed: With which Python's hashes of text begin, so that sets have an order that comes again; else a new one.
        report: Record refused attempts in `Cell.denials`; costs some 20 us for each file it opens. The entry is to close
            its channel before foreign code runs, since descriptors can be sent through it, and there no limit counts them.
        args: Plain data for the function.
        insecure: Raise no wall, and warn in the log. Only for `--insecure-no-sandbox`.
        job: The entry is a one-shot job, see `run_confined`. asks: It takes an `Asking` beside its frame.
    Raises: SandboxError: `walls-missing` names the wall and how to mend it; `sandbox-start` when the entry cannot be
        imported; `sandbox-<reason>` when the process ended before its walls stood. Nothing foreign has been touched.
    """
    limits = limits or Limits()
    writable = writable.resolve() if writable else None
    order = Order(
        entry=entry,
        args=dict(args or {}),
        limits=limits,
        job=job,
        asks=asks,
        floor=not insecure,
        report=report and not insecure,
        paths=[str(path.resolve()) for path in paths],
        readable=[*readable_paths(paths), *(DEVICE_FACTS if devices else ())],
        writable=[str(writable)] if writable else [],
        devices=[str(device) for device in devices],
    )
    if insecure:
        _LOG.warning("WITHOUT SANDBOX: %s runs with your own rights; --insecure-no-sandbox is for debugging.", entry)
        walls = Walls(namespaces=Need.NEVER, cgroups=Need.NEVER)
    walls = walls or Walls()
    prefix = _namespaces(walls.namespaces, order)
    group = _group(walls.cgroups, limits, writable)
    extra = [Wall.NAMESPACES.value] * bool(prefix) + [Wall.CGROUPS.value] * bool(group)
    return _start(order, prefix, group, extra, writable, hash_seed=hash_seed)


def _namespaces(need: Need, order: Order) -> list[str]:
    """The command's prefix that makes them; empty for none."""
    program = None if need is Need.NEVER else find_bubblewrap()
    if program is None or (why := why_no_bubblewrap()):
        if need is Need.REQUIRED:
            raise _missing(Wall.NAMESPACES, why if program else "bwrap is not installed")
        return []
    writable = order.writable[0] if order.writable else None
    return bubblewrap_command(program, extra=order.paths, writable=writable, devices=order.devices)


def _group(need: Need, limits: Limits, writable: Path | None) -> ControlGroup | None:
    group = None if need is Need.NEVER else make_group(limits, writable=writable is not None)
    if group is None and need is Need.REQUIRED:
        raise _missing(Wall.CGROUPS, "no group of ours can be made")
    return group


def _start(
    order: Order,
    prefix: Sequence[str],
    group: ControlGroup | None,
    extra: Sequence[str],
    writable: Path | None,
    *,
    hash_seed: int | None,
) -> Cell:
    ours, theirs = socket.socketpair()
    supervisor: Supervisor | None = None
    try:
        with theirs:
            supervisor = Supervisor(
                Launch(
                    command=[*prefix, sys.executable, *_isolated(hash_seed), "-B", "-m", "casemate.sandbox.boot"],
                    environment=_environment(order, hash_seed),
                    stdin=theirs.fileno(),
                    limits=order.limits,
                    writable=writable,
                    wrapped=bool(prefix),
                )
            )
        ours.settimeout(_START_SECONDS)
        pid = _peer_pid(ours)
        supervisor.adopt(pid, group)
        floor = _raised(ours, order, supervisor)
        ours.settimeout(None)
    except BaseException as error:
        ours.close()
        raise _end(error, supervisor, group) from error
    channel = Channel(ours, max_buffers=min(MAX_BUFFERS, order.limits.memory))
    return Cell(channel, supervisor, pid=pid, walls=(*floor, *extra))


def _peer_pid(sock: socket.socket) -> int:
    """The process id, in our own namespace, of whoever sends the first byte. Raises: EOFError, OSError."""
    sock.setsockopt(socket.SOL_SOCKET, socket.SO_PASSCRED, 1)
    data, ancillary, *_ = sock.recvmsg(1, socket.CMSG_SPACE(struct.calcsize("3i")))
    sock.setsockopt(socket.SOL_SOCKET, socket.SO_PASSCRED, 0)
    for level, kind, payload in ancillary:
        if data and level == socket.SOL_SOCKET and kind == socket.SCM_CREDENTIALS:
            return int(struct.unpack("3i", payload)[0])
    raise EOFError


def _raised(sock: socket.socket, order: Order, supervisor: Supervisor) -> tuple[str, ...]:
    """Give the order; return the names of the walls that the child raised. Raises: SandboxError, EOFError, OSError."""
    Channel(sock).send(msgspec.to_builtins(order))
    frame = recv_frame(sock)
    if frame is None:
        raise EOFError
    answer = frame.message
    if "missing" in answer:
        raise _missing(Wall(answer["missing"]), answer["detail"])
    if "failed" in answer:
        raise SandboxError(
            f"{order.entry} cannot be started in the sandbox: {answer['failed']}",
            code="sandbox-start",
            details={"entry": order.entry},
        )
    if order.report:
        watched = Watch(frame.fds[0], readable=order.readable, writable=[DEV_NULL, *order.writable, *order.devices])
        supervisor.watch(watched)
    return tuple(answer["walls"])


def _end(error: BaseException, supervisor: Supervisor | None, group: ControlGroup | None) -> BaseException:
    """Clean up after a start that failed; return what to raise."""
    exit_ = None
    if supervisor is not None:
        if not isinstance(error, EOFError):
            supervisor.kill(ExitReason.TIMEOUT if isinstance(error, TimeoutError) else ExitReason.KILLED)
        exit_ = supervisor.wait(_BURIAL_SECONDS)
    if group is not None:
        group.close()
    if isinstance(error, OSError | EOFError):
        if exit_ is not None and supervisor is not None:
            return error_of(exit_, output=bytes(supervisor.output))
        return SandboxError(f"A confined process cannot be started: {error}", code="sandbox-start")
    return error


def _missing(wall: Wall, detail: str) -> SandboxError:
    return SandboxError(
        f"The wall {wall.value} cannot be raised ({detail}). {MENDS[wall]}",
        code="walls-missing",
        details={"wall": wall.value},
    )


def _isolated(hash_seed: int | None) -> list[str]:
    """What keeps the interpreter to itself: `-I`, of which `-E` is left out where it is to read the one variable for its hashes."""
    return ["-I"] if hash_seed is None else ["-s", "-P"]


def _environment(order: Order, hash_seed: int | None) -> dict[str, str]:
    """All variables that the child sees; none is the parent's."""
    home = order.writable[0] if order.writable else "/nonexistent"
    threads = str(max(1, min(len(os.sched_getaffinity(0)), order.limits.threads // 4)))
    return {
        "LANG": "C.UTF-8",
        "HOME": home,
        "TMPDIR": home,
        "OMP_NUM_THREADS": threads,
        "OPENBLAS_NUM_THREADS": threads,
        "ARROW_DEFAULT_MEMORY_POOL": "system",  # the others map gigabytes in advance, which RLIMIT_DATA counts
        "MALLOC_ARENA_MAX": "4",
        **({} if hash_seed is None else {"PYTHONHASHSEED": str(hash_seed)}),
    }
