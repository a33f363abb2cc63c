"""Writes framework_allowlist.json: what Keras' files may build, TensorFlow's graphs may do, and PyTorch's pickles may import.

    python -m casemate.scanning.make_framework_allowlist keras tensorflow
    python -m casemate.scanning.make_framework_allowlist torch

A development tool, for a Python that has the named libraries; what is not named keeps its list. None of them is needed to scan.
Run it after an update of the libraries, and read the difference.
"""

from __future__ import annotations

import importlib
import json
import sys
from pathlib import Path
from typing import Any

_TARGET = Path(__file__).with_name("framework_allowlist.json")
_KERAS_ROOMS = (
    "activations", "constraints", "initializers", "layers", "losses", "metrics", "models", "optimizers",
    "optimizers.schedules", "quantizers", "regularizers",
)  # fmt: skip
# They run what their configuration says, load files that it names, or wrap what Keras does not know.
_KERAS_NEVER = {"Lambda", "TFSMLayer", "JaxLayer", "FlaxLayer", "TorchModuleWrapper", "deserialize", "serialize", "get"}
# They reach files, other processes, the network, or Python.
_TENSORFLOW_NEVER = (
    "File", "Directory", "Save", "Restore", "PyFunc", "EagerPyFunc", "Checkpoint", "Download", "Socket", "Rpc", "Dataset",
    "Reader", "Writer", "Summary", "Print", "Assert", "InitializeTable", "MakeDirectory", "Debug", "Send", "Recv", "Collective",
    "TPU", "Audio", "DecodeProto", "EncodeProto", "Timestamp", "Sql", "LMDB", "Bigtable", "Kafka", "Env", "Xla", "Remote",
)  # fmt: skip


def keras() -> list[list[str]]:
    import keras as library  # type: ignore[import-not-found, import-untyped, unused-ignore]

    found = {("keras.src.models.functional", "Functional"), ("keras", "DTypePolicy"), ("keras", "Variable")}
    found |= {
        ("keras.src.models.sequential", "Sequential"),
        ("keras", "Sequential"),
        ("keras.dtype_policies", "DTypePolicy"),
    }
    for room in _KERAS_ROOMS:
        module: Any = importlib.import_module(f"{library.__name__}.{room}")
        for name in dir(module):
            if callable(getattr(module, name)) and not name.startswith("_") and name not in _KERAS_NEVER:
                found.add((f"keras.{room}", name))
    return sorted(map(list, found))


def tensorflow() -> list[str]:
    from tensorflow.python.framework import op_def_registry  # type: ignore[import-not-found, import-untyped, unused-ignore]
    from tensorflow.python.ops import gen_array_ops  # type: ignore[import-not-found, import-untyped, unused-ignore]

    rooms = (
        "array control_flow data_flow functional image linalg list logging lookup math nn parsing random ragged_array"
    )
    rooms += " ragged_math resource_variable sparse special_math state stateful_random stateless_random string bitwise"
    names = set()
    for room in (f"gen_{room}_ops" for room in rooms.split()):
        try:
            module: Any = importlib.import_module(f"{gen_array_ops.__name__.rpartition('.')[0]}.{room}")
        except ModuleNotFoundError:
            continue
        names |= {name for name in dir(module) if not name.startswith("_")}
    names = {name for name in names if op_def_registry.get(name) is not None}
    return sorted(name for name in names if not any(word in name for word in _TENSORFLOW_NEVER))


def torch_names() -> list[list[str]]:
    import torch.nn  # type: ignore[import-not-found, import-untyped, unused-ignore]
    from torch import _weights_only_unpickler as library  # type: ignore[import-not-found, import-untyped, unused-ignore]

    allowed = library._get_allowed_globals()  # noqa: SLF001 what torch.load(weights_only=True) allows is told nowhere else
    names = {tuple(name.rpartition(".")[::2]) for name in allowed}
    layers = [kind for kind in vars(torch.nn).values() if isinstance(kind, type) and issubclass(kind, torch.nn.Module)]
    names |= {(kind.__module__, kind.__name__) for kind in layers}  # whole modules, as torch.save(model) writes them
    names |= {("torch.nn.modules.linear", "NonDynamicallyQuantizableLinear")}
    return sorted(map(list, names))


def main() -> None:
    lists = json.loads(_TARGET.read_text()) if _TARGET.exists() else {"made_with": {}}
    for name in sys.argv[1:]:
        lists[name] = {"keras": keras, "tensorflow": tensorflow, "torch": torch_names}[name]()
        lists["made_with"][name] = importlib.import_module(name).__version__
        sys.stderr.write(f"{name}: {len(lists[name])}\n")
    _TARGET.write_text(json.dumps(lists, indent=1) + "\n")


if __name__ == "__main__":
    main()
