"""What is said with the process that speaks with Ray. Whatever it says is foreign: it unpickles what the nodes of a cluster send."""

from __future__ import annotations

import socket
import struct
from collections.abc import Sequence
from typing import Any

import msgspec

from casemate.core import CasemateError, PolicyError, SandboxError, UpstreamError, VerificationError
from casemate.sandbox import TOO_MUCH, Channel
from casemate.screening.ray_address import RayAddress, unreachable

JUDGED = 900.0  # seconds until the next block is taken, or judged; the first waits for a place on a node
_ENDED = 5.0  # seconds for the last word of Ray's process
_MOST_ANSWERED = 8 << 20  # bytes of one judgement, encrypted
_CLIP = 1000  # characters of a foreign sentence
_FAMILIES: dict[str, type[CasemateError]] = {  # of all that may be said to have gone wrong
    "ray-open": PolicyError,
    "ray-altered": VerificationError,
    "ray-no-walls": SandboxError,
    "ray-other-version": SandboxError,
    "ray-lost": UpstreamError,
    **dict.fromkeys(TOO_MUCH, SandboxError),
}


class _Said(msgspec.Struct, forbid_unknown_fields=True):
    """Args: judged: number of the block whose parcel comes along. code, message: what went wrong. None of them: it is connected."""

    judged: int | None = None
    code: str = ""
    message: str = ""


class RayLine:
    """Parcels out, and for each of them one back.

    Raises: what the other side says that went wrong, as `trouble`; UpstreamError `ray-lost`, `ray-unreachable`.
    """

    def __init__(self, ours: socket.socket, where: RayAddress, *, patience: float = JUDGED) -> None:
        """Args: patience: seconds without anything taken or judged."""
        whole, rest = divmod(patience, 1)
        ours.setsockopt(socket.SOL_SOCKET, socket.SO_SNDTIMEO, struct.pack("@ll", int(whole), int(rest * 1e6)))
        self._channel, self._where, self._patience = Channel(ours), where, patience
        self._due: set[int] = set()  # blocks whose judgement is still to come
        self._found: dict[int, bytes] = {}

    def start(self, key: bytes, *, seconds: float) -> None:
        """Return once it is connected."""
        self._tell({"address": str(self._where)}, [key])
        self._said(seconds)

    def give(self, what: str, number: int, parcel: bytes) -> None:
        self._tell({"give": what, "number": number}, [parcel])

    def begin(self, total: int) -> None:
        self._due = set(range(total))
        self._tell({"begin": total})

    def judged(self, number: int) -> bytes:
        """The parcel of a block's judgement. Each is taken once, and no other."""
        while number not in self._found:
            said, parcel = self._said(self._patience)
            if said.judged is None or said.judged not in self._due:
                raise _lost()
            self._due.remove(said.judged)
            self._found[said.judged] = parcel
        return self._found.pop(number)

    def close(self) -> None:
        self._channel.close()

    def _tell(self, message: Any, buffers: Sequence[bytes] = ()) -> None:
        try:
            self._channel.send(message, buffers)
        except SandboxError as error:
            if isinstance(error.__cause__, BlockingIOError):
                raise self._idle(self._patience) from error
            self._said(_ENDED)  # raises what it said last
            raise _lost() from error

    def _said(self, seconds: float) -> tuple[_Said, bytes]:
        try:
            frame = self._channel.recv(seconds, max_buffers=_MOST_ANSWERED)
            said = msgspec.convert(frame.message, _Said)
        except SandboxError as error:
            raise (self._idle(seconds) if error.code == "sandbox-timeout" else _lost()) from error
        except msgspec.ValidationError as error:
            raise _lost() from error
        if said.code == "ray-unreachable":
            raise unreachable(self._where)
        if said.code:
            raise trouble(said.code, said.message)
        return said, bytes(frame.buffers[0]) if frame.buffers else b""

    def _idle(self, seconds: float) -> UpstreamError:
        return UpstreamError(
            f"The Ray cluster at {self._where} did nothing for {seconds:.0f} seconds: look with `ray status` whether its "
            "nodes have processors left, then screen again.",
            code="ray-lost",
        )


def trouble(code: str, message: str) -> CasemateError:
    """What a cluster says that it cannot judge by: of the family that its code has here, and for who asked, never for a record."""
    family = _FAMILIES.get(code)
    text = "".join(one if one.isprintable() else "?" for one in message[:_CLIP])
    return (family or UpstreamError)(text, code=code if family else "ray-failed", details={"foreign": True})


def _lost() -> UpstreamError:
    return UpstreamError(
        "The Ray cluster was lost in the middle of the screening; nothing was recorded and no row is changed. Look with `ray "
        "status`, then screen again.",
        code="ray-lost",
    )
