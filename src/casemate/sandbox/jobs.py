"""One-shot jobs: one message in, one out, behind the walls."""

from __future__ import annotations

import re
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

import msgspec

from casemate.core.errors import InputError, SandboxError, TooLargeError
from casemate.core.sealed import SealedFile
from casemate.core.wire import Frame
from casemate.sandbox.exits import ExitReason
from casemate.sandbox.limits import Limits
from casemate.sandbox.spawn import Cell, spawn
from casemate.sandbox.walls import Walls
from casemate.sandbox.watch import Denial

Answer = Callable[[Any, list[bytearray]], tuple[Any, Sequence[bytes | memoryview]]]

_FAMILIES = {"InputError": InputError, "TooLargeError": TooLargeError}  # what a job may raise in its caller
_CODE = re.compile("[a-z][a-z0-9-]{0,62}")
_ASKED = 16 << 20  # bytes of buffers that may come with one question, unless the caller takes more
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
    denials: list[Denial] | None = None,
    asked: Answer | None = None,
    most_asked: int = _ASKED,
) -> Frame:
    """Run `def job(frame: Frame) -> Frame` in a new confined process and return its answer.

    `frame.message` and `frame.buffers` are what was given; `frame.fds` are the descriptors of `files`, then of
    `outputs`, in order. Open them as `/proc/self/fd/N`. The answer carries `message` and `buffers`, no descriptors.

    Args:
        files: Sealed bytes that it may read.
        outputs: Unsealed memory files (`core.memory_file`) of the caller, for answers too large for a frame: the job
            writes, the caller seals.
        timeout: Seconds for the whole job, start included.
        asked: The job is `def job(frame: Frame, ask: Asking) -> Frame`, and this answers what it asks on the way:
            (message, buffers), both foreign, to (message, buffers). What it raises ends the job and is raised here.
        most_asked: Bytes of buffers that may come with one question.
        denials: Gets what the walls refused it, each once, however it ends.
    Raises:
        InputError, TooLargeError: as the job raised it (its text is clipped).
        SandboxError: `sandbox-crashed`, `sandbox-timeout`, `sandbox-memory`, `sandbox-cpu`, `sandbox-failed` (the job
            raised something else), `walls-missing`.
    """
    limits = msgspec.structs.replace(limits or Limits(), wall_seconds=timeout)
    with spawn(
        entry,
        limits=limits,
        walls=walls,
        paths=paths,
        insecure=insecure,
        job=True,
        asks=asked is not None,
        report=denials is not None,
    ) as cell:
        try:
            cell.channel.send(message, buffers, [*(file.fd for file in files), *outputs])
            frame = _answered(cell, asked, most_asked)
        except SandboxError as error:
            if error.code != "sandbox-gone":
                raise
            raise cell.gone(alive=ExitReason.FAILED) from error
        finally:
            if denials is not None:
                denials += cell.denials
    answer = frame.message
    if isinstance(answer, dict) and "answer" in answer:
        frame.message = answer["answer"]
        return frame
    raise _revived(answer)


def _answered(cell: Cell, asked: Answer | None, most: int) -> Frame:
    """The job's last word, once all that it asks has been answered."""
    while True:
        frame = cell.channel.recv(max_buffers=None if asked is None else most)
        if asked is None or not isinstance(frame.message, dict) or "ask" not in frame.message:
            return frame
        message, buffers = asked(frame.message["ask"], frame.buffers)
        cell.channel.send(message, buffers)


def _revived(answer: Any) -> InputError | SandboxError:
    """The error that the job raised, if it may raise that one here. Its text is foreign: for who asked, never for a record."""
    try:
        error = answer["error"]
        text = "".join(c if c.isprintable() else "?" for c in error["message"][:_CLIP])
        code = error["code"] if _CODE.fullmatch(error["code"]) else "sandbox-failed"
        family = _FAMILIES.get(error["family"])
    except (TypeError, KeyError, AttributeError):
        return SandboxError("The confined process broke the protocol.", code="sandbox-protocol")
    if family:
        return family(text, code=code, details={"foreign": True})
    return SandboxError(text, code="sandbox-failed", details={"code": code, "foreign": True})
