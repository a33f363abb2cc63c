"""Hostile and broken ONNX, safetensors, skops and NumPy models, and side files: name -> ({path: bytes}, finding)."""

from __future__ import annotations

import itertools
import json
import struct
import zlib

import onnx
from evil_archives import npy, zipped
from onnx import TensorProto, helper
from opcodes import TOUCH, call_4

EVIL = call_4("posix", "system", TOUCH)
Files = dict[str, bytes]
EXTERNAL, TENSOR, OPERATOR = "onnx-external-data", "onnx-bad-tensor", "onnx-unknown-operator"
WEIGHTS = "onnx-weights-file"


def add_model(weight: TensorProto, *, op: str = "Add", domain: str = "", functions: tuple = ()) -> onnx.ModelProto:
    """Y = X + w."""
    given = helper.make_tensor_value_info("X", TensorProto.FLOAT, [None, 4])
    taken = helper.make_tensor_value_info("Y", TensorProto.FLOAT, [None, 4])
    node = helper.make_node(op, ["X", "w"], ["Y"], domain=domain)
    graph = helper.make_graph([node], "g", [given], [taken], [weight])
    sets = [helper.make_opsetid("", 18)] + ([helper.make_opsetid(domain, 1)] if domain else [])
    return helper.make_model(graph, opset_imports=sets, ir_version=9, functions=functions, producer_name="test")


def weight() -> TensorProto:
    return helper.make_tensor("w", TensorProto.FLOAT, [4], struct.pack("<4f", 1, 2, 3, 4), raw=True)


def outside(*more: TensorProto, **entries: str) -> onnx.ModelProto:
    model = add_model(weight_outside(**entries))
    model.graph.initializer.extend(more)
    return model


def weight_outside(
    name: str = "w", dims: tuple[int, ...] = (4,), kind: int = TensorProto.FLOAT, **entries: str
) -> TensorProto:
    tensor = TensorProto(name=name, data_type=kind, dims=dims, data_location=TensorProto.EXTERNAL)
    for key, value in entries.items():
        tensor.external_data.add(key=key, value=value)
    return tensor


def whole_file(name: str, data: bytes) -> TensorProto:
    """A tensor of bytes that claims all of a file."""
    return weight_outside("all", (len(data),), TensorProto.UINT8, location=name)


def _external() -> dict[str, tuple[Files, str]]:
    where = {
        "absolute": "/etc/passwd",
        "parent": "../secret.bin",
        "parent-inside": "a/../../secret.bin",
        "missing": "nothing.bin",
        "itself": "model.onnx",
        "empty": "",
        "backslash": "..\\secret.bin",
        "url": "file:///etc/passwd",
    }
    cases = {
        f"onnx-external-{name}": ({"model.onnx": outside(location=location).SerializeToString()}, EXTERNAL)
        for name, location in where.items()
    }
    numbers = {
        "offset-beyond": {"offset": "4096"},
        "length-beyond": {"length": "4096"},
        "length-short": {"length": "4"},
        "offset-negative": {"offset": "-16"},
        "offset-huge": {"offset": "18446744073709551608"},
        "offset-no-number": {"offset": "0x10"},
    }
    for name, entries in numbers.items():
        model = outside(location="w.bin", **entries).SerializeToString()
        cases[f"onnx-external-{name}"] = ({"model.onnx": model, "w.bin": bytes(16)}, EXTERNAL)
    twice = outside(location="w.bin")
    twice.graph.initializer[0].external_data.add(key="location", value="/etc/passwd")
    cases["onnx-external-twice"] = ({"model.onnx": twice.SerializeToString(), "w.bin": bytes(16)}, EXTERNAL)
    both = outside(location="w.bin")
    both.graph.initializer[0].raw_data = bytes(16)
    cases["onnx-external-and-inside"] = ({"model.onnx": both.SerializeToString(), "w.bin": bytes(16)}, EXTERNAL)
    hidden = add_model(weight())
    hidden.graph.node[0].attribute.append(
        helper.make_attribute("t", outside(location="/etc/passwd").graph.initializer[0])
    )
    cases["onnx-external-in-attribute"] = ({"model.onnx": hidden.SerializeToString()}, EXTERNAL)
    return cases


