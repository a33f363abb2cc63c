"""The steps of `casemate demo`, in order. Each acts through a public door and says what it saw, or fails."""

from __future__ import annotations

import time
from collections.abc import Callable, Iterator
from dataclasses import asdict, dataclass
from typing import Any

import httpx

from casemate.cli.demo import job, walls
from casemate.cli.demo.stage import Stage, StepError
from casemate.core import CasemateError

_STEPS: tuple[tuple[str, Callable[[Stage], str]], ...] = (
    ("make a home", job.make_home),
    ("start the server", job.start),
    ("push a dataset", job.push_dataset),
    ("train in the sandbox", job.train),
    ("approve", job.approve),
    ("deploy", job.deploy),
    ("predict", job.predict),
    ("flipped byte in a model", walls.flipped_byte),
    ("hostile pickle", walls.hostile_pickle),
    ("hostile training script", walls.hostile_training),
    ("strangers at the door", walls.strangers),
    ("malformed requests", walls.malformed),
    ("too many requests", walls.too_many),
    ("deploy and roll back", walls.roll_back),
    ("audit log", walls.audit),
)


@dataclass(frozen=True, slots=True, kw_only=True)
class Step:
    name: str
    ok: bool
    seconds: float
    detail: str

    def row(self) -> dict[str, Any]:
        return asdict(self) | {"seconds": round(self.seconds, 3)}


def walk(stage: Stage) -> Iterator[Step]:
    """Run the steps in order; a failed one ends the walk, since the rest stands on it."""
    for name, act in _STEPS:
        start = time.monotonic()
        try:
            detail, passed = act(stage), True
        except (StepError, CasemateError, httpx.HTTPError, OSError) as error:
            detail, passed = f"{type(error).__name__}: {error}", False
        yield Step(name=name, ok=passed, seconds=time.monotonic() - start, detail=detail)
        if not passed:
            return
