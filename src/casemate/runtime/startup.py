"""Start one confined worker on sealed files: used to serve a model, and to learn what it takes and gives."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

import msgspec

from casemate.core import (
    DATATYPES,
    MAX_DIMENSIONS,
    SandboxError,
    SealedFile,
    ServedFile,
    Signature,
    TensorSpec,
    VerificationError,
)
from casemate.runtime.formats import entry_of
from casemate.sandbox import Cell, ExitReason, Limits, Walls, spawn
from casemate.signing import VersionIdentity

WORKER_LIMITS = Limits(memory=2 << 30, file_bytes=0, open_files=256, threads=64)

MAX_TENSORS = 64  # inputs or outputs; served models have a handful
MAX_FEATURES = 65_536  # named columns of one tensor
_MAX_NAME = 256  # characters
_MAX_SIZE = 1 << 31  # of one dimension


@dataclass(frozen=True, slots=True, kw_only=True)
class Started:
    """A worker that has loaded its model and answered once.

    Args:
        signature: As the loaded model tells it; its shape is checked, its truth is the model's.
        batchable: Rows of several requests may go in together.
    """

    cell: Cell
    signature: Signature
    batchable: bool


def start_worker(
    files: Mapping[str, SealedFile],
    served: ServedFile,
    *,
    limits: Limits = WORKER_LIMITS,
    threads: int = 1,
    timeout: float = 60.0,
    insecure: bool = False,
    walls: Walls | None = None,
    cell: Cell | None = None,
) -> Started:
    """Spawn, hand over, load and warm up; on any failure nothing is left running. Blocks.

    Args:
        served: Which of `files` to load, in which runtime, as the scan found it.
        threads: Of the model's own computation.
        timeout: Seconds from the hand-over to the first answer.
        cell: An empty worker of the same runtime, limits and walls, to take in place of a new one.
    Raises: VerificationError: `model-format`, `model-load-failed`, `model-io`, `model-outputs`: the model is at fault.
        SandboxError: `walls-missing`, `sandbox-crashed`, `sandbox-memory`, `sandbox-timeout`, `sandbox-protocol`, ...
    """
    if served.path not in files:
        raise VerificationError(f"There is no file {served.path!r} to load.", code="model-format")
    cell = cell or spawn(entry_of(served), limits=limits, walls=walls, insecure=insecure)
    try:
        order = {"model": served.path, "paths": list(files), "threads": threads}
        try:
            cell.channel.send(order, fds=[file.fd for file in files.values()])
            answer = cell.channel.recv(timeout, max_buffers=0).message  # what it says fits a header
        except SandboxError as error:
            raise cell.gone(alive=ExitReason.CRASHED) if error.code == "sandbox-gone" else error from None
        signature, batchable = _ready(answer)
    except BaseException:
        cell.kill()
        cell.channel.close()
        raise
    return Started(cell=cell, signature=signature, batchable=batchable)


def printable(text: Any, limit: int = 500) -> str:
    """Foreign text, made safe to show; nothing of what is no text, since even showing a deep nest of lists can fail."""
    return "".join(c if c.isprintable() else "?" for c in text[:limit]) if isinstance(text, str) else ""


def _ready(answer: Any) -> tuple[Signature, bool]:
    """Read the first answer, which is foreign."""
    if isinstance(answer, dict) and isinstance(failure := answer.get("error"), dict):
        code = failure.get("code")
        raise VerificationError(
            f"The model does not load: {printable(failure.get('message'))}",
            code=code if code in ("model-io", "model-outputs") else "model-load-failed",
        )
    try:
        ready = answer["ready"]
        signature = msgspec.convert(ready["signature"], Signature)
        batchable = ready["batchable"] is True
    except (TypeError, KeyError, msgspec.ValidationError) as error:
        raise SandboxError("The worker broke the protocol.", code="sandbox-protocol") from error
    return checked_signature(signature), batchable


def checked_signature(signature: Signature) -> Signature:
    """Return `signature` if its tensors can be served. Raises: VerificationError: `model-io`."""
    for specs in (signature.inputs, signature.outputs):
        names = {spec.name for spec in specs}
        if not 0 < len(specs) <= MAX_TENSORS or len(names) != len(specs) or not all(map(_is_fair, specs)):
            raise VerificationError(
                f"The model's inputs or outputs cannot be served: it needs 1 to {MAX_TENSORS} of each, with distinct "
                f"printable names, known types and at most {MAX_DIMENSIONS} dimensions.",
                code="model-io",
            )
    return signature


def _is_fair(spec: TensorSpec) -> bool:
    texts = (spec.name, *spec.features)
    return (
        spec.datatype in DATATYPES
        and len(spec.shape) <= MAX_DIMENSIONS
        and all(-1 <= size < _MAX_SIZE for size in spec.shape)
        and len(spec.features) <= MAX_FEATURES
        and all(0 < len(text) <= _MAX_NAME and text.isprintable() for text in texts)
    )


def check_told(about: VersionIdentity, signed: Signature | None, loaded: Signature) -> None:
    """The loaded model has the tensors that were signed. Raises: VerificationError `signature-mismatch`."""
    if signed is not None and outline(loaded) != outline(signed):
        raise VerificationError(
            f"{about} takes or gives other tensors than its signed signature says: push it again.",
            code="signature-mismatch",
        )


def checked_served(about: VersionIdentity, served: ServedFile | None) -> ServedFile:
    """Raises: VerificationError `model-format`: the version holds nothing that a runtime loads."""
    if served is None:
        raise VerificationError(f"{about} holds no model that a runtime loads.", code="model-format")
    return served


def outline(signature: Signature) -> list[list[tuple[str, str, tuple[int, ...]]]]:
    """Names, types and shapes, without what is known from training only."""
    return [
        [(spec.name, spec.datatype, spec.shape) for spec in specs] for specs in (signature.inputs, signature.outputs)
    ]
