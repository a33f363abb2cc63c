"""A verified model asked for many rows, behind the same walls as when it serves; by the control plane, not through a gateway."""

from __future__ import annotations

from typing import Self

import numpy as np

from casemate.core import InputError, SandboxError, Signature, TensorSpec
from casemate.runtime.startup import WORKER_LIMITS, Started, check_told, checked_served, printable, start_worker
from casemate.runtime.tensors import Array, decode_tensors, encode_tensors
from casemate.signing import VerifiedModel

_SECONDS = 120.0  # for one batch
_MOST_ANSWER = 256 << 20  # bytes
_NUMBERS = {"FP16": np.float16, "FP32": np.float32, "FP64": np.float64, "INT32": np.int32, "INT64": np.int64}


class QueriedModel:
    """A context manager that starts the model's worker and ends it. It takes rows of numbers only."""

    def __init__(self, model: VerifiedModel, *, insecure: bool = False) -> None:
        """Raises: VerificationError: as `start_worker`, `model-format`, `signature-mismatch`. SandboxError. InputError
        `evaluate-inputs`: it takes something else than one table of numbers."""
        served = checked_served(model.about, model.served)
        self._started: Started = start_worker(model.files, served, limits=WORKER_LIMITS, insecure=insecure)
        try:
            check_told(model.about, model.signature, self._started.signature)
            self.given = _table_of(model.signature or self._started.signature)
        except BaseException:
            self.close()
            raise
        self._number = 0

    @property
    def width(self) -> int:
        return self.given.shape[-1]

    @property
    def features(self) -> tuple[str, ...]:
        """Names of the columns that it takes; empty where nobody said."""
        return self.given.features

    def ask(self, rows: Array) -> dict[str, Array]:
        """Its outputs. Args: rows: float64 (n, width). Raises: InputError `evaluate-failed`: the model raised; SandboxError."""
        self._number += 1
        given = rows.astype(_NUMBERS[self.given.datatype])
        headers, buffers = encode_tensors({self.given.name: given})
        channel = self._started.cell.channel
        channel.send({"id": self._number, "inputs": headers}, buffers)
        frame = channel.recv(_SECONDS, max_buffers=_MOST_ANSWER)
        try:
            if frame.message["id"] != self._number:
                raise ValueError("an answer to no question")
            failure = frame.message.get("error")
            outputs = None if failure else decode_tensors(frame.message["outputs"], frame.buffers)
        except (TypeError, KeyError, AttributeError, ValueError) as error:
            raise SandboxError("The model's worker broke the protocol.", code="sandbox-protocol") from error
        if outputs is None:
            said = printable(failure.get("message") if isinstance(failure, dict) else "", 200)
            raise InputError(
                f"The model fails on these rows ({said}): are they as those that it was trained on, with nothing missing?",
                code="evaluate-failed",
            )
        return outputs

    def close(self) -> None:
        self._started.cell.kill()
        self._started.cell.channel.close()

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        self.close()


def _table_of(signature: Signature) -> TensorSpec:
    if len(signature.inputs) == 1:
        (given,) = signature.inputs
        if given.datatype in _NUMBERS and len(given.shape) == 2 and given.shape[0] == -1 and given.shape[1] > 0:
            return given
    raise InputError(
        "Only models that take one table of numbers, a row for each case, are evaluated; this one takes "
        + ", ".join(f"{one.name[:40]} {one.datatype}{list(one.shape)}" for one in signature.inputs[:3])
        + ".",
        code="evaluate-inputs",
    )
