"""The thread that starts one confined process, watches it, and buries it.

One thread does all of it, because the kernel ties "die with the parent" to the thread that started the process.
"""

from __future__ import annotations

import contextlib
import os
import select
import selectors
import signal
import subprocess
import threading
import time
from collections.abc import Sequence
from pathlib import Path
from resource import struct_rusage

import msgspec

from casemate.core.errors import SandboxError
from casemate.sandbox.cgroups import ControlGroup
from casemate.sandbox.exits import CODE_MEMORY, Exit, ExitReason
from casemate.sandbox.folder import deleted_bytes, folder_bytes
from casemate.sandbox.limits import Limits
from casemate.sandbox.watch import Denial, Watch

_LOOK_SECONDS = 0.2  # between looks at what no kernel bound covers everywhere
_END_SECONDS = 5.0  # from SIGKILL to the end of the last thread
_OUTPUT_KEPT = 64 << 10  # bytes
_OUTPUT_TAKEN = 1 << 20  # bytes between looks; who writes more waits, since reading it all would take us a processor
_NEARLY_ALL = 0.75  # share of the memory bound from which a crash is put down to memory


class Launch(msgspec.Struct, frozen=True, kw_only=True):
    """What to start. `stdin` becomes the child's standard input and stays the caller's to close."""

    command: Sequence[str]
    environment: dict[str, str]
    stdin: int
    limits: Limits
    writable: Path | None
    wrapped: bool  # whether the command starts the confined process some levels down


