"""What leaves: exactly the outputs that the signature promises, with coarse numbers.

Full-precision confidences help whoever copies the model or tests for membership (Tramer et al. 2016, section 5;
Shokri et al. 2017, section VI.C): rounding is the cheapest part of the answer to both, and never the whole of it.
"""

from __future__ import annotations

import math
from typing import Any

import msgspec
import numpy as np

from casemate.core import DATATYPES, InputError, SandboxError, Signature, TensorSpec

Array = np.ndarray[Any, Any]


class Precision(msgspec.Struct, frozen=True, kw_only=True):
    """How much of a number leaves. None leaves it as it is.

    Args:
        decimals: Decimal places of a tensor whose values all lie in [0, 1], as confidences do.
        digits: Significant digits of every other floating-point tensor, as regressors give.
    """

    decimals: int | None
    digits: int | None


class OutputHardener:
    """Checks a model's answer against its signature and rounds it. Immutable."""

    def __init__(self, signature: Signature, precision: Precision) -> None:
        self._specs = tuple((spec, np.dtype(DATATYPES[spec.datatype])) for spec in signature.outputs)
        self._precision = precision

    def harden(self, outputs: dict[str, Array], *, rows: int | None) -> list[dict[str, Any]]:
        """The answer's `outputs` in the Open Inference Protocol's words, in the signature's order, data flat.

        Args: rows: rows that went in, when the first dimension is free; each output must hold as many.
        Raises: SandboxError: `wrong-output`: the model gave something else than its signature says.
            InputError: `no-finite-answer`: the model has no finite answer for this input.
        """
        if len(outputs) != len(self._specs):
            raise _wrong_output(", ".join(spec.name for spec, _ in self._specs))
        return [self._hardened(spec, dtype, outputs.get(spec.name), rows) for spec, dtype in self._specs]

    def _hardened(
        self, spec: TensorSpec, dtype: np.dtype[Any], tensor: Array | None, rows: int | None
    ) -> dict[str, Any]:
        if tensor is None or tensor.dtype != dtype or not _fits(spec.shape, tensor.shape, rows):
            raise _wrong_output(spec.name)
        values = tensor.ravel().tolist()
        if dtype.kind == "f":
            values = self._rounded(spec.name, values)
        elif dtype.kind == "O" and not all(type(value) is str for value in values):
            raise _wrong_output(spec.name)
        return {"name": spec.name, "datatype": spec.datatype, "shape": list(tensor.shape), "data": values}

    def _rounded(self, name: str, values: list[float]) -> list[float]:
        if not math.isfinite(sum(values)) and not all(map(math.isfinite, values)):
            raise InputError(
                f"The model has no finite answer for this input (output {name!r}): check its values.",
                code="no-finite-answer",
            )
        if not values:
            return values
        decimals, digits = self._precision.decimals, self._precision.digits
        if min(values) >= 0 and max(values) <= 1:
            return values if decimals is None else [round(value, decimals) for value in values]
        return values if digits is None else [float(f"{value:.{digits}g}") for value in values]


def _fits(wanted: tuple[int, ...], shape: tuple[int, ...], rows: int | None) -> bool:
    if len(wanted) != len(shape):
        return False
    if wanted[:1] == (-1,) and rows is not None:
        if shape[0] != rows:
            return False
        if shape[1:] == wanted[1:]:
            return True
    return all(size in (-1, got) for size, got in zip(wanted, shape, strict=True))


def _wrong_output(name: str) -> SandboxError:
    return SandboxError(
        f"The model's answer does not fit its signature (output {name!r}): its owner must push a mended version.",
        code="wrong-output",
    )