def _weights() -> dict[str, tuple[Files, str]]:
    """What would pass for a file of weights, and be handed on or loaded as something else."""
    numbers = struct.pack("<4f", 1, 2, 3, 4)
    skops = hostile_skops()
    first = outside(location="m.skops", length="4")
    first.graph.initializer[0].dims[:] = [1]
    inside = add_model(weight())
    named = {
        "pickle": ("model.pkl", EVIL),
        "numbers-named-pickle": ("model.PKL", numbers),
        "numbers-named-pickle-dot": ("model.pkl.", numbers),
        "numbers-named-skops": ("m.skops", numbers),
        "numbers-named-onnx": ("other.onnx", numbers),
        "numbers-named-script": ("modeling.py", numbers),
        "numbers-named-archive": ("weights.tar.gz", numbers),
        "numbers-named-card": ("README.md", numbers),
        "skops": ("w.bin", skops),
        "pickle-by-content": ("w.bin", EVIL),
        "old-pickle-by-content": ("w.bin", b"cos\nsystem\n(Vtrue\ntR." + bytes(32)),
        "packed-pickle-by-content": ("w.bin", zlib.compress(EVIL)),
        "packed-pickle-cut-off": ("w.bin", zlib.compress(EVIL)[:-4]),
        "program": ("w.bin", b"\x7fELF\2\1\1" + bytes(64)),
        "script": ("w.bin", b"#!/bin/sh\ntrue\n"),
        "python": ("w.bin", b"import os\nos.system('true')\n"),
        "onnx": ("w.bin", inside.SerializeToString()),
        "safetensors": ("w.bin", tensors_file({"a": _entry(0, 16)})),
        "zip-at-the-end": ("w.bin", numbers + zipped({"payload.pkl": EVIL})),
        "empty": ("w.bin", b""),
    }
    cases = {
        name: {"model.onnx": add_outside(whole_file(path, data)), path: data} for name, (path, data) in named.items()
    }
    cases["graph-before-skops"] = {"graph": first.SerializeToString(), "m.skops": skops}
    spans = {
        "bytes-before": outside(location="w.bin", offset="16"),
        "bytes-behind": outside(location="w.bin"),
        "overlap": outside(weight_outside("v", (5,), location="w.bin", offset="12"), location="w.bin"),
    }
    cases |= {
        name: {"model.onnx": model.SerializeToString(), "w.bin": bytes(range(200, 232))}
        for name, model in spans.items()
    }
    cases["much-padding"] = {
        "model.onnx": outside(location="w.bin", offset=str(1 << 16)).SerializeToString(),
        "w.bin": bytes(1 << 16) + numbers,
    }
    broken = {
        "wrong-inputs": add_model(weight_outside("other", location="w.bin")),
        "output-twice": outside(location="w.bin"),
    }
    broken["output-twice"].graph.node.append(helper.make_node("Neg", ["X"], ["Y"]))
    invalid = {name: {"model.onnx": model.SerializeToString(), "w.bin": numbers} for name, model in broken.items()}
    return {f"onnx-weights-{name}": (files, WEIGHTS) for name, files in cases.items()} | {
        f"onnx-weights-{name}": (files, "onnx-invalid") for name, files in invalid.items()
    }


def add_outside(tensor: TensorProto) -> bytes:
    """Y = X + w, and one more tensor that no operator reads."""
    model = add_model(weight())
    model.graph.initializer.append(tensor)
    return model.SerializeToString()


def hostile_skops() -> bytes:
    """Names a function; no estimator needs one."""
    node = _node("exp", "numpy", "FunctionNode", content={}, protocol=2, _skops_version="0.16.0")
    return zipped({"schema.json": json.dumps(node).encode()})


