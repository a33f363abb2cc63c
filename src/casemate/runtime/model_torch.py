"""PyTorch's TorchScript files and exported programs, inside the sandbox; both come with their graph, a state_dict does not.

The scan has read every member of the archive before. Here pickles are loaded with `weights_only`, whatever the library asks for,
and guards, which are Python source in the file, are not compiled. Source: pytorch.org, torch.export and torch.jit;
torch/export/pt2_archive/_package.py.
"""

from __future__ import annotations

import os
import tempfile
import zipfile
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import Any

os.environ["TORCH_FORCE_WEIGHTS_ONLY_LOAD"] = "1"  # read at each load; no caller can ask for less
os.environ["TORCHINDUCTOR_CACHE_DIR"] = tempfile.tempdir = "/"  # asked for as it loads; nothing here can write there

import msgspec
import numpy as np
import torch

from casemate.core import DATATYPES, SandboxError, Signature, TensorSpec
from casemate.runtime.tensors import Array, datatype_of
from casemate.runtime.worker import Files, serve_model, zeros
from casemate.sandbox import Channel

TOLD = "signature.json"  # beside the model: what it takes, where TorchScript does not say
_MOST_TOLD = 1 << 20  # bytes
_DTYPES = {getattr(torch, name): datatype for datatype, name in DATATYPES.items() if hasattr(torch, name)}
_KINDS = {datatype: dtype for dtype, datatype in _DTYPES.items()}
_HELP = (
    'put signature.json beside it, as {"inputs": [{"name": "x", "datatype": "FP32", "shape": [-1, 3, 32, 32]}]}, '
    "or save it with torch.export, which keeps them"
)


class _Told(msgspec.Struct, forbid_unknown_fields=True):
    inputs: tuple[TensorSpec, ...]
    outputs: tuple[str, ...] = ()


class TorchModel:
    """A graph that takes tensors by position; its outputs are named as the graph names them, or `output`, `output_1`, ..."""

    def __init__(self, call: Callable[..., Any], given: Sequence[TensorSpec], names: Sequence[str] = ()) -> None:
        """Args: names: of the outputs, where somebody told them."""
        self._call, self._given, self._names = call, tuple(given), tuple(names)
        whole = Signature(inputs=self._given, outputs=(), runtime="torch")
        one = self.predict(zeros(whole, rows=1))
        two = self._for_two(whole)
        outputs = tuple(
            TensorSpec(
                name=name, datatype=datatype_of(array.dtype), shape=_free(array.shape, two.get(name, array).shape)
            )
            for name, array in one.items()
        )
        self.signature = Signature(inputs=self._given, outputs=outputs, runtime="torch")

    def predict(self, inputs: Mapping[str, Array]) -> dict[str, Array]:
        tensors = [torch.from_numpy(np.array(inputs[spec.name])) for spec in self._given]
        with torch.inference_mode():
            return _named(self._call(*tensors), self._names)

    def _for_two(self, whole: Signature) -> dict[str, Array]:
        """What it gives for two rows; nothing where its inputs fix their number, or the graph takes one row only."""
        if any(spec.shape[:1] != (-1,) for spec in self._given):
            return {}
        try:
            return self.predict(zeros(whole, rows=2))
        except Exception:  # noqa: BLE001 a graph may raise anything; one row is what it takes, then
            return {}


def load(files: Files) -> TorchModel:
    """Raises: SandboxError `model-io`: its inputs or outputs are no plain tensors, or nobody says their shapes; whatever
    torch raises.
    """
    torch.set_num_threads(files.threads)
    torch.set_num_interop_threads(1)
    path = files.open_path()
    with zipfile.ZipFile(path) as archive:
        exported = any(name.endswith("models/model.json") for name in archive.namelist())
    with Path(path).open("rb") as file:
        return _load_program(file) if exported else _load_script(file, files)


# torch.export ------------------------------------------------------------------------------------------------------
def _load_program(file: Any) -> TorchModel:
    import torch.export.pt2_archive._package as archives  # with the compiler behind it; scripts need neither

    program = archives.load_pt2(file).exported_programs["model"]
    wanted = list(program.graph_signature.user_inputs)
    nodes = {node.name: node.meta["val"] for node in program.graph.find_nodes(op="placeholder")}
    spec = program.call_spec.in_spec
    flat = spec is not None and len(spec.children()) == 2 and spec.child(0).num_children == len(wanted)
    if not flat or any(not isinstance(nodes.get(name), torch.Tensor) for name in wanted):
        raise SandboxError(
            "The program takes something else than tensors, one after the other: export a model that does.",
            code="model-io",
        )
    called = program.module_call_graph[0].signature
    names = list((called and called.forward_arg_names) or ()) or wanted
    if len(names) != len(wanted):
        names = wanted
    given = [
        _spec(name, nodes[node].dtype, map(_size, nodes[node].shape)) for name, node in zip(names, wanted, strict=True)
    ]
    return TorchModel(program.module(check_guards=False), given)


