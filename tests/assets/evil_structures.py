"""Hostile files of formats that are read by their structure: Keras, SavedModel, GGUF, TorchScript, exported programs, hub folders.

Each technique is one that was published: advisories stand beside it where it has one. None needs its library to be made.
"""

from __future__ import annotations

import json
import struct
from typing import Any

from evil_archives import zipped
from evil_models import tensors_file
from opcodes import TOUCH, call_4, import_4, proto, text

Case = tuple[dict[str, bytes], str]
HDF5 = b"\x89HDF\r\n\x1a\n" + bytes(88)


# Keras ------------------------------------------------------------------------------------------------------------
def keras(*layers: dict[str, Any], metadata: bytes = b'{"keras_version": "3.15.1"}', **more: bytes) -> bytes:
    config = {
        "module": "keras", "class_name": "Sequential", "registered_name": "Sequential",
        "config": {"name": "sequential", "layers": list(layers)},
    }  # fmt: skip
    files = {"metadata.json": metadata, "config.json": json.dumps(config).encode(), "model.weights.h5": HDF5}
    return zipped(
        files
        | {name.replace("__pt", ".pt").replace("__py", ".py").replace("__", "/"): data for name, data in more.items()}
    )


def layer(name: str, module: str | None = "keras.layers", **config: Any) -> dict[str, Any]:
    return {"module": module, "class_name": name, "config": config, "registered_name": None}


def hdf5(config: dict[str, Any]) -> bytes:
    """Keras 2 keeps its configuration as text in an attribute."""
    return HDF5 + json.dumps(config).encode() + bytes(64)


def evil_keras() -> dict[str, tuple[bytes, str]]:
    function = {"module": "os", "class_name": "function", "config": "system", "registered_name": "function"}
    marshalled = {"class_name": "__lambda__", "config": {"code": "4wEAAAAA", "defaults": None, "closure": None}}
    code, odd = "keras-code", "keras-unknown-object"
    return {
        "lambda": (keras(layer("Lambda", function=marshalled)), code),  # CVE-2024-3660
        "lambda-in-activation": (keras(layer("Dense", activation=marshalled)), code),
        "module-of-choice": (keras(layer("Popen", "subprocess", args="true")), code),  # CVE-2025-1550
        "function-of-choice": (keras(layer("Dense", activation=function)), code),
        "unsafe-switch": (keras(layer("function", "keras.config", config="enable_unsafe_deserialization")), odd),  # CVE-2025-9906
        "get-file": (keras(layer("get_file", "keras.utils", fname="x", origin="http://localhost/x")), code),  # CVE-2025-8747
        "vocabulary-file": (keras(layer("StringLookup", vocabulary="/etc/passwd")), code),  # CVE-2025-12058
        "saved-model-layer": (keras(layer("TFSMLayer", filepath="/tmp/x")), code),
        "torch-wrapper": (keras(layer("TorchModuleWrapper", module="gA==")), code),
        "jax-layer": (keras(layer("JaxLayer", call_fn=function)), code),
        "flax-layer": (keras(layer("FlaxLayer")), code),
        "private-module": (keras(layer("Dense", "keras.src.layers.core.dense")), odd),
        "custom-object": (keras(layer("Mine", None) | {"registered_name": "package>Mine"}), odd),
        "unknown-layer": (keras(layer("Telnet")), odd),
        "saving-module": (keras(layer("load_model", "keras.saving", filepath="x.keras")), code),
        "deep-in-optimizer": (keras(layer("Adam", "keras.optimizers", schedule=layer("run", "os"))), code),
        "more-members": (keras(layer("Dense"), evil__py=b"import os\n"), "keras-malformed"),
        "pickle-in-assets": (keras(layer("Dense"), metadata=call_4("posix", "system", TOUCH)), "keras-malformed"),
        "config-is-a-list": (zipped({"metadata.json": b"{}", "config.json": b"[]", "model.weights.h5": HDF5}), "keras-malformed"),
        "config-key-twice": (
            zipped({"metadata.json": b"{}", "config.json": b'{"class_name":"a","class_name":"b"}', "model.weights.h5": HDF5}),
            "keras-malformed",
        ),
        "weights-no-hdf5": (
            zipped({"metadata.json": b"{}", "config.json": b'{"class_name":"Sequential","module":"keras"}', "model.weights.h5": b"x"}),
            "hdf5-malformed",
        ),
        "h5-lambda": (hdf5({"class_name": "Sequential", "config": [{"class_name": "Lambda", "config": {}}]}), code),  # CVE-2025-9905
        "h5-custom": (hdf5({"class_name": "Sequential", "config": [{"class_name": "Evil", "config": {}}]}), odd),
        "h5-module": (hdf5({"class_name": "Sequential", "config": {"module": "os", "class_name": "system", "config": "x"}}), code),
        "h5-behind-something": (bytes(512) + HDF5, "hdf5-malformed"),
    }  # fmt: skip


