"""Files of weights beside an ONNX model: numbers that its tensors account for, and nothing that another loader takes.

Source: onnx docs/ExternalData.md, whose offsets are multiples of 4096 or 65536 bytes where exporters align them.
"""

from __future__ import annotations

import zlib
from collections.abc import Iterable

from casemate.scanning.formats import SUFFIXES, UNSUPPORTED
from casemate.scanning.notes import Notes, RefusedError
from casemate.scanning.safetensors_files import inspect_safetensors
from casemate.scanning.zip_files import holds_zip

_MOST_PADDING = 1 << 16  # zero bytes before an aligned offset; fewer than this
_LEAST_UNPACKED = 8  # bytes; no pickle that acts is shorter
_SAMPLE = 1 << 12  # bytes of a packed stream

_SUFFIXES = (
    *SUFFIXES,  # what the scanner knows by name has its own checks
    *(".ort", ".pkl", ".pickle", ".joblib", ".dill", ".pt", ".pth", ".ptl", ".ckpt", ".mar", ".nemo"),
    *(".npy", ".npz", ".h5", ".hdf5", ".keras", ".tflite", ".gguf", ".ggml", ".llamafile", ".pbtxt", ".mlmodel"),
    *(".bst", ".ubj", ".cbm", ".lgb", ".pmml", ".parquet", ".arrow", ".feather", ".csv", ".jsonl"),
    *(".zip", ".tar", ".gz", ".tgz", ".bz2", ".xz", ".lzma", ".zst", ".lz4", ".7z", ".rar", ".cab", ".whl", ".egg"),
    *(".py", ".pyc", ".pyo", ".pyd", ".pyz", ".ipynb", ".so", ".dll", ".dylib", ".exe", ".com", ".msi", ".jar"),
    *(".class", ".wasm", ".sh", ".bash", ".bat", ".cmd", ".ps1", ".vbs", ".js", ".mjs", ".rb", ".pl", ".lua", ".php"),
    *(".html", ".htm", ".svg", ".xml", ".yaml", ".yml", ".toml", ".ini", ".cfg"),
)


def problem_of_weights(name: str, data: memoryview, kind: str, spans: Iterable[tuple[int, int]], notes: Notes) -> str:
    """What is wrong with a file of weights; empty when it is numbers only.

    Args: kind: as `format_of` tells it. spans: (start, stop) of every tensor that lies in it.
    """
    suffix = next((suffix for suffix in _SUFFIXES if name.lower().rstrip(". ").endswith(suffix)), "")
    if suffix:
        return f"its name ends in {suffix}, which is no name for weights"
    if not _is_plain(data, kind, notes):
        return f"its content is {UNSUPPORTED.get(kind, kind)}"
    if holds_zip(data):
        return "a ZIP archive at its end"
    return _problem_of_spans(data, spans)


def _is_plain(data: memoryview, kind: str, notes: Notes) -> bool:
    """Would no other loader follow it? Two formats have so few bytes to know them by that honest numbers meet them."""
    if kind == "safetensors":
        try:
            inspect_safetensors(data, notes)
        except RefusedError:
            return True
    return not _unpacks(data) if kind == "zlib" else kind == "unknown"


def _unpacks(data: memoryview) -> bool:
    """Does a zlib stream give its reader anything to act on, whole or not?"""
    stream, given, rest = zlib.decompressobj(), 0, bytes(data[:_SAMPLE])
    try:
        while rest and not stream.eof and given < _LEAST_UNPACKED:
            given += len(stream.decompress(rest, 1))
            rest = stream.unconsumed_tail
    except zlib.error:
        return False
    return stream.eof or given >= _LEAST_UNPACKED


def _problem_of_spans(data: memoryview, spans: Iterable[tuple[int, int]]) -> str:
    """Tensors lie one behind the other; two may share all their bytes, and zeros may fill up to an aligned offset."""
    at = 0
    for start, stop in [*sorted({span for span in spans if span[0] < span[1]}), (len(data), len(data))]:
        if start < at:
            return f"two tensors overlap at byte {start}"
        gap = data[at:start]
        if len(gap) >= _MOST_PADDING or any(gap):
            return f"bytes {at} to {start} belong to no tensor"
        at = stop
    return ""