def _tensors() -> dict[str, tuple[Files, str]]:
    cases = {}
    for name, dims in {
        "overflow": [1 << 32, 1 << 32],
        "negative": [-4],
        "too-many": [2] * 100,
        "too-few-bytes": [5],
    }.items():
        tensor = weight()
        del tensor.dims[:]
        tensor.dims.extend(dims)
        cases[f"onnx-tensor-{name}"] = ({"model.onnx": add_model(tensor).SerializeToString()}, TENSOR)
    kind = weight()
    kind.data_type = 99
    cases["onnx-tensor-no-type"] = ({"model.onnx": add_model(kind).SerializeToString()}, TENSOR)
    typed = TensorProto(name="w", data_type=TensorProto.FLOAT, dims=[4], float_data=[1.0])
    cases["onnx-tensor-too-few-values"] = ({"model.onnx": add_model(typed).SerializeToString()}, TENSOR)
    return cases


def _functions(depth: int) -> tuple:
    """Each function calls the one below ten times."""
    sets = [helper.make_opsetid("", 18), helper.make_opsetid("bomb", 1)]
    made = []
    for level in range(depth):
        domain, op = ("bomb", f"f{level - 1}") if level else ("", "Identity")
        names = [f"v{n}" for n in range(11)]
        nodes = [helper.make_node(op, [a], [b], domain=domain) for a, b in itertools.pairwise(names)]
        made.append(helper.make_function("bomb", f"f{level}", ["v0"], ["v10"], nodes, sets))
    return tuple(made)


def _graphs() -> dict[str, tuple[Files, str]]:
    good = add_model(weight()).SerializeToString()
    recursive = _functions(1)
    recursive[0].node[0].op_type, recursive[0].node[0].domain = "f0", "bomb"
    cases = {
        "onnx-custom-domain": (add_model(weight(), domain="evil.corp", op="Run"), OPERATOR),
        "onnx-unknown-op": (add_model(weight(), op="RunShell"), OPERATOR),
        "onnx-pytorch-op": (add_model(weight(), domain="ai.onnx.contrib", op="PyOp"), OPERATOR),
        "onnx-ep-context": (add_model(weight(), domain="com.microsoft", op="EPContext"), OPERATOR),
        "onnx-function-bomb": (add_model(weight(), op="f9", domain="bomb", functions=_functions(10)), "scan-limit"),
        "onnx-function-cycle": (add_model(weight(), op="f0", domain="bomb", functions=recursive), "onnx-invalid"),
        "onnx-wrong-inputs": (add_model(helper.make_tensor("other", TensorProto.FLOAT, [1], [1.0])), "onnx-invalid"),
    }
    files = {name: ({"model.onnx": model.SerializeToString()}, finding) for name, (model, finding) in cases.items()}
    broken = {
        "onnx-cut-off": good[:-3],
        "onnx-appended": good + EVIL,
        "onnx-unknown-field": good + b"\xfa\x7f\x01a",
        "onnx-graph-twice": good + b"\x3a\x00",
        "onnx-no-graph": b"\x08\x09\x42\x02\x10\x12",
        "onnx-deep": b"\x08\x09" + _nested_graphs(200),
    }
    files |= {name: ({"model.onnx": data}, "onnx-malformed") for name, data in broken.items()}
    doc = add_model(weight())
    doc.graph.doc_string = ""
    zip_inside = zipped({"payload.pkl": EVIL})
    tensor = helper.make_tensor("w", TensorProto.UINT8, [len(zip_inside)], zip_inside, raw=True)
    poly = onnx.ModelProto()
    poly.CopyFrom(add_model(weight()))
    poly.metadata_props.add(key="zip", value="x")
    poly.graph.initializer.append(tensor)
    raw = poly.SerializeToString()
    files["onnx-zip-polyglot"] = ({"model.onnx": raw}, "polyglot")
    return files


def _nested_graphs(depth: int) -> bytes:
    body = b""
    for _ in range(depth):
        for field in (6, 5, 1):  # an attribute's graph, a node's attribute, a graph's node
            body = bytes([field << 3 | 2]) + _varint(len(body)) + body
    return b"\x3a" + _varint(len(body)) + body


def _varint(number: int) -> bytes:
    out = b""
    while number > 127:
        out, number = out + bytes([number & 127 | 128]), number >> 7
    return out + bytes([number])


