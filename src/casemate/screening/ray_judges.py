"""Blocks judged by a Ray cluster: the trusted side. It encrypts what goes out and opens nothing; Ray itself runs in a process of its own.

That process (`ray_driver`) is one for each screening: Ray keeps its connection, threads and signal handlers process-wide, and what a
cluster answers is unpickled where Ray runs, which is not to be where a home's keys are asked for.
"""

from __future__ import annotations

import os
import socket
import subprocess
import sys
from collections.abc import Mapping
from importlib.util import find_spec
from typing import Any, Self

import msgspec

from casemate.core import (
    CasemateError,
    InputError,
    PolicyError,
    SandboxError,
    TooLargeError,
    UpstreamError,
    VerificationError,
)
from casemate.sandbox import Channel
from casemate.screening.asked import What
from casemate.screening.parcels import Parcels, new_key
from casemate.screening.ray_address import parse_ray_address, reach, refuse_open, unreachable

_MAIN = "from casemate.screening.ray_driver import main; main()"
_CONNECTED = 120.0  # seconds until Ray is connected, its own import included
_JUDGED = 900.0  # seconds until the next block is judged; the first waits for a place on a node
_ENDED = 5.0  # seconds for the goodbye of Ray's process
_MOST_ANSWERED = 8 << 20  # bytes of one judgement, encrypted
_KEPT = ("PATH", "HOME", "LANG", "LC_ALL", "TMPDIR", "LD_LIBRARY_PATH", "VIRTUAL_ENV")  # and all that begins with RAY_
_FAMILIES: dict[str, type[CasemateError]] = {
    kind.__name__: kind
    for kind in (InputError, PolicyError, SandboxError, TooLargeError, UpstreamError, VerificationError)
}


class _Said(msgspec.Struct, forbid_unknown_fields=True):
    """What the driver says. Args: judged: number of the block whose parcel comes along. nodes, places: once it is connected."""

    judged: int | None = None
    nodes: int = 0
    places: int = 0
    family: str = ""
    code: str = ""
    message: str = ""


class RayJudges:
    """`asked.Judges` on the nodes of a Ray cluster. A context manager: it connects, and lets all go.

    Raises: InputError `ray-missing`, `ray-address`; PolicyError `ray-open`; UpstreamError `ray-unreachable`, `ray-lost`, `ray-failed`;
        SandboxError `ray-no-walls`, `ray-other-version`; VerificationError `ray-altered`.
    """

    def __init__(self, address: str, *, insecure: bool = False, environ: Mapping[str, str] = os.environ) -> None:
        """Args: address: HOST:PORT. insecure: no sandbox on the nodes, as none here. environ: with Ray's own variables."""
        self._address = parse_ray_address(address)
        refuse_open(self._address, environ)
        if find_spec("ray") is None:
            raise InputError(
                "Ray is not installed: pip install 'casemate[ray]', here and on each node, or screen without --ray.",
                code="ray-missing",
            )
        self._insecure, self._environ = insecure, environ
        self._found: dict[int, bytes] = {}
        self.nodes = self.places = 0  # of the cluster: machines, and blocks that it judges at a time

    def __enter__(self) -> Self:
        reach(self._address)
        key = new_key()
        self._parcels = Parcels(key)
        ours, theirs = socket.socketpair()
        with theirs:
            self._process = subprocess.Popen(  # noqa: S603 our own command
                [sys.executable, "-P", "-s", "-c", _MAIN],
                stdin=theirs.fileno(),
                stdout=subprocess.DEVNULL,
                stderr=subprocess.DEVNULL,
                env=driver_environment(self._environ, here=self._address.here),
                cwd="/",
                start_new_session=True,  # Ctrl-C reaches who waits, and who waits ends it
            )
        self._channel = Channel(ours)
        try:
            start = {"address": str(self._address), "insecure": self._insecure}
            self._channel.send(start, [key])
            said, _ = self._said(_CONNECTED)
        except BaseException as error:
            self._end()
            if isinstance(error, UpstreamError) and error.code == "ray-lost":
                raise unreachable(self._address) from error
            raise
        self.nodes, self.places = said.nodes, said.places
        return self

    def __exit__(self, *_: object) -> None:
        self._end()

    def give(self, what: What, number: int, data: bytes | bytearray) -> None:
        parcel = self._parcels.seal(what, number, data)
        self._tell({"give": what, "number": number}, [parcel])

    def begin(self, total: int) -> None:
        self._tell({"begin": total})

    def judged(self, number: int) -> bytes:
        while number not in self._found:
            said, parcel = self._said(_JUDGED)
            if said.judged is None:
                raise _lost()
            self._found[said.judged] = parcel
        return self._parcels.open("judgement", number, self._found.pop(number))

    def _tell(self, message: Any, buffers: list[bytes] | None = None) -> None:
        try:
            self._channel.send(message, buffers or [])
        except SandboxError as error:
            self._said(_ENDED)  # raises what it said last
            raise _lost() from error

    def _said(self, seconds: float) -> tuple[_Said, bytes]:
        """Raises: what the driver said that it failed by; UpstreamError `ray-lost`."""
        try:
            frame = self._channel.recv(seconds, max_buffers=_MOST_ANSWERED)
            said = msgspec.convert(frame.message, _Said)
        except SandboxError as error:
            if error.code == "sandbox-timeout":
                raise UpstreamError(
                    f"The Ray cluster at {self._address} did nothing for {seconds:.0f} seconds: look with `ray status` whether its "
                    "nodes have processors left, then screen again.",
                    code="ray-lost",
                ) from error
            raise _lost() from error
        except msgspec.ValidationError as error:
            raise _lost() from error
        if said.code == "ray-unreachable":
            raise unreachable(self._address)
        if said.code:
            raise _FAMILIES.get(said.family, UpstreamError)(said.message, code=said.code)
        return said, bytes(frame.buffers[0]) if frame.buffers else b""

    def _end(self) -> None:
        self._channel.close()  # the driver reads that, and says goodbye to Ray
        try:
            self._process.wait(_ENDED)
        except subprocess.TimeoutExpired:
            self._process.kill()
            self._process.wait()


def driver_environment(environ: Mapping[str, str], *, here: bool) -> dict[str, str]:
    """All variables that Ray's process sees: none of a home's, and no usage statistics. Args: here: the cluster is of this machine alone."""
    found = {key: value for key, value in environ.items() if key in _KEPT or key.startswith("RAY_")}
    return found | {
        "RAY_USAGE_STATS_ENABLED": "0",
        "RAY_USAGE_STATS_PROMPT_ENABLED": "0",
        "RAY_DATA_DISABLE_PROGRESS_BARS": "1",
        "RAY_ENABLE_AUTO_CONNECT": "0",  # nothing starts a cluster of its own
        # Else Ray takes a loopback address for this machine's outer one, at which a cluster of this machine alone does not listen.
        **({"RAY_ENABLE_WINDOWS_OR_OSX_CLUSTER": "0"} if here else {}),
    }


def _lost() -> UpstreamError:
    return UpstreamError(
        "The Ray cluster was lost in the middle of the screening; nothing was recorded and no row is changed. Look with `ray "
        "status`, then screen again.",
        code="ray-lost",
    )