# TensorFlow -------------------------------------------------------------------------------------------------------
def field(number: int, value: bytes) -> bytes:
    size, length = b"", len(value)
    while True:
        size += bytes([length & 0x7F | (0x80 if length > 0x7F else 0)])
        length >>= 7
        if not length:
            return bytes([number << 3 | 2]) + size + value


def saved_model(*operators: str, functions: dict[str, list[str]] | None = None) -> bytes:
    def node(operator: str) -> bytes:
        return field(1, b"n") + field(2, operator.encode())

    library = b"".join(
        field(1, field(1, field(1, name.encode())) + b"".join(field(3, node(one)) for one in inner))
        for name, inner in (functions or {}).items()
    )
    graph = b"".join(field(1, node(one)) for one in operators) + (field(2, library) if library else b"")
    return b"\x08\x01" + field(2, field(2, graph) + field(1, b"\x22\x05serve"))


def evil_saved_models() -> dict[str, tuple[bytes, str]]:
    danger, unknown, broken = "tensorflow-dangerous-operator", "tensorflow-unknown-operator", "tensorflow-malformed"
    good = saved_model("Const", "MatMul", "Identity")
    names = (
        "ReadFile", "WriteFile", "MatchingFiles", "PyFunc", "EagerPyFunc", "Save", "Restore", "TextLineReaderV2", "TFRecordDataset",
        "PrintV2", "DebugIdentityV2", "ImmutableConst", "RpcCall", "InitializeTableFromTextFileV2", "SqlDataset", "LoadDataset",
    )  # fmt: skip
    cases = {name.lower(): (saved_model("Const", name), danger) for name in names}
    return cases | {
        "in-function": (saved_model("PartitionedCall", functions={"f": ["Const", "WriteFile"]}), danger),
        "custom-operator": (saved_model("Const", "EvilOp"), unknown),
        "operator-of-function-elsewhere": (saved_model("f", functions={"g": ["Const"]}), unknown),
        "cut-off": (good[:-5], broken),
        "no-graph": (b"\x08\x01\x12\x02\x12\x00" + bytes(0), broken),
        "field-behind-end": (b"\x08\x01\x12\xff\xff\xff\xff\x0f" + bytes(99), broken),
    }


# GGUF -------------------------------------------------------------------------------------------------------------
def gguf_text(value: str) -> bytes:
    return struct.pack("<Q", len(value.encode())) + value.encode()


def gguf(
    template: str = "", *, tensors: int | None = None, keys: int | None = None, shape: tuple[int, ...] = (4,), offset: int = 0,
    kind: int = 0, extra: bytes = b"", extra_keys: int = 0, version: int = 3, data: bytes = bytes(32), dimensions: int | None = None,
) -> bytes:  # fmt: skip
    values = gguf_text("general.architecture") + struct.pack("<I", 8) + gguf_text("llama")
    if template:
        values += gguf_text("tokenizer.chat_template") + struct.pack("<I", 8) + gguf_text(template)
    values += extra
    count = 1 + bool(template) + extra_keys if keys is None else keys
    tensor = gguf_text("w") + struct.pack("<I", len(shape) if dimensions is None else dimensions)
    tensor += struct.pack(f"<{len(shape)}Q", *shape) + struct.pack("<IQ", kind, offset)
    head = b"GGUF" + struct.pack("<IQQ", version, 1 if tensors is None else tensors, count) + values + tensor
    return head + bytes(-len(head) % 32) + data


TEMPLATES = {
    "subclasses": "{{ ''.__class__.__mro__[1].__subclasses__() }}",  # CVE-2024-34359
    "globals": "{{ cycler.__init__.__globals__.os.popen('id').read() }}",
    "lipsum": "{% set x = lipsum.__globals__ %}{{ x['os'].system('id') }}",
    "attr-filter": "{{ ()|attr('\\x5f\\x5fclass\\x5f\\x5f') }}",
    "joined-name": "{{ messages|attr(['_'*2,'class','_'*2]|join) }}",
    "map-attribute": "{{ messages|map(attribute='__class__')|list }}",
    "self-insides": "{{ self._TemplateReference__context }}",
    "include": "{% include '/etc/passwd' %}",
    "import": "{% import 'os' as os %}",
    "endless": "{% for i in range(999999999) %}x{% endfor %}",
    "format-map": "{{ '{0.a}'.format_map(x) }}",
    "joiner": "{{ joiner['__init__'] }}",
}


