"""Model files that would run code, or break a parser; made here, so that nobody has to trust a binary in the tree.

Every payload that would run only touches MARKER.
"""

from __future__ import annotations

import bz2
import gzip
import io
import json
import lzma
import pickle  # noqa: TID251 writes harmless bytes; nothing here is loaded
import struct
import tarfile
import zipfile
import zlib
from itertools import pairwise

import numpy as np
from onnx import TensorProto, helper

MARKER = "/tmp/casemate-scan-ran-code"
_COMMAND = f"S'touch {MARKER}'\n".encode()


def named(module: str, name: str) -> bytes:
    """GLOBAL: the oldest way to name a callable."""
    return f"c{module}\n{name}\n".encode()


def called(module: str, name: str, arguments: bytes = _COMMAND) -> bytes:
    return named(module, name) + b"(" + arguments + b"tR."


def stacked(module: str, name: str, *, memo: bool = False) -> bytes:
    """STACK_GLOBAL, its strings straight on the stack or through the memo."""
    strings = [b"\x8c" + bytes([len(text)]) + text.encode() + b"\x94" for text in (module, name)]
    load = b"00h\x00h\x01" if memo else b""
    return b"\x80\x04" + b"".join(strings) + load + b"\x93\x8c\x04true\x85R."


def zipped(members: dict[str, bytes]) -> bytes:
    out = io.BytesIO()
    with zipfile.ZipFile(out, "w") as archive:
        for name, data in members.items():
            archive.writestr(name, data)
    return out.getvalue()


def tarred(members: dict[str, bytes], *, kind: bytes = tarfile.REGTYPE) -> bytes:
    out = io.BytesIO()
    with tarfile.open(fileobj=out, mode="w") as archive:
        for name, data in members.items():
            member = tarfile.TarInfo(name)
            member.type, member.linkname, member.size = kind, "/etc/passwd", len(data) if kind == tarfile.REGTYPE else 0
            archive.addfile(member, io.BytesIO(data))
    return out.getvalue()


def encrypted_zip() -> bytes:
    data = bytearray(zipped({"data.pkl": CALL}))
    data[6] |= 1  # the flag of the local header
    data[data.rindex(b"PK\x01\x02") + 8] |= 1
    return bytes(data)


def two_faced_zip() -> bytes:
    """The local header names another file than the central directory."""
    data = zipped({"config.json": CALL})
    return data.replace(b"config.json", b"archive.pkl", 1)


def object_array() -> bytes:
    out = io.BytesIO()
    np.save(out, np.array([{}], dtype=object), allow_pickle=True)
    return out.getvalue()


def safetensors(header: object, data: bytes = b"", *, length: int | None = None) -> bytes:
    text = header if isinstance(header, bytes) else json.dumps(header).encode()
    return struct.pack("<Q", len(text) if length is None else length) + text + data


def onnx_model(*, external: dict[str, str] | None = None, domain: str = "", repeat: int = 1) -> bytes:
    weights = helper.make_tensor("w", TensorProto.FLOAT, [1], [2.0])
    if external is not None:
        weights.ClearField("float_data")
        weights.data_location = TensorProto.EXTERNAL
        for key, value in external.items():
            entry = weights.external_data.add()
            entry.key, entry.value = key, value
    operator = "Mul" if not domain else "RunCommand"
    names = ["X", *(f"T{number}" for number in range(repeat - 1)), "Y"]
    nodes = [helper.make_node(operator, [a, "w"], [b], domain=domain) for a, b in pairwise(names)]
    values = [helper.make_tensor_value_info(name, TensorProto.FLOAT, [None, 1]) for name in ("X", "Y")]
    graph = helper.make_graph(nodes, "g", values[:1], values[1:], [weights])
    sets = [helper.make_opsetid("", 17)] + ([helper.make_opsetid(domain, 1)] if domain else [])
    return bytes(helper.make_model(graph, opset_imports=sets, ir_version=8).SerializeToString())


CALL = called("posix", "system")
GOOD = onnx_model()
_TENSOR = {"w": {"dtype": "F32", "shape": [2], "data_offsets": [0, 8]}}

