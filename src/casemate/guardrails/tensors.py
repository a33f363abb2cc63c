"""From a well-formed request to arrays that the model's signature allows; nothing else gets past."""

from __future__ import annotations

import array
import math
from dataclasses import dataclass
from functools import lru_cache
from typing import Any

import msgspec
import numpy as np

from casemate.core import DATATYPES, MAX_DIMENSIONS, InputError, Signature, TensorSpec, VerificationError
from casemate.guardrails.requests import InferInput, InferRequest

Array = np.ndarray[Any, Any]

# Typed buffers of the standard library take a list faster than numpy does, and refuse what is out of range.
_TYPECODES = {
    "UINT8": "B",
    "UINT16": "H",
    "UINT32": "I",
    "UINT64": "Q",
    "INT8": "b",
    "INT16": "h",
    "INT32": "i",
    "INT64": "q",
    "FP16": "d",
    "FP32": "f",
    "FP64": "d",
}
_BUFFERS = {code: np.dtype(code) for code in set(_TYPECODES.values())}
_FLOATS = frozenset({"FP16", "FP32", "FP64"})


@dataclass(frozen=True, slots=True, kw_only=True)
class _Input:
    """What one tensor must be, worked out once per model version."""

    name: str
    datatype: str
    shape: tuple[int, ...]
    tail: list[int] | None  # dimensions after the first, when all are fixed and the first is free
    width: int  # elements per row, when `tail` is known
    dtype: np.dtype[Any]
    typecode: str | None
    largest: float  # finite value of a floating-point datatype; 0 for the others


class InputReader:
    """Turns requests into arrays by a model's signature. Immutable; safe to share between threads.

    Args:
        signature: The model's inputs, as verified.
        max_rows: Most rows (first dimension) in one request.
    Raises: VerificationError: the signature itself names an unknown datatype or too many dimensions.
    """

    def __init__(self, signature: Signature, *, max_rows: int) -> None:
        self._inputs = {spec.name: _planned(spec) for spec in signature.inputs}
        self._outputs = frozenset(spec.name for spec in signature.outputs)
        self._max_rows = max_rows
        self.batchable = bool(signature.inputs) and all(
            spec.shape[:1] == (-1,) for spec in (*signature.inputs, *signature.outputs)
        )

    def read(self, request: InferRequest) -> dict[str, Array]:
        """Every input of the signature, once, with its exact datatype and shape; floats finite.

        Raises: InputError: `unknown-input`, `missing-input`, `duplicate-input`, `unknown-output`, `wrong-datatype`,
            `wrong-shape`, `wrong-length`, `not-finite` or `too-many-rows`; the sentence names tensor and limit.
        """
        arrays: dict[str, Array] = {}
        rows = -1
        for sent in request.inputs:
            plan = self._inputs.get(sent.name)
            if plan is None:
                known = ", ".join(self._inputs)
                raise InputError(f"The model has no input {sent.name[:80]!r}: it takes {known}.", code="unknown-input")
            if sent.name in arrays:
                raise InputError(f"Input {plan.name!r} stands twice: send it once.", code="duplicate-input")
            arrays[plan.name] = tensor = _read_tensor(plan, sent, self._max_rows)
            if plan.shape[:1] == (-1,):
                if rows not in (-1, tensor.shape[0]):
                    raise InputError(
                        f"Input {plan.name!r} has {tensor.shape[0]} rows where another has {rows}: send as many of each.",
                        code="wrong-shape",
                    )
                rows = tensor.shape[0]
        if len(arrays) != len(self._inputs):
            missing = next(name for name in self._inputs if name not in arrays)
            raise InputError(f"Input {missing!r} is missing: the model needs it.", code="missing-input")
        if request.outputs is not None:
            self._check_outputs(request)
        return arrays

    def _check_outputs(self, request: InferRequest) -> None:
        for wanted in request.outputs or ():
            if wanted.name not in self._outputs:
                raise InputError(
                    f"The model has no output {wanted.name[:80]!r}: it gives {', '.join(sorted(self._outputs))}.",
                    code="unknown-output",
                )


def _planned(spec: TensorSpec) -> _Input:
    if spec.datatype not in DATATYPES or len(spec.shape) > MAX_DIMENSIONS:
        raise VerificationError(
            f"The signature's input {spec.name!r} has a datatype or shape that cannot be served.", code="bad-signature"
        )
    regular = spec.shape[:1] == (-1,) and all(size > 0 for size in spec.shape[1:])
    return _Input(
        name=spec.name,
        datatype=spec.datatype,
        shape=spec.shape,
        tail=list(spec.shape[1:]) if regular else None,
        width=math.prod(spec.shape[1:]) if regular else 0,
        dtype=np.dtype(DATATYPES[spec.datatype]),
        typecode=_TYPECODES.get(spec.datatype),
        largest=float(np.finfo(DATATYPES[spec.datatype]).max) if spec.datatype in _FLOATS else 0.0,
    )