def evil_gguf() -> dict[str, tuple[bytes, str]]:
    broken = "gguf-malformed"
    array = gguf_text("a") + struct.pack("<I", 9)
    return {f"template-{name}": (gguf(template), "chat-template-code") for name, template in TEMPLATES.items()} | {
        "tensors-huge": (gguf(tensors=2**62), broken),  # CVE-2024-23496 and its like
        "keys-huge": (gguf(keys=2**63), broken),
        "key-length": (gguf(extra=struct.pack("<Q", 2**64 - 8) + b"x", extra_keys=1), broken),  # CVE-2024-21836
        "array-huge": (gguf(extra=array + struct.pack("<IQ", 4, 2**62), extra_keys=1), broken),  # CVE-2024-23605
        "array-nested": (gguf(extra=array + struct.pack("<IQ", 9, 1) * 9 + struct.pack("<IQ", 0, 1) + b"x", extra_keys=1), broken),
        "array-of-unknown": (gguf(extra=array + struct.pack("<IQ", 77, 1) + bytes(8), extra_keys=1), broken),
        "value-of-unknown": (gguf(extra=gguf_text("a") + struct.pack("<I", 77), extra_keys=1), broken),
        "key-twice": (
            gguf(extra=gguf_text("general.architecture") + struct.pack("<I", 8) + gguf_text("x"), extra_keys=1), broken,
        ),
        "shape-overflows": (gguf(shape=(2**32, 2**32)), broken),  # CVE-2025-53630
        "shape-huge": (gguf(shape=(2**62,)), broken),
        "dimensions": (gguf(dimensions=99), broken),  # CVE-2024-21825
        "offset-outside": (gguf(offset=2**40), broken),
        "offset-unaligned": (gguf(offset=3), broken),
        "type-unknown": (gguf(kind=99), broken),
        "version-unknown": (gguf(version=99), broken),
        "alignment-zero": (gguf(extra=gguf_text("general.alignment") + struct.pack("<II", 4, 0), extra_keys=1), broken),
        "alignment-odd": (gguf(extra=gguf_text("general.alignment") + struct.pack("<II", 4, 33), extra_keys=1), broken),
        "bool-is-nine": (gguf(extra=gguf_text("b") + struct.pack("<IB", 7, 9), extra_keys=1), broken),
        "cut-off": (gguf()[:40], broken),
        "hidden-tail": (gguf(data=bytes(32) + call_4("posix", "system", TOUCH) + bytes(64)), broken),
    }  # fmt: skip


# PyTorch ----------------------------------------------------------------------------------------------------------
def script(source: str, *, data: bytes = b"") -> bytes:
    honest = proto(2) + b"}."
    return zipped({
        "m/data.pkl": data or honest, "m/code/__torch__.py": source.encode(), "m/constants.pkl": honest, "m/version": b"3\n",
    })  # fmt: skip


def program(
    target: str, *, size: str = "Symbol('s7', integer=True)", guard: str = "2*L['x'].size()[0] <= 64", **members: bytes
) -> bytes:
    node = {"target": target, "inputs": [], "outputs": [], "metadata": {}}
    sizes = {"x": {"dtype": 7, "sizes": [{"as_expr": {"expr_str": size, "hint": {"as_int": 4}}}, {"as_int": 5}]}}
    described = {"graph_module": {"graph": {"nodes": [node], "tensor_values": sizes}}, "guards_code": [guard]}
    files = {"m/archive_format": b"pt2", "m/models/model.json": json.dumps(described).encode()}
    return zipped(
        files
        | {
            name.replace("__pt", ".pt").replace("__py", ".py").replace("__json", ".json").replace("__", "/"): data
            for name, data in members.items()
        }
    )