FORBIDDEN = "pickle-forbidden-import"
EVIL: dict[str, tuple[bytes, str]] = {
    **{
        f"{module}.{name}": (called(module, name), FORBIDDEN)
        for module, name in [
            ("posix", "system"),
            ("os", "popen"),
            ("nt", "system"),
            ("subprocess", "Popen"),
            ("builtins", "exec"),
            ("builtins", "eval"),
            ("builtins", "compile"),
            ("__builtin__", "execfile"),
            ("pip", "main"),
            ("runpy", "run_path"),
            ("importlib", "import_module"),
            ("timeit", "timeit"),
            ("webbrowser", "open"),
            ("code", "interact"),
            ("bdb", "Bdb"),
            ("pdb", "run"),
            ("ctypes", "CDLL"),
            ("functools", "partial"),
            ("operator", "methodcaller"),
            ("operator", "attrgetter"),
            ("asyncio.subprocess", "create_subprocess_shell"),
            ("numpy.testing._private.utils", "runstring"),
            ("numpy.f2py.crackfortran", "getlincoef"),
            ("torch", "load"),
            ("sklearn.externals.joblib", "load"),
            ("shutil", "rmtree"),
            ("socket", "create_connection"),
            ("cProfile", "run"),
            ("_pickle", "loads"),
            ("idlelib.pyshell", "ModifiedInterpreter"),
            ("logging.config", "dictConfig"),
            ("sys", "setprofile"),
            ("types", "CodeType"),
        ]
    },
    "names on the stack": (stacked("builtins", "exec"), FORBIDDEN),
    "names from the memo": (stacked("os", "system", memo=True), FORBIDDEN),
    "getattr of a module": (called("builtins", "getattr", named("posix", "__dict__") + b"S'system'\n"), FORBIDDEN),
    "an extension code": (b"\x80\x02\x82\x01.", "pickle-unresolvable-import"),
    "runs before it breaks": (CALL[:-1] + b"\xff\xff", FORBIDDEN),
    "runs without an end": (CALL[:-1], FORBIDDEN),
    "behind a harmless pickle": (pickle.dumps({"a": 1}) + CALL, FORBIDDEN),
    "in gzip": (gzip.compress(CALL), FORBIDDEN),
    "in bzip2": (bz2.compress(CALL), FORBIDDEN),
    "in xz": (lzma.compress(CALL), FORBIDDEN),
    "in lzma": (lzma.compress(CALL, format=lzma.FORMAT_ALONE), FORBIDDEN),
    "in zlib": (zlib.compress(CALL), FORBIDDEN),
    "in gzip in gzip": (gzip.compress(gzip.compress(CALL)), FORBIDDEN),
    "in a zip": (zipped({"archive/data.pkl": CALL}), FORBIDDEN),
    "in a tar": (tarred({"data.pkl": CALL}), FORBIDDEN),
    "in a tar in a zip": (zipped({"inner.tar": tarred({"data.pkl": CALL})}), FORBIDDEN),
    "under another name": (zipped({"weights.bin": CALL, "readme.txt": b"hello"}), FORBIDDEN),
    "a zip with a password": (encrypted_zip(), "archive-encrypted"),
    "a zip of two faces": (two_faced_zip(), "archive-malformed"),
    "a zip that climbs": (zipped({"../../etc/cron.d/x": b"x"}), "archive-path-traversal"),
    "a tar that climbs": (tarred({"../x": b"x"}), "archive-path-traversal"),
    "a tar with a link": (tarred({"x": b""}, kind=tarfile.SYMTYPE), "archive-link"),
    "a bomb": (gzip.compress(bytes(600 << 20), compresslevel=1), "archive-bomb"),
    "objects in numpy": (object_array(), "numpy-object-array"),
    "a program": (b"\x7fELF" + bytes(100), "executable-file"),
    "noise": (bytes(range(256)) * 10, "format-unknown"),
    "nothing": (b"", "no-model"),
    "safetensors beyond the file": (
        safetensors({"w": {"dtype": "F32", "shape": [9], "data_offsets": [0, 36]}}, bytes(8)),
        "safetensors-malformed",
    ),
    "safetensors with a doubled name": (
        safetensors(b'{"w":{"dtype":"F32","shape":[2],"data_offsets":[0,8]},"w":{}}', bytes(8)),
        "safetensors-malformed",
    ),
    "safetensors with more behind": (safetensors(_TENSOR, bytes(8) + CALL), "safetensors-malformed"),
    "onnx that reads elsewhere": (onnx_model(external={"location": "/etc/passwd"}), "onnx-external-data"),
    "onnx that climbs": (onnx_model(external={"location": "../../secret"}), "onnx-external-data"),
    "onnx without its data": (onnx_model(external={"location": "weights.bin"}), "onnx-external-data"),
    "onnx with an unknown operator": (onnx_model(domain="evil.example"), "onnx-unknown-operator"),
    "onnx cut short": (GOOD[:-9], "onnx-malformed"),
}
