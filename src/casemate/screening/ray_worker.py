"""What runs on the nodes of a Ray cluster: it opens parcels, has a sandbox of that node judge them, and seals what that said."""

from __future__ import annotations

import platform
from typing import Any

import msgspec

from casemate.core import CasemateError, SandboxError
from casemate.sandbox import TOO_MUCH
from casemate.screening.build import build, other_build
from casemate.screening.judging_cell import JudgingCell
from casemate.screening.parcels import Parcels

DESK = "desk"  # the actor that tells the key, by this name in the namespace of the screening


class Trouble(msgspec.Struct, frozen=True):
    """Why a node cannot judge, as plain data: what is raised on a node would reach the driver as an object to unpickle."""

    code: str
    message: str


class Desk:
    """An actor on the driver's own machine that holds the key in memory and hands it out: what Ray Data itself passes to its workers
    is kept in the head's tables and in the object store, which may be written to disk."""

    def __init__(self) -> None:
        self._kept: tuple[bytes, Any] | None = None

    def keep(self, key: bytes, fitted: Any) -> None:
        """Args: fitted: reference to the parcel of what was fitted, in a list, so that Ray does not open it."""
        self._kept = key, fitted

    def tell(self) -> tuple[bytes, Any]:
        assert self._kept is not None
        return self._kept


class Judging:
    """One worker of the pool: one sandbox, kept while it lives. Answers a trouble with each block once it has one."""

    def __init__(self, namespace: str, ours: dict[str, str]) -> None:
        """Args: ours: `build()` of the driver."""
        self._cell: JudgingCell | None = None
        self._trouble: Trouble | None = None
        try:
            self._start(namespace, ours)
        except CasemateError as error:
            self._trouble = _trouble(error)

    def __call__(self, batch: Any) -> Any:
        """Args: batch: Arrow table of one block, {"number", "parcel"}. Answer: the same of its judgement, with "trouble" as JSON."""
        import pyarrow as pa

        numbers, parcels, troubles = batch.column("number").to_pylist(), list[bytes](), list[bytes]()
        for number, parcel in zip(numbers, batch.column("parcel"), strict=True):
            parcels.append(self._judged(number, parcel.as_py()))
            troubles.append(b"" if self._trouble is None else msgspec.json.encode(self._trouble))
        return pa.table(
            {
                "number": pa.array(numbers, pa.int64()),
                "parcel": pa.array(parcels, pa.large_binary()),
                "trouble": pa.array(troubles, pa.binary()),
            }
        )

    def _start(self, namespace: str, ours: dict[str, str]) -> None:
        import ray

        if other := other_build(ours, build()):
            raise SandboxError(
                f"The node {platform.node()} of the Ray cluster has {other}: install the same on each node.",
                code="ray-other-version",
            )
        key, fitted = ray.get(ray.get_actor(DESK, namespace).tell.remote())
        self._parcels = Parcels(key)
        self._cell = JudgingCell(self._parcels.open("fitted", 0, ray.get(fitted[0])))

    def _judged(self, number: int, parcel: bytes) -> bytes:
        if self._trouble is not None or self._cell is None:
            return b""
        try:
            judged = self._cell.judge(self._parcels.open("block", number, parcel))
        except CasemateError as error:
            self._trouble = _trouble(error)
            return b""
        return self._parcels.seal("judgement", number, judged)


def _trouble(error: CasemateError) -> Trouble:
    """In words of our own: those of a sandbox that failed may be foreign."""
    node = platform.node()
    if error.code == "walls-missing":
        said = f"The node {node} of the Ray cluster has no walls to judge rows behind, and judged none: {error.message}"
        return Trouble("ray-no-walls", said)
    if isinstance(error, SandboxError) and error.code.startswith("sandbox-"):
        said = f"A sandbox on the node {node} of the Ray cluster ended ({error.code}): look at its memory, then screen again."
        return Trouble(error.code if error.code in TOO_MUCH else "ray-failed", said)
    return Trouble(error.code, error.message)