def _read_tensor(plan: _Input, sent: InferInput, max_rows: int) -> Array:
    if sent.datatype != plan.datatype:
        raise InputError(
            f"Input {plan.name!r} must be {plan.datatype}, not {sent.datatype[:20]!r}.", code="wrong-datatype"
        )
    shape = sent.shape
    if plan.tail is not None and shape[1:] == plan.tail and shape[0] > 0:
        expected = shape[0] * plan.width
    else:
        expected = _checked_size(plan, shape)
    if plan.shape[:1] == (-1,) and shape[0] > max_rows:
        raise InputError(
            f"Input {plan.name!r} has {shape[0]} rows; at most {max_rows} are served in one request: split it.",
            code="too-many-rows",
        )
    values = _flat_values(plan, sent.data, shape, expected)
    if len(values) != expected:
        raise InputError(
            f"Input {plan.name!r} holds {len(values)} values; its shape {_printed(shape)} needs {expected}.",
            code="wrong-length",
        )
    return _to_array(plan, values, shape)


def _checked_size(plan: _Input, shape: list[int]) -> int:
    """Elements in `shape` once it agrees with the signature. Raises: InputError."""
    agrees = len(shape) == len(plan.shape) and all(
        size > 0 if wanted < 0 else size == wanted for size, wanted in zip(shape, plan.shape, strict=True)
    )
    if not agrees:
        raise InputError(
            f"Input {plan.name!r} must have shape {_printed(plan.shape, any_size='n')}, not {_printed(shape)};"
            " n stands for any positive number.",
            code="wrong-shape",
        )
    return math.prod(shape)


def _printed(shape: list[int] | tuple[int, ...], *, any_size: str = "-1") -> str:
    sizes = [any_size if size == -1 else str(size) if abs(size) < 10**12 else "?" for size in shape[:MAX_DIMENSIONS]]
    shown = ", ".join(sizes)
    return f"[{shown}{', ...' if len(shape) > MAX_DIMENSIONS else ''}]"


@lru_cache(maxsize=len(DATATYPES))
def _decoders(datatype: str) -> tuple[msgspec.json.Decoder[Any], ...]:
    """Decoders of one datatype, by depth of nesting less one."""
    kind: Any = {"BOOL": bool, "BYTES": str}.get(datatype, float if datatype in _FLOATS else int)
    found = []
    for _ in range(MAX_DIMENSIONS):
        kind = list[kind]
        found.append(msgspec.json.Decoder(kind))
    return tuple(found)


def _flat_values(plan: _Input, data: msgspec.Raw, shape: list[int], expected: int) -> list[Any]:
    """The values in row order, from flat or nested lists of the right JSON type. Raises: InputError."""
    depth = _depth(data)
    if depth not in (1, len(shape)):
        raise InputError(
            f"The data of input {plan.name!r} must be one flat list, or nested as its shape {_printed(shape)} says.",
            code="wrong-shape",
        )
    try:
        values: list[Any] = _decoders(plan.datatype)[depth - 1].decode(data)
    except msgspec.ValidationError as error:
        raise InputError(
            f"The data of input {plan.name!r} is not {plan.datatype}: {error}.", code=_code_of(error)
        ) from None
    except (msgspec.DecodeError, UnicodeDecodeError):
        raise InputError("The body is not valid UTF-8: send JSON in UTF-8.", code="malformed-json") from None
    for size in shape[1:] if depth > 1 else ():
        if any(len(part) != size for part in values) or len(values) > expected:
            raise InputError(
                f"The nested data of input {plan.name!r} does not have the shape {_printed(shape)} that it names.",
                code="wrong-length",
            )
        values = [value for part in values for value in part]
    return values


def _code_of(error: msgspec.ValidationError) -> str:
    """A number beyond 64-bit floats reads as infinity: the same refusal as for any value that is not finite."""
    return "not-finite" if str(error).startswith("Number out of range") else "wrong-datatype"


def _depth(data: msgspec.Raw) -> int:
    """Brackets that open the data; 0 when it is no list."""
    depth = 0
    for byte in memoryview(data):
        if byte == 0x5B:  # [
            depth += 1
            if depth > MAX_DIMENSIONS:
                break
        elif byte not in b" \t\r\n":
            break
    return depth


def _to_array(plan: _Input, values: list[Any], shape: list[int]) -> Array:
    if plan.typecode is None:
        return np.array(values, dtype=plan.dtype).reshape(shape)
    try:
        tensor: Array = np.frombuffer(array.array(plan.typecode, values), dtype=_BUFFERS[plan.typecode])
    except OverflowError:
        raise InputError(
            f"A value of input {plan.name!r} is outside the range of {plan.datatype}.", code="wrong-datatype"
        ) from None
    if tensor.dtype != plan.dtype:
        with np.errstate(over="ignore"):  # what overflows turns infinite and is refused below
            tensor = tensor.astype(plan.dtype)
    beyond = plan.largest and (max(values) > plan.largest or min(values) < -plan.largest)
    if beyond and not np.isfinite(tensor).all():  # JSON has no NaN; the last half unit still rounds to a finite value
        raise InputError(
            f"A value of input {plan.name!r} is not a finite {plan.datatype}: send numbers within its range.",
            code="not-finite",
        )
    return tensor.reshape(shape)
