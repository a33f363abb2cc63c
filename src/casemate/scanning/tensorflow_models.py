"""TensorFlow SavedModel: the operators of its graphs and functions, read from the bare protobuf, without TensorFlow.

Source: tensorflow/core/protobuf/saved_model.proto (2 meta_graphs), meta_graph.proto (2 graph_def), framework/graph.proto (1 node,
2 library), function.proto (1 function, 3 node_def), node_def.proto (1 name, 2 op).
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from typing import Any

from casemate.scanning.allowlist import TENSORFLOW_OPERATORS
from casemate.scanning.format_rules import TENSORFLOW_MALFORMED, TENSORFLOW_OPERATOR, TENSORFLOW_UNKNOWN
from casemate.scanning.notes import Notes, RefusedError

# They read or write files, open connections, or call Python: MITRE ATLAS AML.T0011.000; "Hide and Seek" (2508.19774).
_DANGEROUS = frozenset(
    """ReadFile WriteFile MatchingFiles PyFunc PyFuncStateless EagerPyFunc Save SaveSlices ShardedFilename Restore RestoreSlice
    MergeV2Checkpoints FixedLengthRecordReader FixedLengthRecordReaderV2 TextLineReader TextLineReaderV2 TFRecordReader
    TFRecordReaderV2 WholeFileReader WholeFileReaderV2 ReaderRead ReaderReadV2 TextLineDataset TFRecordDataset
    FixedLengthRecordDataset SqlDataset LMDBDataset DatasetFromGraph SaveDataset LoadDataset PrintV2 Print DebugIdentity
    DebugIdentityV2 XlaHostCompute RpcCall TryRpc RpcClient RpcServer RpcServerStart DistributedSave WriteSummary
    CreateSummaryFileWriter ImmutableConst InitializeTableFromTextFile InitializeTableFromTextFileV2 AudioSummary
    LoadTPUEmbeddingAdamParameters DataServiceDataset DecodeProtoV2 EncodeProto""".split()  # noqa: SIM905 a table to read
)
# What every SavedModel has: it saves and restores its own variables, whose paths the loader gives.
_OWN = frozenset(
    """SaveV2 RestoreV2 MergeV2Checkpoints ShardedFilename StaticRegexFullMatch StatefulPartitionedCall PartitionedCall Placeholder
    Const NoOp Identity VarHandleOp ReadVariableOp AssignVariableOp VariableV2 Assign Pack StringJoin Select""".split()  # noqa: SIM905
)


def inspect_saved_model(data: memoryview, notes: Notes, location: str) -> dict[str, Any]:
    """Facts about the graphs. Raises: RefusedError."""
    operators: dict[str, int] = {}
    functions: set[str] = set()
    try:
        for meta in _messages(data, 2, notes):
            for graph in _messages(meta, 2, notes):
                _read_graph(graph, operators, functions, notes)
    except (IndexError, ValueError) as error:
        raise RefusedError(TENSORFLOW_MALFORMED, str(error) or "cut off") from None
    if not operators:
        raise RefusedError(TENSORFLOW_MALFORMED, "it holds no graph")
    for name, count in sorted(operators.items()):
        if name in _DANGEROUS and name not in _OWN:
            notes.add(TENSORFLOW_OPERATOR, f"{name}, {count} times", location)
        elif name not in TENSORFLOW_OPERATORS and name not in _OWN and name not in functions:
            notes.add(TENSORFLOW_UNKNOWN, f"{name[:80]}, {count} times", location)
    return {"operators": len(operators), "nodes": sum(operators.values())}


def _read_graph(graph: memoryview, operators: dict[str, int], functions: set[str], notes: Notes) -> None:
    """Count the operators of a graph and of its functions, and note the functions' names."""
    for node in _messages(graph, 1, notes):
        _count(node, operators, notes)
    for library in _messages(graph, 2, notes):
        for function in _messages(library, 1, notes):
            for signature in _messages(function, 1, notes):
                functions.add(_text(signature, 1, notes))
            for node in _messages(function, 3, notes):
                _count(node, operators, notes)


def parts_of_saved_models(kinds: Mapping[str, str]) -> set[str]:
    """Files that belong to a SavedModel among these (format by path): its variables, finger print and assets, which only it reads."""
    folders = [path.rpartition("saved_model.pb")[0] for path, kind in kinds.items() if kind == "savedmodel"]
    return {
        path
        for path, kind in kinds.items()
        for folder in folders
        if kind == "unknown" and path.startswith((f"{folder}variables/variables.", f"{folder}fingerprint.pb"))
    }


def _count(node: memoryview, operators: dict[str, int], notes: Notes) -> None:
    name = _text(node, 2, notes)
    operators[name] = operators.get(name, 0) + 1


def _text(message: memoryview, number: int, notes: Notes) -> str:
    found = list(_messages(message, number, notes))
    if len(found) != 1:
        raise ValueError("a node without one operator")
    return bytes(found[0][:200]).decode()


def _messages(data: memoryview, number: int, notes: Notes) -> Iterator[memoryview]:
    """The fields of bytes with this number. Raises: ValueError, IndexError."""
    at = 0
    while at < len(data):
        notes.work()
        tag, at = _varint(data, at)
        kind = tag & 7
        if kind == 0:
            _, at = _varint(data, at)
        elif kind in (1, 5):
            at += 8 if kind == 1 else 4
        elif kind == 2:
            size, at = _varint(data, at)
            if at + size > len(data):
                raise ValueError("a field behind the end")
            if tag >> 3 == number:
                yield data[at : at + size]
            at += size
        else:
            raise ValueError(f"a field of wire type {kind}")
        if at > len(data):
            raise ValueError("a field behind the end")


def _varint(data: memoryview, at: int) -> tuple[int, int]:
    value = 0
    for shift in range(0, 70, 7):
        byte = data[at]
        at += 1
        value |= (byte & 0x7F) << shift
        if byte < 0x80:
            return value, at
    raise ValueError("a number of more than ten bytes")
