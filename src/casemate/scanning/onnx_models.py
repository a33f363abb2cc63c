"""ONNX models: a strict walk of the protobuf, then what the standard's own checker says.

Source: onnx/onnx.in.proto, onnx/onnx-ml.in.proto; docs/IR.md.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from typing import Any

import onnx
import onnx.checker
import onnx.defs
from google.protobuf.message import DecodeError  # type: ignore[import-untyped]
from google.protobuf.message import Message as ParsedMessage

from casemate.scanning.allowlist import ONNX_CONTRIB
from casemate.scanning.notes import Notes, RefusedError
from casemate.scanning.onnx_tensors import TensorCheck
from casemate.scanning.protobuf import Message, Schema, read_message
from casemate.scanning.rules import ONNX_INVALID, ONNX_MALFORMED, ONNX_OPERATOR, SCAN_LIMIT

_MODEL = Schema(onnx.ModelProto.DESCRIPTOR, {}, frozenset({"dims"}))
_STANDARD = frozenset({"", "ai.onnx", "ai.onnx.ml"})
_CONTRIB = "com.microsoft"
_CHECKED_BYTES = 64 << 20  # the checker copies the model; a larger one has been walked, and is checked when it loads
_DATATYPES = {
    1: "FP32", 2: "UINT8", 3: "INT8", 4: "UINT16", 5: "INT16", 6: "INT32", 7: "INT64", 8: "BYTES", 9: "BOOL",
    10: "FP16", 11: "FP64", 12: "UINT32", 13: "UINT64",
}  # fmt: skip


def looks_like_onnx(data: memoryview) -> bool:
    """Does it start as every exporter starts: `ir_version`, below 32, then another field of a model?"""
    return (
        len(data) >= 3 and data[0] == 0x08 and data[1] < 32 and data[2] & 7 in (0, 2) and data[2] >> 3 in _MODEL.fields
    )


def inspect_onnx(
    data: memoryview, files: Mapping[str, int], notes: Notes, location: str
) -> tuple[dict[str, Any], dict[str, set[tuple[int, int]]]]:
    """Note everything about the model. Returns: (facts, its tensors' spans in files of weights). Raises: RefusedError."""
    try:
        model = read_message(data, _MODEL, notes)
    except ValueError as error:
        raise RefusedError(ONNX_MALFORMED, str(error)) from None
    graph = model.get("graph")
    if graph is None or not model.all("opset_import") or "ir_version" not in model.fields:
        raise RefusedError(ONNX_MALFORMED, "no graph, no operator set or no version")
    tensors = TensorCheck(location, files, notes)
    for message in model.messages():
        if message.kind == "TensorProto":
            tensors.check(message)
    opsets = _opsets(model, notes, location)
    _check_operators(model, opsets, notes, location)
    nodes = _expanded_nodes(model, notes)
    if len(data) <= _CHECKED_BYTES and not notes.findings:
        _check_standard(bytes(data) if not tensors.spans else _without_weights(data), notes, location)
    facts = {
        "ir_version": model.get("ir_version"),
        "opset": opsets,
        "producer": model.get("producer_name", "")[:200],
        "nodes": nodes,
        "parameters": tensors.elements,
        **_signature(graph),
    }
    return facts, tensors.spans


def _opsets(model: Message, notes: Notes, location: str) -> dict[str, int]:
    opsets: dict[str, int] = {}
    for entry in model.all("opset_import"):
        domain, version = entry.get("domain", ""), entry.get("version", 0)
        # skl2onnx names a set twice when its version is the same; two versions of one set would be ambiguous.
        if opsets.get(domain, version) != version or not 0 < version < 1 << 20:
            notes.add(ONNX_INVALID, f"operator set {domain!r} {version}: another or an impossible version", location)
        opsets[domain[:200]] = version
    return opsets


def _check_operators(model: Message, opsets: dict[str, int], notes: Notes, location: str) -> None:
    own = {(f.get("domain", ""), f.get("name", "")) for f in model.all("functions")}
    if len(own) != len(model.all("functions")):
        notes.add(ONNX_INVALID, "two functions share a name", location)
    for domain, name in own:
        if domain in _STANDARD and onnx.defs.has(name, domain.removeprefix("ai.onnx") and domain):
            notes.add(ONNX_OPERATOR, f"a function replaces the standard operator {name}", location)
    for message in model.messages():
        if message.kind != "NodeProto":
            continue
        domain, name = message.get("domain", ""), message.get("op_type", "")
        if (domain, name) not in own and not _is_standard(domain, name, opsets):
            notes.add(ONNX_OPERATOR, f"{domain or 'ai.onnx'}.{name} in node {message.get('name', '')!r}", location)


def _is_standard(domain: str, name: str, opsets: dict[str, int]) -> bool:
    if domain == _CONTRIB:
        return name in ONNX_CONTRIB
    if domain not in _STANDARD:
        return False
    domain = "" if domain == "ai.onnx" else domain
    version = opsets.get(domain) or (opsets.get("ai.onnx") if not domain else None)
    return bool(onnx.defs.has(name, version or onnx.defs.onnx_opset_version(), domain))


def _expanded_nodes(model: Message, notes: Notes) -> int:
    """Nodes of the main graph with functions in their place. Raises: RefusedError: over the bound, or a cycle."""
    bodies = {(f.get("domain", ""), f.get("name", "")): f for f in model.all("functions")}
    sizes: dict[tuple[str, str], int] = {}

    def size(message: Message, above: tuple[tuple[str, str], ...]) -> int:
        total = 0
        for node in message.messages():
            if node.kind == "NodeProto":
                key = node.get("domain", ""), node.get("op_type", "")
                total += calls(key, above) if key in bodies else 1
        if total > notes.limits.nodes:
            raise RefusedError(SCAN_LIMIT, f"more than {notes.limits.nodes} nodes once functions are expanded")
        return total

    def calls(key: tuple[str, str], above: tuple[tuple[str, str], ...]) -> int:
        if key in above or len(above) > 64:
            raise RefusedError(ONNX_INVALID, f"the function {key[1]!r} calls itself, or calls nest too deeply")
        if key not in sizes:
            sizes[key] = size(bodies[key], (*above, key))
        return sizes[key]

    return size(model.get("graph"), ())


def _without_weights(data: memoryview) -> bytes:
    """The same model with an empty tensor for each whose bytes lie outside, which `TensorCheck` has checked.

    The checker asks of a tensor only that it has a type and its bytes, and would look for their file on the disk.
    """
    try:
        model = onnx.ModelProto.FromString(bytes(data))
    except DecodeError as error:
        raise RefusedError(ONNX_MALFORMED, str(error)) from None
    for tensor in _tensors(model):
        if tensor.data_location == onnx.TensorProto.EXTERNAL:
            tensor.ClearField("external_data")
            tensor.ClearField("data_location")
            tensor.dims[:] = [0]
    return bytes(model.SerializeToString())


def _tensors(message: ParsedMessage) -> Iterator[onnx.TensorProto]:
    """All tensors under `message`; how deep they nest was bounded when it was read."""
    for field, value in message.ListFields():
        if isinstance(message, onnx.TensorProto) or field.message_type is None:
            continue
        for inner in [value] if isinstance(value, ParsedMessage) else value:
            if isinstance(inner, onnx.TensorProto):
                yield inner
            yield from _tensors(inner)


def _check_standard(data: bytes, notes: Notes, location: str) -> None:
    try:
        onnx.checker.check_model(data)
    except (onnx.checker.ValidationError, ValueError, TypeError, RuntimeError) as error:
        notes.add(ONNX_INVALID, str(error).strip().split("\n")[0], location)


def _signature(graph: Message) -> dict[str, Any]:
    stored = {tensor.get("name", "") for tensor in graph.all("initializer")}
    given = [value for value in graph.all("input") if value.get("name", "") not in stored]
    return {"inputs": [_tensor(value) for value in given], "outputs": [_tensor(value) for value in graph.all("output")]}


def _tensor(value: Message) -> dict[str, Any]:
    tensor = (value.get("type") or Message("")).get("tensor_type")
    if tensor is None:
        return {"name": value.get("name", "")[:200], "datatype": "", "shape": []}
    dims = (tensor.get("shape") or Message("")).all("dim")[:64]
    return {
        "name": value.get("name", "")[:200],
        "datatype": _DATATYPES.get(tensor.get("elem_type", 0), ""),
        "shape": [dim.get("dim_value", -1) for dim in dims],
    }
