"""The loop inside the sandbox: one model, one socket, one request at a time.

First frame: `{"model": path, "paths": [...], "threads": N}` with one sealed descriptor per path. Answer: `{"ready":
{"signature", "batchable"}}` after a warm-up, or `{"error": {"code", "message"}}` and the end.
Then: `{"id", "inputs": [[name, datatype, shape], ...]}` + raw buffers -> `{"id", "outputs": [...]}` + raw buffers, or
`{"id", "error"}`. What a model raises is an answer, not the end; only the frame protocol itself can end the loop.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import Any, Protocol

import msgspec
import numpy as np

from casemate.core import DATATYPES, CasemateError, SandboxError, Signature, TensorSpec
from casemate.core.wire import decode_header, encode_frame
from casemate.runtime.tensors import Array, datatype_of, decode_tensors, encode_tensors
from casemate.sandbox import Channel

_READ_AHEAD = 1 << 16  # bytes
_CLIP = 500  # characters of an error that a model raised


class Model(Protocol):
    """A loaded model. `predict` may raise anything."""

    @property
    def signature(self) -> Signature: ...
    def predict(self, inputs: Mapping[str, Array]) -> dict[str, Array]: ...


class Files(msgspec.Struct, frozen=True):
    """What the model is made of: `model` is the path of its main file, `fds` a sealed descriptor per path."""

    model: str
    fds: dict[str, int]
    threads: int

    def open_path(self) -> str:
        """Where the main file can be opened; nothing else can stand there."""
        return f"/proc/self/fd/{self.fds[self.model]}"


def serve_model(channel: Channel, load: Callable[[Files], Model]) -> None:
    """Load what the first frame hands over, warm it up, and answer until the other side is gone."""
    first = channel.recv()
    try:
        message = first.message
        files = Files(message["model"], dict(zip(message["paths"], first.fds, strict=True)), message["threads"])
        model = load(files)
        batchable = warm_up(model)
    except MemoryError:
        raise
    except Exception as error:  # noqa: BLE001 whatever a foreign file makes a loader raise, the parent must learn of it
        channel.send({"error": _told(error, "model-load-failed")})
        return
    channel.send({"ready": {"signature": msgspec.to_builtins(model.signature), "batchable": batchable}})
    # No descriptors come from here on: frames are read through one buffer and written whole, a system call each way.
    with channel.socket.makefile("rb", buffering=_READ_AHEAD) as stream:
        while head := stream.read(4):
            message, sizes = decode_header(stream.read(int.from_bytes(head)))
            answer, buffers = _answered(model, message, [stream.read(size) for size in sizes])
            channel.socket.sendall(b"".join(encode_frame(answer, buffers)))


def _answered(model: Model, message: Any, buffers: list[bytes]) -> tuple[Any, list[Any]]:
    number = message["id"]
    try:
        outputs = model.predict(decode_tensors(message["inputs"], buffers))
        headers, answers = encode_tensors(outputs)
    except Exception as error:  # noqa: BLE001 a model may raise anything; MemoryError included, the next request may fit
        return {"id": number, "error": _told(error, "model-failed")}, []
    return {"id": number, "outputs": headers}, answers


def warm_up(model: Model) -> bool:
    """Predict on zeros, so that the first caller does not wait. True when rows of several requests may be joined.

    Raises: SandboxError: `model-outputs`: the outputs are not those of the signature; and whatever the model raises.
    """
    signature = model.signature
    _check_outputs(signature, model.predict(zeros(signature, rows=1)))
    specs = (*signature.inputs, *signature.outputs)
    if not signature.inputs or any(spec.shape[:1] != (-1,) for spec in specs):
        return False
    try:
        outputs = model.predict(zeros(signature, rows=2))
    except Exception:  # noqa: BLE001 some graphs say "any number of rows" and mean one
        return False
    return all(outputs[spec.name].shape[:1] == (2,) for spec in signature.outputs)


def zeros(signature: Signature, *, rows: int) -> dict[str, Array]:
    """An input of zeros or empty strings: free first dimensions become `rows`, other free ones 1."""
    return {spec.name: _zero(spec, rows) for spec in signature.inputs}


def _zero(spec: TensorSpec, rows: int) -> Array:
    shape = [size if size >= 0 else (rows if axis == 0 else 1) for axis, size in enumerate(spec.shape)]
    fill: Any = "" if spec.datatype == "BYTES" else 0
    return np.full(shape, fill, dtype=DATATYPES[spec.datatype])


def _check_outputs(signature: Signature, outputs: Mapping[str, Array]) -> None:
    for spec in signature.outputs:
        array = outputs.get(spec.name)
        if array is None or datatype_of(array.dtype) != spec.datatype or array.ndim != len(spec.shape):
            raise SandboxError(f"The output {spec.name!r} is not what the model declares.", code="model-outputs")


def _told(error: Exception, code: str) -> dict[str, str]:
    if isinstance(error, CasemateError):
        return {"code": error.code, "message": error.message[:_CLIP]}
    return {"code": code, "message": f"{type(error).__name__}: {error}"[:_CLIP]}