def evil_torch() -> dict[str, tuple[bytes, str]]:
    evil, code, export = call_4("posix", "system", TOUCH), "torchscript-dangerous-operator", "torch-export-malformed"
    good = "torch.ops.aten.add.Tensor"
    pickled = b'{"config": {"w": {"path_name": "weight_0", "is_param": true, "use_pickle": true, "tensor_meta": null}}}'
    tensor = proto(2) + import_4("torch._utils", "_rebuild_tensor_v2") + text("x") + b"\x85R."
    saved = zipped({"w/data.pkl": evil, "w/version": b"3\n"})
    sources = {
        "save": "def forward(self, x):\n  torch.save(x, '/tmp/x')\n",
        "aten-save": "def forward(self, x):\n  ops.aten.save(x, '/tmp/x')\n",
        "from-file": "def forward(self, x):\n  return torch.from_file('/etc/passwd', False, 9)\n",
        "aten-from-file": "def forward(self, x):\n  return ops.aten.from_file('/etc/passwd')\n",
        "other-library": "def forward(self, x):\n  return ops.evil.run(x)\n",
        "classes": "def forward(self, x):\n  return __torch__.torch.classes.evil.Shell(x)\n",
        "import": "import os\ndef forward(self, x):\n  return x\n",
        "python-name": "def forward(self, x):\n  return os.system(x)\n",
        "hub": "def forward(self, x):\n  return torch.hub.load(x)\n",
        "not-utf8": "",
    }
    cases = {f"script-{name}": (script(source), code) for name, source in sources.items() if source}
    return cases | {
        "script-pickle": (script("def forward(self, x):\n  return x\n", data=evil), "pickle-forbidden-import"),
        "export-calls-python": (program("os.system"), export),
        "export-custom-operator": (program("torch.ops.evil.run"), export),
        "export-methodcaller": (program("_operator.methodcaller"), export),
        "export-from-file": (program("torch.ops.aten.from_file.default"), export),
        "export-torchbind": (program("torch.ops.higher_order.call_torchbind"), export),
        "export-size-is-code": (program(good, size="__import__('os').system('true')"), export),  # sympy.sympify evaluates
        "export-size-attribute": (program(good, size="Symbol('s7').__class__"), export),
        "export-guard-is-code": (program(good, guard="__import__('os').system('true') == 0"), export),  # compiled by module()
        "export-guard-attribute": (program(good, guard="L['x'].__class__.size()[0] == 1"), export),
        "export-compiled-library": (program(good, m__data__aotinductor__model__x=b"\x7fELF" + bytes(60)), export),
        "export-opaque-object": (program(good, m__data__constants__opaque_obj_0=evil), export),  # pickle.loads, not weights_only
        "export-pickled-weight": (program(good, m__data__weights__weight_0=evil, m__data__weights__model_weights_config__json=pickled), "pickle-forbidden-import"),
        "export-two-folders": (program(good, other__models__model__json=b"{}"), export),
        "export-of-old": (zipped({"m/serialized_exported_program.json": b"{}", "m/version": b"8.2"}), export),
        "script-with-library": (zipped({"m/data.pkl": proto(2) + b"}.", "m/constants.pkl": proto(2) + b"}.", "m/lib/x.so": b"\x7fELF" + bytes(60)}), code),
        "script-debug-pickle": (zipped({"m/data.pkl": proto(2) + b"}.", "m/constants.pkl": proto(2) + b"}.", "m/code/a.py.debug_pkl": evil}), "pickle-forbidden-import"),
        "export-broken": (zipped({"m/archive_format": b"pt2", "m/models/model.json": b"{"}), export),
        "export-weights-pickle": (program("torch.ops.aten.add.Tensor", m__data__weights__w=saved, m__data__weights__w__pt=saved), "pickle-forbidden-import"),
        "export-sample-inputs": (program("torch.ops.aten.add.Tensor", m__data__sample_inputs__model__pt=saved), "pickle-forbidden-import"),
        "state-dict-calls": (zipped({"w/data.pkl": proto(2) + import_4("torch", "load") + b".", "w/version": b"3\n"}), "pickle-forbidden-import"),
        "tensor-then-payload": (zipped({"w/data.pkl": tensor[:-1] + b"0" + evil[2:], "w/version": b"3\n"}), "pickle-forbidden-import"),
    }  # fmt: skip


