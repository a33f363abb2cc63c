"""`casemate up`: starts keeper, control plane and gateway, keeps them running, and stops them in order.

A child says `ready ...` on its standard output, and `progress ...` before each long step on the way. One that dies is started again with a growing pause; until it is back,
the others refuse what they cannot do without it. Only the first keeper cleans up what a crash left: a later one finds the
others at work.
"""

from __future__ import annotations

import logging
import os
import selectors
import signal
import subprocess
import sys
import time
from collections.abc import Callable
from contextlib import suppress
from dataclasses import dataclass, field
from pathlib import Path

import msgspec

from casemate.app.certificates import renew_certificate, warn_of_end
from casemate.app.ground import keys_folder
from casemate.app.processes import AGAIN
from casemate.core import Secret, StorageError, SystemClock
from casemate.runtime import clean_scratch
from casemate.sandbox import verify_floor
from casemate.settings import Settings, encode_value
from casemate.storage import HomeLock, open_home

_log = logging.getLogger("casemate")

_ORDER = ("keeper", "control", "gateway")  # of starting; stopping runs the other way
_START_TIME = 60.0  # seconds for a child to become ready, or to begin the first of its steps
_STEP_TIME = (
    180.0  # seconds from one step to the next: a model is decrypted, verified, and has 60 s to load behind walls
)
_CERTIFICATE_TIME = 3600.0  # seconds between two looks at how long the certificate still lives
_HEED = 0.2  # seconds between two looks at whether we were told to stop
_STOP_TIME = 20.0  # seconds for a child to drain, before it is killed
_FIRST_PAUSE, _LONGEST_PAUSE = 0.5, 30.0  # seconds before a dead child is started again; doubles each time
_STEADY = 60.0  # seconds of life after which the pause starts from its first length again


@dataclass(slots=True)
class _Child:
    """One of our processes, and when it may be started again."""

    name: str
    process: subprocess.Popen[bytes] | None = None
    started: float = 0.0
    pause: float = _FIRST_PAUSE
    due: float = 0.0
    ready: dict[str, str] = field(default_factory=dict)

    def alive(self) -> bool:
        return self.process is not None and self.process.poll() is None


class _Stopped(Exception):  # noqa: N818 no error: it never leaves this module
    """We were told to stop while a child started."""


def serve_home(settings: Settings, *, ready: Callable[[str], None]) -> int:
    """Serve until SIGTERM or SIGINT. Calls `ready` with the one line that says where. Returns the exit code.

    Raises: SandboxError: `walls-missing`: no model could be served behind walls here, so nothing is started.
        StorageError: a process of ours could not start.
    """
    stopping = _on_signals()
    with HomeLock(settings.home) as lock:
        if not settings.insecure_no_sandbox:
            verify_floor()
        home = open_home(settings.home)
        tls = home.tls, keys_folder(settings, home) / "tls"
        renew_certificate(*tls, now=SystemClock().now())
        warn_of_end(tls[1], now=SystemClock().now())
        children = {name: _Child(name) for name in _ORDER}
        try:
            keeper, *others = children.values()
            _start(keeper, settings, lock.fileno(), stopping)
            for child in others:  # together, since each spends its start on imports
                _launch(child, settings, lock.fileno())
            for child in others:
                settings = _await(child, settings, stopping)
            signal.signal(signal.SIGHUP, lambda *_: _reload(children["control"], children["gateway"]))
            ready(f"ready data={children['gateway'].ready['url']} control={children['control'].ready['url']}")
            _keep(children, settings, lock.fileno(), stopping, tls)
        except _Stopped:
            pass
        finally:
            for name in reversed(_ORDER):
                _stop(children[name])
            clean_scratch()  # of a training run that did not end in time and was killed
            for left in (settings.home / "run").glob("*.sock"):
                left.unlink(missing_ok=True)
    return 0


def _keep(
    children: dict[str, _Child], settings: Settings, lock: int, stopping: Callable[[], bool], tls: tuple[Path, Path]
) -> None:
    """Keep the children alive and their certificate young until we are told to stop."""
    looked = time.monotonic()
    while not stopping():
        for child in children.values():
            _revive(child, settings, lock, stopping)
        if time.monotonic() - looked >= _CERTIFICATE_TIME:
            looked = time.monotonic()
            if renew_certificate(*tls, now=SystemClock().now()):
                _reload(children["control"], children["gateway"])
        time.sleep(0.1)


def _on_signals() -> Callable[[], bool]:
    seen: list[int] = []
    for number in (signal.SIGTERM, signal.SIGINT):
        signal.signal(number, lambda signum, _: seen.append(signum))
    return lambda: bool(seen)


