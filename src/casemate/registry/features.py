"""Names and training ranges of a model's features, taken from the dataset that it was trained on."""

from __future__ import annotations

import math
from typing import Any

import msgspec

from casemate.core import Signature, TensorSpec

_FLOATS = frozenset({"FP16", "FP32", "FP64"})


def with_ranges(signature: Signature, schema: dict[str, Any]) -> Signature:
    """`signature` with names and ranges on its first float input, if that has one place for each feature column.

    Args: schema: content of schema.json. Columns count in its order, the target left out. A column without numbers
        gives the names alone: a range is stated for all features or for none.
    """
    columns = [column for column in schema["columns"] if column["role"] == "feature"]
    for place, spec in enumerate(signature.inputs):
        if spec.datatype not in _FLOATS:
            continue
        if not columns or not spec.shape or spec.shape[-1] != len(columns):
            return signature
        low, high = _bounds(columns, "min"), _bounds(columns, "max")
        known = msgspec.structs.replace(
            spec,
            features=tuple(column["name"] for column in columns),
            low=low if low and high else (),
            high=high if low and high else (),
        )
        inputs = (*signature.inputs[:place], known, *signature.inputs[place + 1 :])
        return msgspec.structs.replace(signature, inputs=inputs)
    return signature


def _bounds(columns: list[dict[str, Any]], which: str) -> tuple[float, ...]:
    values = [column.get(which) for column in columns]
    if not all(isinstance(value, int | float) and math.isfinite(value) for value in values):
        return ()
    return tuple(float(value) for value in values if value is not None)


def without_ranges(signature: Signature) -> Signature:
    """The same tensors and feature names; the ends of a training range are values of rows, so they stay inside."""

    def bare(spec: TensorSpec) -> TensorSpec:
        return msgspec.structs.replace(spec, low=(), high=())

    inputs, outputs = tuple(map(bare, signature.inputs)), tuple(map(bare, signature.outputs))
    return msgspec.structs.replace(signature, inputs=inputs, outputs=outputs)
