"""The trusted side of `judging`: a sandbox that is told once what was fitted, and judges block after block. It opens neither."""

from __future__ import annotations

from typing import Self

from casemate.core import SandboxError
from casemate.sandbox import Cell, Limits, spawn
from casemate.sandbox.exits import ExitReason

_ENTRY = "casemate.screening.judging:main"
_MEMORY = 4 << 30  # bytes; what was fitted, and one block with its distances
_SECONDS = 600.0  # for one block; 20,000 rows of numbers take some ten
MOST_ANSWERED = 4 << 20  # bytes of one judgement; 20,000 rows have 0.9 million


class JudgingCell:
    """A context manager; blocks. Raises: SandboxError as `spawn`, and as a confined process ends."""

    def __init__(self, fitted: bytes) -> None:
        """Args: fitted: as `judging.fitted_bytes`."""
        self._cell: Cell = spawn(_ENTRY, limits=Limits(memory=_MEMORY))
        try:
            self._told(fitted)
        except BaseException:
            self.close()
            raise

    def judge(self, block: bytes) -> bytes:
        """Foreign bytes, for `judgement_bytes.read_judgement` in a sandbox. Args: block: as `judging.block_bytes`."""
        return self._told(block)

    def close(self) -> None:
        self._cell.kill()
        self._cell.channel.close()

    def _told(self, data: bytes) -> bytes:
        try:
            self._cell.channel.send(None, [data])
            frame = self._cell.channel.recv(_SECONDS, max_buffers=MOST_ANSWERED)
        except SandboxError as error:
            if error.code == "sandbox-gone":
                raise self._cell.gone(alive=ExitReason.FAILED) from error
            raise
        return bytes(frame.buffers[0]) if frame.buffers else b""

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        self.close()
