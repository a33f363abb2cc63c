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
from typing import Self

from casemate.core import InputError, PolicyError, UpstreamError
from casemate.screening.asked import What
from casemate.screening.parcels import Parcels, new_key
from casemate.screening.ray_address import parse_ray_address, reach, refuse_open, unreachable
from casemate.screening.ray_line import RayLine

_MAIN = "from casemate.screening.ray_driver import main; main()"
_CONNECTED = 120.0  # seconds until Ray is connected, its own import included
_ENDED = 5.0  # seconds for the goodbye of Ray's process
_KEPT = ("PATH", "HOME", "LANG", "LC_ALL", "TMPDIR", "LD_LIBRARY_PATH", "VIRTUAL_ENV")  # and all that begins with RAY_


class RayJudges:
    """`asked.Judges` on the nodes of a Ray cluster. A context manager: it connects, and lets all go.

    Raises: InputError `ray-missing`, `ray-address`; PolicyError `ray-open`, `ray-insecure`; UpstreamError `ray-unreachable`,
        `ray-lost`, `ray-failed`; SandboxError `ray-no-walls`, `ray-other-version`; VerificationError `ray-altered`.
    """

    def __init__(self, address: str, *, insecure: bool = False, environ: Mapping[str, str] = os.environ) -> None:
        """Args: address: HOST:PORT. insecure: no sandbox here, which is refused: no node judges without. environ: with Ray's own variables."""
        self._address = parse_ray_address(address)
        if insecure:
            raise PolicyError(
                "A Ray cluster judges rows in sandboxes only: leave out --insecure-no-sandbox, or the cluster.",
                code="ray-insecure",
            )
        refuse_open(self._address, environ)
        if find_spec("ray") is None:
            raise InputError(
                "Ray is not installed: pip install 'casemate[ray]', here and on each node, or screen without --ray.",
                code="ray-missing",
            )
        self._environ = environ

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
        self._line = RayLine(ours, self._address)
        try:
            self._line.start(key, seconds=_CONNECTED)
        except BaseException as error:
            self._end()
            if isinstance(error, UpstreamError) and error.code == "ray-lost":
                raise unreachable(self._address) from error
            raise
        return self

    def __exit__(self, *_: object) -> None:
        self._end()

    def give(self, what: What, number: int, data: bytes | bytearray) -> None:
        self._line.give(what, number, self._parcels.seal(what, number, data))

    def begin(self, total: int) -> None:
        self._line.begin(total)

    def judged(self, number: int) -> bytes:
        return self._parcels.open("judgement", number, self._line.judged(number))

    def _end(self) -> None:
        self._line.close()  # the driver reads that, and says goodbye to Ray
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
