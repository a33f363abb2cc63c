"""What a model takes and gives, in the words of the Open Inference Protocol v2."""

from __future__ import annotations

from typing import Literal

import msgspec

MAX_DIMENSIONS = 8  # no served model has more; bounds the nesting that is tried
DATATYPES = {  # Open Inference Protocol name -> numpy name
    "BOOL": "bool",
    "UINT8": "uint8",
    "UINT16": "uint16",
    "UINT32": "uint32",
    "UINT64": "uint64",
    "INT8": "int8",
    "INT16": "int16",
    "INT32": "int32",
    "INT64": "int64",
    "FP16": "float16",
    "FP32": "float32",
    "FP64": "float64",
    "BYTES": "object",
}


class TensorSpec(msgspec.Struct, frozen=True, kw_only=True, omit_defaults=True):
    """One tensor. `shape` uses -1 for a free dimension, the first being the batch.

    `features`, `low` and `high` run along the last dimension: names and training range (inclusive), when known.
    """

    name: str
    datatype: str
    shape: tuple[int, ...]
    features: tuple[str, ...] = ()
    low: tuple[float, ...] = ()
    high: tuple[float, ...] = ()


class Signature(msgspec.Struct, frozen=True, kw_only=True):
    """What a model version takes and gives."""

    inputs: tuple[TensorSpec, ...]
    outputs: tuple[TensorSpec, ...]
    runtime: str  # as in `ServedFile`


class ServedFile(msgspec.Struct, frozen=True, kw_only=True):
    """Which of a version's files is the model, and what loads it: found by the scan, signed with it, taken from there."""

    path: str
    runtime: Literal["lightgbm", "onnx", "skops", "tensorflow", "torch", "xgboost"]
