"""`casemate up`: starts keeper, control plane and gateway, keeps them running, and stops them in order.

A child says `ready ...` on its standard output. One that dies is started again with a growing pause; until it is back,
the others refuse what they cannot do without it.
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

import msgspec

from casemate.core import StorageError
from casemate.settings import Settings
from casemate.storage import HomeLock

_log = logging.getLogger("casemate")

_ORDER = ("keeper", "control", "gateway")  # of starting; stopping runs the other way
_START_TIME = 60.0  # seconds for a child to become ready
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


def serve_home(settings: Settings, *, ready: Callable[[str], None]) -> int:
    """Serve until SIGTERM or SIGINT. Calls `ready` with the one line that says where. Returns the exit code."""
    stopping = _on_signals()
    with HomeLock(settings.home) as lock:
        children = {name: _Child(name) for name in _ORDER}
        try:
            keeper, *others = children.values()
            _start(keeper, settings, lock.fileno())
            for child in others:  # together, since each spends its start on imports
                _launch(child, settings, lock.fileno())
            for child in others:
                settings = _await(child, settings)
            signal.signal(signal.SIGHUP, lambda *_: _reload(children["gateway"]))
            ready(f"ready data={children['gateway'].ready['url']} control={children['control'].ready['url']}")
            while not stopping():
                for child in children.values():
                    _revive(child, settings, lock.fileno())
                time.sleep(0.1)
        finally:
            for name in reversed(_ORDER):
                _stop(children[name])
    return 0


def _on_signals() -> Callable[[], bool]:
    seen: list[int] = []
    for number in (signal.SIGTERM, signal.SIGINT):
        signal.signal(number, lambda signum, _: seen.append(signum))
    return lambda: bool(seen)


def _reload(gateway: _Child) -> None:
    """SIGHUP: the gateway reads its certificates again."""
    if gateway.process is not None and gateway.alive():
        gateway.process.send_signal(signal.SIGHUP)


def _start(child: _Child, settings: Settings, lock: int) -> Settings:
    """Start a child and wait until it is ready."""
    _launch(child, settings, lock)
    return _await(child, settings)


def _launch(child: _Child, settings: Settings, lock: int) -> None:
    child.process = subprocess.Popen(  # noqa: S603 our own command
        [sys.executable, "-m", "casemate.app.processes", child.name],
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
        pass_fds=(lock,),  # held until the last of us is gone
        start_new_session=True,  # Ctrl-C reaches the supervisor alone, which stops the rest in order
    )
    assert child.process.stdin is not None
    child.started = time.monotonic()
    with suppress(BrokenPipeError), child.process.stdin as stdin:
        stdin.write(msgspec.json.encode(settings, enc_hook=str))


def _await(child: _Child, settings: Settings) -> Settings:
    """Wait until a child is ready; the port that it chose is kept for the next time. Raises: StorageError."""
    assert child.process is not None
    words = _first_line(child.process).split()
    if words[:1] != ["ready"]:
        _stop(child)
        raise StorageError(f"The {child.name} could not start; its message stands above.", code="not-started")
    child.ready = dict(word.split("=", 1) for word in words[1:])
    port = child.ready.get("port")
    fields = {"control": "control_port", "gateway": "data_port"}
    return msgspec.structs.replace(settings, **{fields[child.name]: int(port)}) if port else settings


def _first_line(process: subprocess.Popen[bytes]) -> str:
    assert process.stdout is not None
    with selectors.DefaultSelector() as selector:
        selector.register(process.stdout, selectors.EVENT_READ)
        line = process.stdout.readline() if selector.select(_START_TIME) else b""
    return line.decode()


def _revive(child: _Child, settings: Settings, lock: int) -> None:
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
            _start(child, settings, lock)
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
