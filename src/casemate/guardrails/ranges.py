"""Values outside the range that the model saw in training.

Honest rows leave the range too, so this is a flag for the record; only a strict profile refuses on it.
What it does not stop: a hostile input within the range.
"""

from __future__ import annotations

from typing import Any

import numpy as np

from casemate.core import DATATYPES, Signature, TensorSpec, VerificationError

MAX_NAMES = 16  # features named in one verdict; more say no more

Array = np.ndarray[Any, Any]


class RangeScreen:
    """Names the features of a request that lie outside the training range. Immutable.

    Raises: VerificationError: a range in the signature does not fit its tensor.
    """

    def __init__(self, signature: Signature) -> None:
        self._ranges = tuple(_Range(spec) for spec in signature.inputs if spec.low or spec.high)

    def outside(self, inputs: dict[str, Array]) -> tuple[str, ...]:
        """Names of features with a value outside [low, high], at most `MAX_NAMES`; empty when all lie within.

        Args: inputs: as `InputReader.read` returned them.
        """
        found: list[str] = []
        for known in self._ranges:
            tensor = inputs[known.name]
            within = np.minimum(np.maximum(tensor, known.low), known.high)
            if within.tobytes() != tensor.tobytes():  # half the cost of two comparisons; -0.0 is sorted out below
                found += known.names_outside(tensor)
        return tuple(found[:MAX_NAMES])


class _Range:
    """Bounds of one tensor, rounded as the tensor's values are, so that a training value is never outside."""

    __slots__ = ("_features", "high", "low", "name")

    def __init__(self, spec: TensorSpec) -> None:
        width = spec.shape[-1] if spec.shape else 0
        fits = (
            len(spec.low) == len(spec.high) == width
            and spec.datatype not in ("BYTES", "BOOL")
            and (not spec.features or len(spec.features) == width)
        )
        if not fits:
            raise VerificationError(
                f"The training range of input {spec.name!r} does not fit its shape.", code="bad-signature"
            )
        dtype = np.dtype(DATATYPES[spec.datatype])
        kind = dtype if dtype.kind == "f" else np.dtype(np.float64)
        self.name = spec.name
        with np.errstate(over="ignore"):  # a bound beyond the datatype is no bound
            self.low: Array = np.array(spec.low, dtype=np.float64).astype(kind)
            self.high: Array = np.array(spec.high, dtype=np.float64).astype(kind)
        self._features = spec.features or tuple(f"{spec.name}[{place}]" for place in range(width))

    def names_outside(self, tensor: Array) -> list[str]:
        rows = tensor.reshape(-1, len(self._features))
        places = ((rows < self.low) | (rows > self.high)).any(axis=0)
        return [self._features[place] for place in np.flatnonzero(places)]
