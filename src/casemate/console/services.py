"""What the control plane's routes are given; `app` builds it."""

from collections.abc import Callable, Iterator, Sequence
from concurrent.futures import Future
from dataclasses import dataclass, field
from typing import Any, Protocol

from casemate.auditlog import LogReader
from casemate.console.live_runs import LiveRun, LiveRuns
from casemate.core import Clock, EventSink, Principal, Ref
from casemate.core.datasheets import Datasheet
from casemate.iam import Access, Authorizer, Enrolment, Gate, Passkeys, PasskeySignIn, Policies, Sessions, SignIn
from casemate.iam.providers.sign_in import ProviderSignIn
from casemate.registry import (
    Anonymisations,
    Datasets,
    Deployments,
    Evaluations,
    Fingerprints,
    Models,
    Pushed,
    Retention,
    Screenings,
    Signers,
    Trainings,
)
from casemate.storage import Rewrapped, Sending, Upload, Uploads


@dataclass(frozen=True, slots=True, kw_only=True)
class Trained:
    """What became of a training run."""

    pushed: Pushed
    blocked: list[dict[str, str]]
    log: str
    metrics: dict[str, float]  # the last value of each
    seconds: float


@dataclass(frozen=True, slots=True, kw_only=True)
class Asked:
    """What whoever starts a training run asks for.

    Args:
        base: The model version that it goes on from.
        cpu, memory, time: As `runtime.asked_limits` takes them; empty: as is usual.
        hosts: That the script is let out to, as `runtime.parse_host` reads them; empty: it has no network.
        gpu: Whether it needs graphics processors.
        repository: `commit`, `dirty` and `path` of the script, as the client says; empty: it lies in none.
    """

    dataset: Ref
    base: Ref | None = None
    filename: str = "train.py"
    parameters: dict[str, Any] = field(default_factory=dict)
    purpose: str = ""
    seed: int = 0
    cpu: str = ""
    memory: str = ""
    time: str = ""
    hosts: tuple[str, ...] = ()
    gpu: bool = False
    repository: dict[str, Any] = field(default_factory=dict)


class PushDataset(Protocol):
    """Converts a file in the sandbox and pushes it; `name`, `version`, `digest`, `verdict`, `findings`."""

    def __call__(
        self,
        name: str,
        chunks: Iterator[bytes],
        *,
        filename: str,
        target: str | None,
        data_class: str = "",
        purposes: Sequence[str] = (),
        widening: bool = False,
        sheet: Datasheet | None = None,
        sending: Sending | None = None,
        origin: Ref | None = None,
        actor: Principal,
        intent: str,
    ) -> dict[str, Any]: ...


class Train(Protocol):
    """Runs a script in the sandbox on a dataset version, and pushes what it writes; stopped once `gone` is done."""

    def __call__(
        self,
        name: str,
        script: bytes,
        asked: Asked,
        *,
        live: LiveRun,
        actor: Principal,
        intent: str,
        gone: Future[None],
    ) -> Trained: ...


@dataclass(frozen=True, slots=True, kw_only=True)
class AskedConversion:
    """What whoever has a pickle converted asks for.

    Args:
        to: The format. filename: of the pickle.
        dataset: That the model was trained on, as they say.
        sample: A table of rows to compare on, whose name is `sample_name`; or `sample_dataset`: a version's rows; or neither.
        despite_findings: Load it though the scan holds more against it. reason: why it is done.
    """

    to: str
    filename: str
    dataset: Ref | None = None
    sample: bytes = b""
    sample_name: str = ""
    sample_dataset: Ref | None = None
    despite_findings: bool = False
    reason: str = ""


@dataclass(frozen=True, slots=True, kw_only=True)
class Converted:
    """What became of a conversion. Args: conversion: what is signed of it; None where nothing was kept."""

    pushed: Pushed
    conversion: dict[str, Any] | None


class Convert(Protocol):
    """Loads a pickle behind the walls, exports it, compares both, and pushes what it became."""

    def __call__(
        self, name: str, upload: Upload, asked: AskedConversion, *, actor: Principal, intent: str
    ) -> Converted: ...


class DataKeys(Protocol):
    """`storage.DataKeys`, in this process or the keeper's."""

    def show(self) -> dict[str, Any]: ...
    def rotate(self) -> Rewrapped: ...
    def retire(self) -> Rewrapped: ...


class Signing(Protocol):
    """Where the release key lies, in this process's keeper or another's."""

    def show(self) -> dict[str, Any]: ...
    def move(self, provider: str, settings: dict[str, str], intent: str) -> dict[str, Any]: ...


@dataclass(frozen=True, slots=True, kw_only=True)
class Services:
    """The rooms below the console, ready for use from many threads."""

    authenticate: Callable[[str], Principal]  # raises AuthError
    gate: Gate
    authorizer: Authorizer  # what the gate asks; asked directly, it records nothing
    access: Access
    policies: Policies
    clock: Clock
    commit: Callable[[list[tuple[str, dict[str, Any]]], str], int]  # ledger entries, intent -> the last one's number
    settle: Callable[[Callable[[], list[tuple[str, dict[str, Any]]]], str], None]  # commits what the call makes, alone
    datasets: Datasets
    screenings: Screenings
    anonymisations: Anonymisations
    retention: Retention
    models: Models
    evaluations: Evaluations
    fingerprints: Fingerprints
    deployments: Deployments
    signers: Signers
    observed: Callable[[list[dict[str, Any]]], list[dict[str, Any]]]  # rows of them, as the gateway serves them now
    push_dataset: PushDataset
    uploads: Uploads
    train: Train
    convert: Convert
    trainings: Trainings
    reproduce: Callable[..., dict[str, Any]]  # `app.reproduction.reproduce`
    sessions: Sessions
    sign_in: SignIn
    enrolment: Enrolment
    passkeys: Passkeys
    passkey_sign_in: PasskeySignIn
    providers: ProviderSignIn
    data_keys: DataKeys
    signing: Signing
    fetch_keys: Callable[[str], bytes]  # an issuer's key set from its https address; raises UpstreamError
    log: LogReader
    sink: EventSink  # of refusals that no principal stands behind
    kept_checkpoints: Callable[[], dict[str, str]]  # from outside the database, by where they are kept
    status: Callable[[], dict[str, Any]]
    live_runs: LiveRuns = field(default_factory=LiveRuns)
