"""Which format some bytes are in, told by the bytes alone."""

from __future__ import annotations

import re
from typing import Literal

from casemate.scanning.compressed import compression_of
from casemate.scanning.notes import Notes
from casemate.scanning.numpy_files import MAGIC as NPY_MAGIC
from casemate.scanning.onnx_models import looks_like_onnx
from casemate.scanning.pickle_rules import looks_like_pickle
from casemate.scanning.safetensors_files import looks_like_safetensors
from casemate.scanning.tar_files import is_tar

RUNTIMES: dict[
    str, Literal["lightgbm", "onnx", "skops", "tensorflow", "torch", "xgboost"]
] = {  # format -> what loads it
    "keras": "tensorflow",
    "lightgbm": "lightgbm",
    "onnx": "onnx",
    "savedmodel": "tensorflow",
    "skops": "skops",
    "torch-export": "torch",
    "torchscript": "torch",
    "xgboost": "xgboost",
}
SERVED = frozenset({*RUNTIMES, "safetensors"})
COMPRESSED = frozenset({"gzip", "zlib", "bzip2", "xz", "lzma"})
SIDE_FILES = frozenset({"json", "text"})
SUFFIXES = {  # a name that ends so promises this format; others promise nothing
    ".onnx": "onnx",
    ".safetensors": "safetensors",
    ".skops": "skops",
    ".json": "json",
    ".md": "text",
    ".txt": "text",
    ".ubj": "xgboost",
    ".pt2": "torch-export",
    ".keras": "keras",
    ".jinja": "text",
}
ALSO = {("json", "xgboost"), ("text", "lightgbm"), ("text", "json")}  # (promised, found) that go together
UNSUPPORTED = {  # format -> how people call it
    "hdf5": "HDF5 (Keras 2)",
    "gguf": "GGUF",
    "tflite": "TensorFlow Lite",
    "torch": "weights of PyTorch (a state_dict, or a module as a pickle) without a graph: save with torch.export",
    "catboost": "CatBoost",
    "numpy": "NumPy arrays",
    "parquet": "Parquet, which holds data",
    "arrow": "Arrow, which holds data",
}
_HEADS = (  # first bytes -> format
    (b"PK\3\4", "zip"),
    (b"PK\5\6", "zip"),
    (NPY_MAGIC, "npy"),
    (b"GGUF", "gguf"),
    (b"binf", "xgboost-binary"),
    (b"{L\0\0\0\0\0\0\0", "xgboost"),  # UBJSON with counted keys
    (b"CBM1", "catboost"),
    (b"PAR1", "parquet"),
    (b"ARROW1", "arrow"),
    (b"\x7fELF", "executable"),
    (b"MZ\x90\0", "executable"),
    (b"\xca\xfe\xba\xbe", "executable"),
    (b"\xcf\xfa\xed\xfe", "executable"),
    (b"#!", "executable"),
    (b"7z\xbc\xaf\x27\x1c", "archive"),
    (b"Rar!\x1a\x07", "archive"),
    (b"\x28\xb5\x2f\xfd", "archive"),  # zstd
    (b"\x04\x22\x4d\x18", "archive"),  # lz4
    (b"MSCF", "archive"),
    (b"\x1f\x9d", "archive"),
)
_HDF5 = b"\x89HDF\r\n\x1a\n"  # at 0, 512, 1024, 2048
_TEXT_SAMPLE = 1 << 16  # bytes
_XGBOOST_JSON = re.compile(r"\{\s*\"learner\"\s*:")


def format_of(data: memoryview, notes: Notes) -> str:  # noqa: PLR0911 one return for each way to tell
    """The format's name; `unknown` when nothing fits. Raises: RefusedError when over the bound of work."""
    head = bytes(data[:32])
    for magic, name in _HEADS:
        if head.startswith(magic):
            return name
    if any(bytes(data[at : at + 8]) == _HDF5 for at in (0, 512, 1024, 2048)):
        return "hdf5"
    if head[4:8] == b"TFL3":
        return "tflite"
    if looks_like_safetensors(data):
        return "safetensors"
    if looks_like_onnx(data):
        return "savedmodel" if head[:3] == b"\x08\x01\x12" and not _has_operator_set(data) else "onnx"
    if head[:1] == b"\x80" and looks_like_pickle(data, notes):
        return "pickle"
    if kind := compression_of(data):
        return kind
    if is_tar(data):
        return "tar"
    return _text_or_old_pickle(data, notes)


def _has_operator_set(data: memoryview) -> bool:
    """A SavedModel starts like an ONNX model of version 1; only the latter goes on as text, with a producer's name."""
    length = data[3] if len(data) > 3 else 0
    name = bytes(data[4 : 4 + length])
    return length < 0x80 and name.isascii() and name.decode("latin-1").isprintable()


def _text_or_old_pickle(data: memoryview, notes: Notes) -> str:  # noqa: PLR0911 the same
    """Pickles of protocol 0 and 1 look like text, and act before any loader finds out that they are not one."""
    if not data:
        return "text"
    if looks_like_pickle(data, notes):
        return "pickle"
    sample = bytes(data[:_TEXT_SAMPLE])
    if b"\0" in sample:
        return "unknown"
    try:
        text = sample.decode("utf-8-sig")
    except UnicodeDecodeError as error:
        if error.start < _TEXT_SAMPLE - 4:
            return "unknown"
        text = sample[: error.start].decode("utf-8-sig")
    if any(not (char.isprintable() or char in "\t\r\n\f") for char in text):
        return "unknown"
    start = text.lstrip()
    if start.startswith("tree\nversion=v"):
        return "lightgbm"
    if start[:1] in ("{", "[") and start[:2] not in ("{%", "{{", "{#"):  # which Jinja has, and JSON never
        return "xgboost" if _XGBOOST_JSON.match(start) else "json"
    return "text"
