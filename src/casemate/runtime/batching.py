"""Requests that wait while the worker is busy go in together, and each gets its own rows back."""

from __future__ import annotations

import asyncio
from collections import deque
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field

import numpy as np

from casemate.core import SandboxError
from casemate.runtime.tensors import Array

Kind = tuple[tuple[str, str, tuple[int, ...]], ...]  # name, type and shape without rows of each input


@dataclass(slots=True, eq=False)
class Request:
    """One caller's rows, and where the answer goes. `kind` is None when its rows must stay alone."""

    inputs: dict[str, Array]
    answer: asyncio.Future[dict[str, Array]]
    kind: Kind | None
    rows: int
    size: int = field(init=False)  # bytes

    def __post_init__(self) -> None:
        self.size = sum(array.nbytes for array in self.inputs.values())


def kind_of(inputs: Mapping[str, Array]) -> tuple[Kind | None, int]:
    """What inputs must share to be joined, and their rows. (None, 0) when they disagree on the number of rows."""
    rows = {array.shape[0] if array.ndim else -1 for array in inputs.values()}
    if len(rows) != 1 or (count := rows.pop()) < 1:
        return None, 0
    return tuple((name, inputs[name].dtype.str, inputs[name].shape[1:]) for name in sorted(inputs)), count


def take_batch(queue: deque[Request], *, max_rows: int) -> list[Request]:
    """Remove and return the requests to run next, in the order they came; those whose caller left are dropped."""
    batch: list[Request] = []
    rows = 0
    while queue:
        request = queue[0]
        if request.answer.done():
            queue.popleft()
            continue
        if batch and (request.kind is None or request.kind != batch[0].kind or rows + request.rows > max_rows):
            break
        batch.append(queue.popleft())
        rows += request.rows
        if request.kind is None:
            break
    return batch


def join(batch: Sequence[Request]) -> dict[str, Array]:
    """The inputs of all, one below the other."""
    if len(batch) == 1:
        return batch[0].inputs
    return {name: np.concatenate([request.inputs[name] for request in batch]) for name in batch[0].inputs}


def split(batch: Sequence[Request], outputs: Mapping[str, Array]) -> list[dict[str, Array]]:
    """Each request's own rows. Raises: SandboxError: `sandbox-protocol` when there are not as many as went in."""
    if len(batch) == 1:
        return [dict(outputs)]
    total = sum(request.rows for request in batch)
    if any(array.shape[:1] != (total,) for array in outputs.values()):
        raise SandboxError("The worker answered with another number of rows.", code="sandbox-protocol")
    answers, start = [], 0
    for request in batch:
        stop = start + request.rows
        answers.append({name: array[start:stop] for name, array in outputs.items()})
        start = stop
    return answers