class Supervisor:
    """One process from start to burial."""

    def __init__(self, launch: Launch) -> None:
        """Start it; returns once it runs. Raises: OSError."""
        self._launch = launch
        self._lock = threading.Lock()
        self._wake = os.eventfd(0, os.EFD_CLOEXEC | os.EFD_NONBLOCK)
        self._running, self._buried = threading.Event(), threading.Event()
        self._failure: OSError | None = None
        self._reason: ExitReason | None = None
        self._detail = ""
        self._watch: Watch | None = None
        self._group: ControlGroup | None = None
        self._child_fd = -1
        self._peak = 0  # bytes of private writable memory at the last looks
        self._own_peak = 0  # bytes that this very process used at most, when it started the other
        self._taken = 0  # bytes of output since the last look
        self._used = 0.0  # seconds of processor time at the last look
        self._pid = 0
        self._exit: Exit | None = None
        self.output = bytearray()
        threading.Thread(target=self._live, name="casemate-cell", daemon=True).start()
        self._running.wait()
        if self._failure:
            raise self._failure

    def adopt(self, pid: int, group: ControlGroup | None) -> None:
        """Learn which process is the confined one, and put it into its group. Raises: OSError."""
        with self._lock:
            self._group = group
            self._child_fd = os.pidfd_open(pid)
            self._pid = pid
        if group is not None:
            group.add(pid)

    def watch(self, watch: Watch) -> None:
        """Answer the notifications of this filter from now on."""
        with self._lock:
            self._watch = watch
        self._rouse()

    def denials(self) -> list[Denial]:
        return list(self._watch.denials) if self._watch else []

    def kill(self, reason: ExitReason = ExitReason.KILLED, detail: str = "") -> None:
        """End it; the first reason counts, with its detail. Idempotent."""
        with self._lock:
            if self._reason is None:
                self._reason, self._detail = reason, detail
        self._rouse()

    def wait(self, timeout: float | None = None) -> Exit | None:
        """How it ended, or None when it has not yet."""
        self._buried.wait(timeout)
        return self._exit

    def _rouse(self) -> None:
        with self._lock:
            if self._wake >= 0:
                os.eventfd_write(self._wake, 1)

    def _live(self) -> None:
        deadline = time.monotonic() + (self._launch.limits.wall_seconds or float("inf"))
        try:
            process = self._start()
        except OSError as error:
            self._failure = error
            os.close(self._wake)
            self._running.set()
            return
        process_fd = os.pidfd_open(process.pid)
        self._own_peak = _use_of(os.getpid())["VmHWM"]
        self._running.set()
        try:
            self._attend(process, process_fd, deadline)
        finally:
            self._bury(process, process_fd)

    def _start(self) -> subprocess.Popen[bytes]:
        return subprocess.Popen(  # noqa: S603 our own command
            list(self._launch.command),
            stdin=self._launch.stdin,
            stdout=subprocess.PIPE,
            stderr=subprocess.STDOUT,
            env=self._launch.environment,
            cwd="/",
            bufsize=0,
        )

    def _attend(self, process: subprocess.Popen[bytes], process_fd: int, deadline: float) -> None:
        """Until the process has ended: collect output, answer notifications, look at its use, kill where due."""
        assert process.stdout is not None
        with selectors.DefaultSelector() as selector:
            selector.register(process_fd, selectors.EVENT_READ)
            selector.register(self._wake, selectors.EVENT_READ)
            selector.register(process.stdout, selectors.EVENT_READ)
            look = time.monotonic() + _LOOK_SECONDS
            while True:
                ready = {key.fd for key, _ in selector.select(max(0.0, min(look, deadline) - time.monotonic()))}
                if process.stdout.fileno() in ready:
                    self._collect(process.stdout.fileno(), selector)
                if process_fd in ready:
                    self._collect_rest(process.stdout.fileno())
                    return
                self._heed(ready, selector)
                if time.monotonic() >= look:
                    self._look()
                    self._listen_again(process.stdout.fileno(), selector)
                    look = time.monotonic() + _LOOK_SECONDS  # a look itself may take long
                if time.monotonic() >= deadline:
                    self._reason = self._reason or ExitReason.TIMEOUT
                if self._reason:
                    self._strike(process_fd)

    def _collect(self, stdout: int, selector: selectors.BaseSelector) -> None:
        piece = os.read(stdout, _OUTPUT_KEPT)
        self._taken += len(piece)
        if not piece or self._taken > _OUTPUT_TAKEN:
            selector.unregister(stdout)
        self.output += piece
        del self.output[:-_OUTPUT_KEPT]

    def _listen_again(self, stdout: int, selector: selectors.BaseSelector) -> None:
        if self._taken > _OUTPUT_TAKEN:
            selector.register(stdout, selectors.EVENT_READ)
        self._taken = 0

    def _collect_rest(self, stdout: int) -> None:
        """The last words, which the pipe still holds; waits for nobody who may have it open."""
        waiting = select.poll()
        waiting.register(stdout, select.POLLIN)
        if waiting.poll(0):
            self.output += os.read(stdout, _OUTPUT_KEPT)
            del self.output[:-_OUTPUT_KEPT]

    def _heed(self, ready: set[int], selector: selectors.BaseSelector) -> None:
        watch = self._watch
        if self._wake in ready:
            os.eventfd_read(self._wake)
            if watch and watch.listener not in selector.get_map():
                selector.register(watch.listener, selectors.EVENT_READ)
        if watch and watch.listener in ready and not watch.answer():
            selector.unregister(watch.listener)

    def _look(self) -> None:
        """Bounds that the kernel does not hold everywhere: threads of root, shared pages, a folder as a whole."""
        limits = self._launch.limits
        if self._pid:
            with contextlib.suppress(OSError):
                use = _use_of(self._pid)
                self._peak = max(self._peak, use["VmData"])
                self._used = _processor_seconds(self._pid)
                if use["Threads"] > limits.threads:
                    self.kill(ExitReason.THREADS)
                if use["RssAnon"] + use["RssShmem"] > limits.memory:
                    self.kill(ExitReason.MEMORY)
        if self._launch.writable:
            self._look_into(self._launch.writable)

    def _look_into(self, folder: Path) -> None:
        allowed = self._launch.limits.file_bytes
        try:
            deleted = deleted_bytes(self._pid, folder, allowed) if self._pid else 0
            if deleted + folder_bytes(folder, allowed) > allowed:
                self.kill(ExitReason.DISK)
        except SandboxError as error:
            self.kill(ExitReason.DISK, error.message)

    def _strike(self, process_fd: int) -> None:
        for fd in (self._child_fd, process_fd):
            if fd >= 0:
                with contextlib.suppress(ProcessLookupError):
                    signal.pidfd_send_signal(fd, signal.SIGKILL)

    def _bury(self, process: subprocess.Popen[bytes], process_fd: int) -> None:
        self._strike(process_fd)
        _, status, usage = os.wait4(process.pid, 0)
        process.returncode = os.waitstatus_to_exitcode(status)
        if self._child_fd >= 0:  # bubblewrap may be gone a moment before what it started
            ended = select.poll()
            ended.register(self._child_fd, select.POLLIN)
            ended.poll(_END_SECONDS * 1000)
        with self._lock:
            wake, self._wake = self._wake, -1
        self._exit = self._explain(process.returncode, usage)
        assert process.stdout is not None
        process.stdout.close()
        for fd in (process_fd, self._child_fd, wake):
            if fd >= 0:
                os.close(fd)
        if self._watch:
            self._watch.close()
        if self._group:
            self._group.close()
        self._buried.set()

    def _explain(self, status: int, usage: struct_rusage) -> Exit:
        if self._launch.wrapped and status > 128:  # bubblewrap passes a signal on as a shell does
            status = 128 - status
        code, number = (status, None) if status >= 0 else (None, -status)
        reason = self._cause(code, number, usage)
        return Exit(code, number, reason, self._detail if reason is self._reason else "")

    def _cause(self, code: int | None, number: int | None, usage: struct_rusage) -> ExitReason:
        limits = self._launch.limits
        used = max(self._used, usage.ru_utime + usage.ru_stime)  # bubblewrap's usage leaves out what it started
        if code == CODE_MEMORY:
            return ExitReason.MEMORY
        if code is not None:
            return ExitReason.FAILED if code else ExitReason.FINISHED
        out_of_time = limits.cpu_seconds is not None and used >= limits.cpu_seconds
        if number == signal.SIGXCPU or (number == signal.SIGKILL and out_of_time and self._reason is None):
            return ExitReason.CPU
        if number == signal.SIGKILL and self._reason:
            return self._reason
        peak = max(self._peak, self._group.peak() if self._group else 0)
        if usage.ru_maxrss << 10 > self._own_peak:  # below that it is what fork and exec carried over from us
            peak = max(peak, usage.ru_maxrss << 10)
        if (self._group and self._group.ran_out_of_memory()) or peak >= limits.memory * _NEARLY_ALL:
            return ExitReason.MEMORY
        return ExitReason.CRASHED


def _use_of(pid: int) -> dict[str, int]:
    """Threads, and bytes of memory by kind. Raises: OSError when it is gone, KeyError never.

    Read as bytes: the process's name stands there as well, in any bytes that it likes but a line feed.
    """
    use = dict.fromkeys(("VmData", "VmHWM", "RssAnon", "RssShmem", "Threads"), 0)
    for line in Path(f"/proc/{pid}/status").read_bytes().split(b"\n"):
        name, _, value = line.partition(b":")
        if (key := name.decode(errors="replace")) in use:
            number, *unit = value.split()
            use[key] = int(number) << (10 if unit else 0)
    return use


def _processor_seconds(pid: int) -> float:
    fields = Path(f"/proc/{pid}/stat").read_bytes().rpartition(b")")[2].split()
    return (int(fields[11]) + int(fields[12])) / os.sysconf("SC_CLK_TCK")
