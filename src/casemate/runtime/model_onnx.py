"""ONNX models, inside the sandbox. onnxruntime is loaded before the walls stand, a model only afterwards."""

from __future__ import annotations

import mmap
import os
from collections.abc import Mapping
from typing import Any

os.environ["ORT_DISABLE_TELEMETRY"] = "1"  # read when the library loads

import onnxruntime

from casemate.core import SandboxError, Signature, TensorSpec
from casemate.runtime.tensors import Array
from casemate.runtime.worker import Files, serve_model
from casemate.sandbox import Channel

onnxruntime.disable_telemetry_events()
onnxruntime.set_default_logger_severity(3)  # errors only: its warnings quote the model

_DATATYPES = {
    "tensor(bool)": "BOOL",
    "tensor(uint8)": "UINT8",
    "tensor(uint16)": "UINT16",
    "tensor(uint32)": "UINT32",
    "tensor(uint64)": "UINT64",
    "tensor(int8)": "INT8",
    "tensor(int16)": "INT16",
    "tensor(int32)": "INT32",
    "tensor(int64)": "INT64",
    "tensor(float16)": "FP16",
    "tensor(float)": "FP32",
    "tensor(double)": "FP64",
    "tensor(string)": "BYTES",
}


class OnnxModel:
    """An inference session with bounded threads and no custom operators."""

    def __init__(self, session: onnxruntime.InferenceSession) -> None:
        self._session = session
        self.signature = Signature(
            inputs=tuple(map(_spec, session.get_inputs())),
            outputs=tuple(map(_spec, session.get_outputs())),
            runtime="onnx",
        )
        self._names = [spec.name for spec in self.signature.outputs]

    def predict(self, inputs: Mapping[str, Array]) -> dict[str, Array]:
        return dict(zip(self._names, self._session.run(self._names, dict(inputs)), strict=True))


def load(files: Files) -> OnnxModel:
    """Raises: SandboxError: `model-io` for inputs or outputs that are no tensors; whatever onnxruntime raises."""
    options = onnxruntime.SessionOptions()
    options.intra_op_num_threads = files.threads
    options.inter_op_num_threads = 1
    options.execution_mode = onnxruntime.ExecutionMode.ORT_SEQUENTIAL
    options.add_session_config_entry("session.intra_op.allow_spinning", "0")  # two workers on one core share it
    # The arena never gives back what one large request took; without it the allocator of the C library decides.
    options.enable_cpu_mem_arena = False
    kept = _add_weights(options, files)
    session = onnxruntime.InferenceSession(files.open_path(), options, providers=["CPUExecutionProvider"])
    del kept  # the session has its own copy by now
    return OnnxModel(session)


def _add_weights(options: onnxruntime.SessionOptions, files: Files) -> list[mmap.mmap]:
    """Offer the sealed files beside the model by the names that it has for them, since no path leads to them.

    Names are relative to the model's own folder, as in ONNX's ExternalData.md. An empty file cannot be mapped, and no
    tensor's bytes lie in it. The maps must outlive the session's making.
    """
    folder = files.model.rpartition("/")[0]
    beside = f"{folder}/" if folder else ""
    names, maps = [], []
    for path, fd in files.fds.items():
        if path != files.model and path.startswith(beside) and os.fstat(fd).st_size:
            names.append(path.removeprefix(beside))
            maps.append(mmap.mmap(fd, 0, prot=mmap.PROT_READ))
    if maps:
        options.add_external_initializers_from_files_in_memory(names, maps, [len(data) for data in maps])
    return maps


def _spec(node: Any) -> TensorSpec:
    if node.type not in _DATATYPES:
        raise SandboxError(
            f"{node.name!r} is {node.type}, not a tensor that can be served: export the model without ZipMap.",
            code="model-io",
        )
    shape = tuple(size if isinstance(size, int) and size >= 0 else -1 for size in node.shape)
    return TensorSpec(name=node.name, datatype=_DATATYPES[node.type], shape=shape)


def serve(channel: Channel, _args: dict[str, Any]) -> None:
    """The worker's entry."""
    serve_model(channel, load)
