"""What the data plane is given: who calls, whether they may, what is deployed. Everything else it builds itself."""

from __future__ import annotations

from collections.abc import Awaitable, Callable
from typing import Any, Protocol

import msgspec
import numpy as np

from casemate.core import DEFAULT_PROJECT, Action, Digest, Environment, Principal, Profile, Resource, Signature

Array = np.ndarray[Any, Any]


class Infer(Protocol):
    """Runs one request in the deployment's worker.

    `batchable` says that rows of several requests may run together.
    Raises: LimitError: no worker right now. SandboxError: the worker failed.
    """

    def __call__(self, inputs: dict[str, Array], batchable: bool) -> Awaitable[dict[str, Array]]: ...  # noqa: FBT001


class ServedModel(msgspec.Struct, frozen=True, kw_only=True):
    """What a deployment serves at this moment. A new version is a new object; a request keeps the one it began with."""

    name: str  # of the deployment, which is the model's name in the protocol
    version: int
    digest: Digest
    signature: Signature
    profile: Profile
    infer: Infer
    environment: Environment = Environment.DEV
    project: str = DEFAULT_PROJECT
    paused: bool = False
    ready: bool = True


class Deployments(Protocol):
    """Must not block: it is asked on the event loop, per request."""

    def current(self, name: str) -> ServedModel | None: ...


class Decision(Protocol):
    """A policy's answer. `reason` and `next_step` are safe to show."""

    @property
    def allowed(self) -> bool: ...
    @property
    def reason(self) -> str: ...
    @property
    def next_step(self) -> str: ...


class Rate(msgspec.Struct, frozen=True):
    """A token bucket's measure. Args: per_second: tokens that come back, > 0. burst: most that it holds, >= 1."""

    per_second: float
    burst: float


Authenticate = Callable[[str], Principal]  # the bearer's credential -> who it is; raises AuthError. Must not block.
# Only a Decision whose `allowed` is True lets anybody in; whatever else comes back refuses. Must not block.
Authorize = Callable[[Principal, Action, Resource], Decision]
RateOf = Callable[[Principal], Rate | None]  # the key's own limit, None for the profile's
