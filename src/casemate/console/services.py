"""What the control plane's routes are given; `app` builds it."""

from collections.abc import Callable, Iterator
from dataclasses import dataclass
from typing import Any, Protocol

from casemate.auditlog import LogReader
from casemate.core import Clock, Principal, Ref
from casemate.iam import Access, Gate, Policies
from casemate.registry import Datasets, Deployments, Models, Pushed


@dataclass(frozen=True, slots=True, kw_only=True)
class Trained:
    """What became of a training run."""

    pushed: Pushed
    blocked: list[dict[str, str]]
    log: str
    seconds: float


class PushDataset(Protocol):
    """Converts a file in the sandbox and pushes it; `name`, `version`, `digest`, `verdict`, `findings`."""

    def __call__(
        self, name: str, chunks: Iterator[bytes], *, filename: str, target: str | None, actor: Principal, intent: str
    ) -> dict[str, Any]: ...


class Train(Protocol):
    """Runs a script in the sandbox on a dataset version, and pushes what it writes."""

    def __call__(
        self,
        name: str,
        script: bytes,
        *,
        dataset: Ref,
        filename: str,
        parameters: dict[str, Any],
        actor: Principal,
        intent: str,
    ) -> Trained: ...


@dataclass(frozen=True, slots=True, kw_only=True)
class Services:
    """The rooms below the console, ready for use from many threads."""

    authenticate: Callable[[str], Principal]  # raises AuthError
    gate: Gate
    access: Access
    policies: Policies
    clock: Clock
    commit: Callable[[list[tuple[str, dict[str, Any]]], str], int]  # ledger entries, intent -> the last one's number
    datasets: Datasets
    models: Models
    deployments: Deployments
    push_dataset: PushDataset
    train: Train
    log: LogReader
    kept_checkpoints: Callable[[], dict[str, str]]  # from outside the database, by where they are kept
    status: Callable[[], dict[str, Any]]