# Folders of hubs --------------------------------------------------------------------------------------------------
def evil_folders() -> dict[str, Case]:
    weights = {"model.safetensors": tensors_file({"a": {"dtype": "F32", "shape": [4], "data_offsets": [0, 16]}})}

    def beside(name: str, value: Any) -> dict[str, bytes]:
        return weights | {name: value if isinstance(value, bytes) else json.dumps(value).encode()}

    return {
        "auto-map": (beside("config.json", {"auto_map": {"AutoModel": "modeling_x.X"}}), "hub-custom-code"),
        "auto-map-elsewhere": (beside("config.json", {"auto_map": {"AutoModel": "nobody/evil--m.X"}}), "hub-custom-code"),
        "tokenizer-auto-map": (beside("tokenizer_config.json", {"auto_map": {"AutoTokenizer": ["t.T", None]}}), "hub-custom-code"),
        "nested-auto-map": (beside("config.json", {"text_config": {"auto_map": {"A": "b.C"}}}), "hub-custom-code"),
        "custom-pipeline": (beside("config.json", {"custom_pipelines": {"x": {"impl": "p.P"}}}), "hub-custom-code"),
        "trust-remote-code": (beside("config.json", {"trust_remote_code": True}), "hub-custom-code"),
        "hydra-target": (beside("config.json", {"model": {"_target_": "os.system", "command": "id"}}), "hub-custom-code"),
        "jsonpickle": (beside("config.json", {"py/reduce": [{"py/function": "os.system"}]}), "hub-custom-code"),
        "name-elsewhere": (beside("config.json", {"_name_or_path": "http://localhost/x"}), "hub-custom-code"),
        "code-file": (beside("modeling_x.py", b"import os\n"), "hub-custom-code"),
        "notebook": (beside("run.ipynb", {"cells": []}), "hub-custom-code"),
        "shell-script": (beside("setup.sh", b"true\n"), "hub-custom-code"),
        "library": (beside("ops.so", b"\x7fELF\2\1\1" + bytes(64)), "hub-custom-code"),
        "template": (beside("tokenizer_config.json", {"chat_template": TEMPLATES["subclasses"]}), "chat-template-code"),
        "template-file": (beside("chat_template.jinja", TEMPLATES["lipsum"].encode()), "chat-template-code"),
        "template-in-list": (
            beside("tokenizer_config.json", {"chat_template": [{"name": "a", "template": TEMPLATES["globals"]}]}), "chat-template-code",
        ),
        "pickle-beside": (beside("training_args.bin", call_4("posix", "system", TOUCH)), "pickle-forbidden-import"),
        "saved-model-with-pickle": (
            {"saved_model.pb": saved_model("Const"), "variables/variables.index": call_4("posix", "system", TOUCH)}, "pickle-forbidden-import",
        ),
    }  # fmt: skip


def all_structures() -> dict[str, Case]:
    cases: dict[str, Case] = {}
    for kind, found, name in (
        ("keras", evil_keras(), "model.keras"), ("savedmodel", evil_saved_models(), "saved_model.pb"),
        ("gguf", evil_gguf(), "model.gguf"), ("torch", evil_torch(), "model.pt"),
    ):  # fmt: skip
        cases |= {f"{kind}-{case}": ({name: data}, finding) for case, (data, finding) in found.items()}
    return cases | {f"folder-{name}": case for name, case in evil_folders().items()}


def unserved_structures() -> dict[str, Case]:
    """Honest, and refused for nothing but that no runtime loads them."""
    template = (
        "{% set ns = namespace(x=0) %}{% for m in messages %}{{ m['role'] + ': ' + m['content'] | trim }}{% endfor %}"
    )
    return {
        "hdf5": (
            {"m.h5": hdf5({"class_name": "Sequential", "config": [{"class_name": "Dense", "config": {}}]})},
            "hdf5",
        ),
        "gguf": ({"m.gguf": gguf(template)}, "gguf"),
    }


def served_structures() -> dict[str, Case]:
    """Honest, and what loads them."""
    dense = layer("Dense", units=4, activation="relu", kernel_initializer=layer("GlorotUniform", "keras.initializers"))
    return {
        "keras": ({"m.keras": keras(dense)}, "tensorflow"),
        "saved-model": (
            {
                "m/saved_model.pb": saved_model("Const", "f", functions={"f": ["MatMul"]}),
                "m/variables/variables.index": bytes(range(1, 200)),
            },
            "tensorflow",
        ),
        "exported": ({"m.pt2": program("torch.ops.aten.add.Tensor")}, "torch"),
        "scripted": ({"m.pt": script("def forward(self, x):\n  return torch.relu(x)\n")}, "torch"),
        "scripted-and-told": (
            {"m.pt": script("def forward(self, x):\n  return torch.relu(x)\n"), "signature.json": b'{"inputs": []}'},
            "torch",
        ),
    }
