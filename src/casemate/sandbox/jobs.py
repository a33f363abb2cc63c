"""One-shot jobs: one message in, one out, behind the walls."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import Any

import msgspec

from casemate.core.errors import InputError, SandboxError, TooLargeError
from casemate.core.sealed import SealedFile
from casemate.core.wire import Frame
from casemate.sandbox.exits import ExitReason, error_of
from casemate.sandbox.limits import Limits
from casemate.sandbox.spawn import Cell, spawn
from casemate.sandbox.walls import Walls

_BURIAL_SECONDS = 10.0
_FAMILIES = {"InputError": InputError, "TooLargeError": TooLargeError}  # what a job may raise in its caller
_CLIP = 500  # characters of a foreign message


def run_confined(
    entry: str,
    message: Any,
    *,
    buffers: Sequence[bytes | bytearray | memoryview] = (),
    files: Sequence[SealedFile] = (),
    outputs: Sequence[int] = (),
    paths: Sequence[Path] = (),
    limits: Limits | None = None,
    walls: Walls | None = None,
    timeout: float = 60.0,
    insecure: bool = False,
) -> Frame:
    """Run `def job(frame: Frame) -> Frame` in a new confined process and return its answer.

    `frame.message` and `frame.buffers` are what was given; `frame.fds` are the descriptors of `files`, then of
    `outputs`, in order. Open them as `/proc/self/fd/N`. The answer carries `message` and `buffers`, no descriptors.

    Args:
        files: Sealed bytes that it may read.
        outputs: Unsealed memory files (`core.memory_file`) of the caller, for answers too large for a frame: the job
            writes, the caller seals.
        timeout: Seconds for the whole job, start included.
    Raises:
        InputError, TooLargeError: as the job raised it (its text is clipped).
        SandboxError: `sandbox-crashed`, `sandbox-timeout`, `sandbox-memory`, `sandbox-cpu`, `sandbox-failed` (the job
            raised something else), `walls-missing`.
    """
    limits = msgspec.structs.replace(limits or Limits(), wall_seconds=timeout)
    with spawn(entry, limits=limits, walls=walls, paths=paths, insecure=insecure, job=True) as cell:
        try:
            cell.channel.send(message, buffers, [*(file.fd for file in files), *outputs])
            frame = cell.channel.recv()
        except SandboxError as error:
            if error.code != "sandbox-gone":
                raise
            raise _ended(cell) from error
    answer = frame.message
    if isinstance(answer, dict) and "answer" in answer:
        frame.message = answer["answer"]
        return frame
    raise _revived(answer)


def _ended(cell: Cell) -> SandboxError:
    """Why it closed its socket. One that closed it and lives on is killed, and has failed."""
    try:
        exit_ = cell.wait(_BURIAL_SECONDS)
    except SandboxError:
        cell.kill()
        exit_ = cell.wait()
    if exit_.reason is ExitReason.KILLED:
        exit_ = msgspec.structs.replace(exit_, reason=ExitReason.FAILED)
    return error_of(exit_, output=cell.output)


def _revived(answer: Any) -> InputError | SandboxError:
    """The error that the job raised, if it may raise that one here. Its text is foreign."""
    try:
        error = answer["error"]
        text = "".join(c if c.isprintable() else "?" for c in str(error["message"])[:_CLIP])
        code = str(error["code"])[:63]
        family = _FAMILIES.get(error["family"])
    except (TypeError, KeyError):
        return SandboxError("The confined process broke the protocol.", code="sandbox-protocol")
    return family(text, code=code) if family else SandboxError(text, code="sandbox-failed", details={"code": code})
