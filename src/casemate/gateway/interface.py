"""What the data plane is given: who calls, whether they may, what is deployed. Everything else it builds itself."""

from __future__ import annotations

from collections.abc import Awaitable, Callable
from typing import Any, Protocol

import msgspec
import numpy as np

from casemate.core import DEFAULT_PROJECT, Action, Digest, Environment, Principal, Profile, Resource, Signature
from casemate.doors import Rate

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
    def recorded(self, name: str) -> Resource | None:
        """What is on record under `name`, served or not, as policies see it."""


class Decision(Protocol):
    """A policy's answer. `reason` and `next_step` are safe to show."""

    @property
    def allowed(self) -> bool: ...
    @property
    def reason(self) -> str: ...
    @property
    def next_step(self) -> str: ...
    @property
    def roles(self) -> tuple[str, ...]: ...
    @property
    def policy(self) -> str:
        """The digest of the policies that decided."""

    @property
    def ci(self) -> bool:
        """A CI job's token stood behind it."""


class Authenticate(Protocol):
    """The bearer's credential, and the client's certificate where it showed one -> who it is. Must not block.

    Raises: AuthError.
    """

    def __call__(self, bearer: str, certificate: bytes = b"", /) -> Principal: ...


class Authorize(Protocol):
    """Only a Decision whose `allowed` is True lets anybody in; whatever else comes back refuses. Must not block."""

    def __call__(self, principal: Principal, action: Action, resource: Resource, /, *, address: str) -> Decision: ...


RateOf = Callable[[Principal], Rate | None]  # the key's own limit, None for the profile's