def _reload(*doors: _Child) -> None:
    """SIGHUP: both doors read their certificates again."""
    for door in doors:
        if door.process is not None and door.alive():
            door.process.send_signal(signal.SIGHUP)


def _start(child: _Child, settings: Settings, lock: int, stopping: Callable[[], bool]) -> Settings:
    """Start a child and wait until it is ready."""
    _launch(child, settings, lock)
    return _await(child, settings, stopping)


def _launch(child: _Child, settings: Settings, lock: int) -> None:
    mask = signal.pthread_sigmask(signal.SIG_BLOCK, {signal.SIGHUP})  # inherited: while it imports, it would end it
    try:
        child.process = subprocess.Popen(  # noqa: S603 our own command
            [sys.executable, "-m", "casemate.app.processes", child.name, *([AGAIN] if child.started else [])],
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            pass_fds=(lock,),  # held until the last of us is gone
            start_new_session=True,  # Ctrl-C reaches the supervisor alone, which stops the rest in order
        )
    finally:
        signal.pthread_sigmask(signal.SIG_SETMASK, mask)
    assert child.process.stdin is not None
    child.started = time.monotonic()
    with suppress(BrokenPipeError), child.process.stdin as stdin:
        stdin.write(msgspec.json.encode(_own_database(child.name, settings), enc_hook=encode_value))


def _own_database(process: str, settings: Settings) -> Settings:
    """The settings with this process's role alone, so that none learns another one's."""
    own = f"database_{process}" if getattr(settings, f"database_{process}") else "database"
    none = {f"database_{one}": "" for one in _ORDER} | {f"database_{one}_password": Secret() for one in _ORDER}
    chosen = {"database": getattr(settings, own), "database_password": getattr(settings, f"{own}_password")}
    return msgspec.structs.replace(settings, **none, **chosen)


def _await(child: _Child, settings: Settings, stopping: Callable[[], bool]) -> Settings:
    """Wait until a child is ready; the port that it chose is kept for the next time.

    Raises: StorageError. _Stopped: we were told to stop meanwhile.
    """
    assert child.process is not None
    line = _first_word(child.process, stopping)
    words = line.split()
    if words[:1] != ["ready"]:
        _stop(child)
        raise _why_not(child.name, line)
    child.ready = dict(word.split("=", 1) for word in words[1:])
    port = child.ready.get("port")
    fields = {"control": "control_port", "gateway": "data_port"}
    return msgspec.structs.replace(settings, **{fields[child.name]: int(port)}) if port else settings


def _why_not(name: str, line: str) -> StorageError:
    """What a child that did not become ready said of it."""
    if line.startswith("failed "):
        code, message = msgspec.json.decode(line.removeprefix("failed "), type=tuple[str, str])
        return StorageError(message, code=code)
    return StorageError(f"The {name} could not start: what it said stands above, if anything.", code="not-started")


def _first_word(process: subprocess.Popen[bytes], stopping: Callable[[], bool]) -> str:
    """The line that says how its start ended; empty when it ended, or made no progress for too long. Raises: _Stopped."""
    assert process.stdout is not None
    pipe, due, partial = process.stdout.fileno(), time.monotonic() + _START_TIME, b""
    with selectors.DefaultSelector() as selector:
        selector.register(pipe, selectors.EVENT_READ)
        while time.monotonic() < due:
            if stopping():
                raise _Stopped
            if not selector.select(_HEED):
                continue
            piece = os.read(pipe, 4096)
            *lines, partial = (partial + piece).split(b"\n")
            for line in lines:
                if not line.startswith(b"progress "):
                    return line.decode()
                due = time.monotonic() + _STEP_TIME
            if not piece:
                break
    return ""


def _revive(child: _Child, settings: Settings, lock: int, stopping: Callable[[], bool]) -> None:
    if child.alive():
        return
    now = time.monotonic()
    if child.process is not None:
        if now - child.started > _STEADY:
            child.pause = _FIRST_PAUSE
        _log.warning("the %s ended (%s); again in %.1f s", child.name, child.process.returncode, child.pause)
        child.process, child.due = None, now + child.pause
        child.pause = min(child.pause * 2, _LONGEST_PAUSE)
    elif now >= child.due:
        try:
            _start(child, settings, lock, stopping)
        except StorageError as error:
            _log.warning("%s", error.message)


def _stop(child: _Child) -> None:
    if child.process is None:
        return
    if child.process.poll() is None:
        child.process.terminate()
        try:
            child.process.wait(_STOP_TIME)
        except subprocess.TimeoutExpired:
            os.killpg(child.process.pid, signal.SIGKILL)
            child.process.wait()
    if child.process.stdout is not None:
        child.process.stdout.close()