def tensors_file(header: object, data: bytes = bytes(16), *, size: int | None = None) -> bytes:
    raw = header if isinstance(header, bytes) else json.dumps(header).encode()
    return struct.pack("<Q", len(raw) if size is None else size) + raw + data


def _entry(start: int, stop: int, dtype: str = "F32", shape: object = None) -> dict:
    return {"dtype": dtype, "shape": [(stop - start) // 4] if shape is None else shape, "data_offsets": [start, stop]}


def _safetensors() -> dict[str, tuple[Files, str]]:
    two = (
        b'{"a":{"dtype":"F32","shape":[4],"data_offsets":[0,16]},"a":{"dtype":"F32","shape":[4],"data_offsets":[0,16]}}'
    )
    broken = {
        "header-beyond-file": tensors_file({"a": _entry(0, 16)}, size=1 << 20),
        "header-huge": tensors_file({"a": _entry(0, 16)}, size=(1 << 56) - 1),
        "header-no-json": tensors_file(b"{not json at all}"),
        "header-nan": tensors_file(b'{"a":NaN}'),
        "header-deep": tensors_file(b'{"a":' + b"[" * 5000 + b"]" * 5000 + b"}"),
        "duplicate-key": tensors_file(two),
        "overlap": tensors_file({"a": _entry(0, 12), "b": _entry(8, 16)}),
        "gap": tensors_file({"a": _entry(0, 4), "b": _entry(8, 16)}),
        "beyond-end": tensors_file({"a": _entry(0, 1 << 20)}),
        "trailing-bytes": tensors_file({"a": _entry(0, 16)}, bytes(16) + EVIL),
        "shape-disagrees": tensors_file({"a": _entry(0, 16, shape=[400])}),
        "shape-overflow": tensors_file({"a": _entry(0, 16, shape=[1 << 32, 1 << 32, 1 << 32])}),
        "shape-negative": tensors_file({"a": _entry(0, 16, shape=[-4])}),
        "shape-bool": tensors_file({"a": _entry(0, 16, shape=[True, 4])}),
        "offsets-reversed": tensors_file({"a": {"dtype": "F32", "shape": [], "data_offsets": [16, 0]}}),
        "no-such-type": tensors_file({"a": _entry(0, 16, dtype="PICKLE")}),
        "unknown-key": tensors_file({"a": _entry(0, 16) | {"exec": "x"}}),
        "metadata-no-text": tensors_file({"__metadata__": {"a": {"b": 1}}, "a": _entry(0, 16)}),
    }
    return {f"safetensors-{n}": ({"model.safetensors": d}, "safetensors-malformed") for n, d in broken.items()}


def _node(name: str, module: str, loader: str, **more: object) -> dict:
    return {"__class__": name, "__module__": module, "__loader__": loader, "__id__": 1, **more}


def _skops() -> dict[str, tuple[Files, str]]:
    def model(node: dict, **members: bytes) -> Files:
        schema = json.dumps(node | {"protocol": 2, "_skops_version": "0.16.0"}).encode()
        return {"model.skops": zipped({"schema.json": schema} | {f"{n}.npy": d for n, d in members.items()})}

    array = _node("ndarray", "numpy", "NdArrayNode", type="numpy", file="1.npy")
    numbers = npy("<f8", "(1,)", bytes(8))
    twice = b'{"__class__":"SVC","__class__":"Popen","__module__":"x","__loader__":"ObjectNode","protocol":2}'
    return {
        "skops-os-system": (model(_node("system", "os", "FunctionNode", content={})), "skops-forbidden-type"),
        "skops-popen": (model(_node("Popen", "subprocess", "ObjectNode", content={})), "skops-forbidden-type"),
        "skops-method": (model(_node("SVC", "sklearn.svm._classes", "MethodNode", content={})), "skops-forbidden-type"),
        "skops-partial": (model(_node("partial", "functools", "PartialNode", content={})), "skops-forbidden-type"),
        "skops-operator": (model(_node("attrgetter", "operator", "OperatorFuncNode")), "skops-forbidden-type"),
        "skops-nested": (
            model(_node("dict", "builtins", "DictNode", content={"a": [_node("eval", "builtins", "TypeNode")]})),
            "skops-forbidden-type",
        ),
        "skops-duplicate-key": ({"model.skops": zipped({"schema.json": twice})}, "skops-malformed"),
        "skops-no-json": ({"model.skops": zipped({"schema.json": b"{"})}, "skops-malformed"),
        "skops-extra-file": (model(array, **{"1": numbers, "2": EVIL}), "skops-malformed"),
        "skops-missing-file": (model(array), "skops-malformed"),
        "skops-object-array": (model(array, **{"1": npy("|O", "(1,)", EVIL)}), "numpy-object-array"),
        "skops-array-lies": (model(array, **{"1": npy("<f8", "(9,)", bytes(8))}), "numpy-malformed"),
        "skops-half-node": (model({"__class__": "SVC", "__module__": 1}), "skops-malformed"),
    }


def _others() -> dict[str, tuple[Files, str]]:
    good = add_model(weight()).SerializeToString()
    alone: dict[str, tuple[bytes, str]] = {
        "npy-objects": (npy("|O", "(1,)", EVIL), "numpy-object-array"),
        "npy-header-code": (npy("<f8", "__import__('os')", bytes(8)), "numpy-malformed"),
        "npy-too-short": (npy("<f8", "(9,)", bytes(8)), "numpy-malformed"),
        "npy-plain": (npy("<f8", "(1,)", bytes(8)), "format-unsupported"),
        "hdf5": (b"\x89HDF\r\n\x1a\n" + bytes(64), "format-unsupported"),
        "hdf5-shifted": (bytes(512) + b"\x89HDF\r\n\x1a\n" + bytes(64), "format-unsupported"),
        "gguf": (b"GGUF\3\0\0\0" + bytes(64), "gguf-malformed"),
        "tflite": (b"\x1c\0\0\0TFL3" + bytes(64), "format-unsupported"),
        "savedmodel": (b"\x08\x01\x12\x85\x40" + bytes(64), "tensorflow-malformed"),
        "lightgbm": (b"tree\nversion=v4\nnum_class=1\n", "booster-malformed"),
        "xgboost": (b'{"learner":{"gradient_booster":{}},"version":[2,0,0]}', "booster-malformed"),
        "xgboost-binary": (b"binf" + bytes(64), "booster-legacy-format"),
        "elf": (b"\x7fELF\2\1\1" + bytes(64), "executable-file"),
        "script": (b"#!/bin/sh\ntrue\n", "executable-file"),
        "noise": (bytes(range(255, 127, -1)) * 9, "format-unknown"),
        "zeros": (bytes(4096), "format-unknown"),
        "empty": (b"", "no-model"),
        "only-text": (b"just some words\n", "no-model"),
    }
    cases = {name: ({"model.bin": data}, finding) for name, (data, finding) in alone.items()}
    card = {"model.onnx": good}
    return cases | {
        "beside-pickle": (card | {"preprocess.pkl": EVIL}, "pickle-forbidden-import"),
        "beside-pickle-as-card": (card | {"README.md": b"cos\nsystem\n(Vtrue\ntR."}, "pickle-forbidden-import"),
        "beside-two-models": (card | {"other.onnx": good}, "several-models"),
        "beside-script": (card | {"modeling.py": b"import os\n"}, "side-file-refused"),
        "beside-json-twice": (card | {"config.json": b'{"a":1,"a":2}'}, "json-malformed"),
        "beside-huge-text": (card | {"README.md": b"a" * (5 << 20)}, "side-file-refused"),
        "named-otherwise": ({"model.skops": good}, "name-misleads"),
        "pickle-named-onnx": ({"model.onnx": EVIL}, "pickle-forbidden-import"),
        "pickle-named-safetensors": ({"model.safetensors": EVIL}, "pickle-forbidden-import"),
        "pickle-named-json": (card | {"config.json": EVIL}, "pickle-forbidden-import"),
    }


def all_models() -> dict[str, tuple[Files, str]]:
    return _external() | _weights() | _tensors() | _graphs() | _safetensors() | _skops() | _others()