def _size(size: Any) -> int:
    return size if type(size) is int else -1


# TorchScript -------------------------------------------------------------------------------------------------------
def _load_script(file: Any, files: Files) -> TorchModel:
    module = torch.jit.load(file, map_location="cpu", _restore_shapes=True).eval()
    wanted = [one for one in module.forward.schema.arguments[1:] if not one.has_default_value()]
    if any(one.type.kind() != "TensorType" for one in wanted):
        raise SandboxError("The script takes something else than tensors: script a model that does.", code="model-io")
    if told := _told(files):
        return TorchModel(module, told.inputs, told.outputs)
    names = [one.name for one in wanted]
    for given in _guesses(module, names):
        try:
            model = TorchModel(module, given)
        except Exception:  # noqa: BLE001, S112 a shape that it does not take
            continue
        return model
    raise SandboxError(f"TorchScript does not say the shapes of its inputs: {_HELP}.", code="model-io")


def _told(files: Files) -> _Told | None:
    """What `signature.json` in the model's folder says. Raises: SandboxError."""
    folder = files.model.rpartition("/")[0]
    fd = files.fds.get(f"{folder}/{TOLD}" if folder else TOLD)
    if fd is None:
        return None
    try:
        return msgspec.json.decode(os.pread(fd, _MOST_TOLD, 0), type=_Told)
    except ValueError as error:
        raise SandboxError(f"{TOLD} is not as it should be ({error}): {_HELP}.", code="model-io") from None


def _guesses(module: Any, names: list[str]) -> list[list[TensorSpec]]:
    """Shapes that it may take: those it was traced with, with any number of rows or that one; or one table, as wide as a matrix."""
    kinds = [value.type() for value in list(module.graph.inputs())[1 : len(names) + 1]]
    traced = [(kind.sizes(), kind.dtype()) for kind in kinds if kind.kind() == "TensorType"]
    found = []
    if len(traced) == len(names) and all(sizes and dtype in _DTYPES for sizes, dtype in traced):
        pairs = list(zip(names, traced, strict=True))
        found.append([_spec(name, dtype, (-1, *sizes[1:])) for name, (sizes, dtype) in pairs])
        found.append([_spec(name, dtype, sizes) for name, (sizes, dtype) in pairs])
    elif len(names) == 1:
        weights = [weight for weight in module.parameters() if weight.dim() == 2 and weight.dtype in _DTYPES]
        found += [[_spec(names[0], weight.dtype, (-1, weight.shape[1]))] for weight in weights[:8]]
    return found


# both --------------------------------------------------------------------------------------------------------------
def _spec(name: str, dtype: Any, shape: Any) -> TensorSpec:
    if dtype not in _DTYPES:
        raise SandboxError(f"{name!r} is {dtype}, which cannot be served: give it float32.", code="model-io")
    return TensorSpec(name=name, datatype=_DTYPES[dtype], shape=tuple(shape))


def _free(one: Sequence[int], two: Sequence[int]) -> tuple[int, ...]:
    """The shape of one row's answer, free where that of two rows differs."""
    return tuple(a if a == b else -1 for a, b in zip(one, two, strict=True))


def _named(answer: Any, names: Sequence[str]) -> dict[str, Array]:
    """Raises: SandboxError `model-io`: something else than tensors, alone, in a row, or by name."""
    if isinstance(answer, Mapping):
        found = list(answer.items())
    elif isinstance(answer, tuple | list):
        own = getattr(answer, "_fields", [f"output_{place}" for place in range(len(answer))])
        found = list(zip(own, answer, strict=True))
    else:
        found = [("output", answer)]
    if names:
        found = list(zip(names, (value for _, value in found), strict=True))
    if not all(isinstance(value, torch.Tensor) and value.dtype in _DTYPES for _, value in found):
        raise SandboxError(
            "The model gives something else than tensors of numbers, alone, in a tuple or by name.", code="model-io"
        )
    return {str(name): value.numpy(force=True) for name, value in found}


def serve(channel: Channel, _args: dict[str, Any]) -> None:
    """The worker's entry."""
    serve_model(channel, load)
