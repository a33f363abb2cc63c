"""What the confined job of a screening asks on its way, and who judges its blocks elsewhere. All of it is foreign, and opaque."""

from __future__ import annotations

from collections.abc import Callable
from contextlib import AbstractContextManager, ExitStack
from typing import Literal, Protocol, Self

import msgspec

from casemate.core import SandboxError, TooLargeError

Progress = Callable[[int, int], None]  # blocks done, of how many
What = Literal["fitted", "block"]

BLOCK = 20_000  # rows judged at a time
MOST_AT_ONCE = 256 << 20  # bytes of one block, or of what was fitted
_MOST_GIVEN = 16 << 30  # bytes of all blocks, compressed; as much as a screening may write
_MOST_BLOCKS = 1 << 20


class Judges(Protocol):
    """Other processes that judge blocks. They get bytes that a sandbox wrote, give back bytes that a sandbox wrote, and open neither."""

    def give(self, what: What, number: int, data: bytes | bytearray) -> None:
        """What was fitted first, then each block."""
        ...

    def begin(self, total: int) -> None:
        """Judge all of these blocks, which were given."""
        ...

    def judged(self, number: int) -> bytes:
        """The judgement of a block. Waits for it."""
        ...


MakeJudges = Callable[[], AbstractContextManager[Judges]]


class _Done(msgspec.Struct, tag_field="what", tag="done", forbid_unknown_fields=True):
    done: int
    total: int


class _Open(msgspec.Struct, tag_field="what", tag="open", forbid_unknown_fields=True):
    """The job will hand out blocks."""


class _Give(msgspec.Struct, tag_field="what", tag="give", forbid_unknown_fields=True):
    kind: What
    number: int


class _Begin(msgspec.Struct, tag_field="what", tag="begin", forbid_unknown_fields=True):
    total: int


class _Judged(msgspec.Struct, tag_field="what", tag="judged", forbid_unknown_fields=True):
    number: int


class Asked:
    """Answers what a job asks, as `run_confined` hands it on. A context manager that lets the judges go."""

    def __init__(self, progress: Progress | None, make: MakeJudges | None) -> None:
        self._progress, self._make = progress, make
        self._closing = ExitStack()
        self._judges: Judges | None = None
        self._blocks = self._bytes = 0
        self._fitted = self._begun = False

    def __call__(self, said: object, buffers: list[bytearray]) -> tuple[None, tuple[bytes, ...]]:
        """Raises: SandboxError `sandbox-protocol`; TooLargeError; what the judges raise."""
        try:
            one = msgspec.convert(said, _Done | _Open | _Give | _Begin | _Judged)
        except msgspec.ValidationError as error:
            raise _broken() from error
        if isinstance(one, _Done):
            if self._progress is not None:
                self._progress(one.done, one.total)
        elif isinstance(one, _Open):
            if self._make is None or self._judges is not None:
                raise _broken()
            self._judges = self._closing.enter_context(self._make())
        elif isinstance(one, _Give):
            self._give(one, buffers)
        elif isinstance(one, _Begin):
            if self._begun or not self._fitted or one.total != self._blocks:
                raise _broken()
            self._begun = True
            self._to().begin(one.total)
        else:
            if not (self._begun and 0 <= one.number < self._blocks):
                raise _broken()
            return None, (self._to().judged(one.number),)
        return None, ()

    def _give(self, one: _Give, buffers: list[bytearray]) -> None:
        expected = self._blocks if one.kind == "block" else 0
        turn = self._fitted == (one.kind == "block")
        if len(buffers) != 1 or self._begun or not turn or one.number != expected or one.number >= _MOST_BLOCKS:
            raise _broken()
        self._bytes += len(buffers[0])
        if self._bytes > _MOST_GIVEN:
            raise TooLargeError(
                "The dataset is larger than a cluster is given: screen a part of it.", code="screen-too-large"
            )
        self._to().give(one.kind, one.number, buffers[0])
        if one.kind == "block":
            self._blocks += 1
        else:
            self._fitted = True

    def _to(self) -> Judges:
        if self._judges is None:
            raise _broken()
        return self._judges

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        self._closing.close()


def _broken() -> SandboxError:
    return SandboxError("The screening broke the protocol.", code="sandbox-protocol")
