"""What fuzzing starts from: the hostile and honest files of the tests, each given to the targets that can make something of it."""

from __future__ import annotations

import io
import struct
import sys
import zipfile
from pathlib import Path

sys.path.insert(0, str(Path(__file__).parents[1] / "tests" / "assets"))

import numpy as np
import pyarrow as pa
from evil_boosters import honest_boosters
from fuzz_targets import LIMITS, TARGETS, kept, pack
from make_benign import benign_models, estimators
from make_evil import evil_cases
from tables_of_kinds import arrow_file, arrow_stream, folder, jpeg, npy, npz, parquet, png

from casemate.core import InputError
from casemate.scanning.formats import format_of
from casemate.scanning.notes import Notes, RefusedError

_LARGEST = 1 << 15  # bytes; what is longer is slow to change, and shorter ones of its kind are there
_BY_FORMAT = {"pickle": ("pickle", "torch_pickle"), "zip": ("zip", "packed"), "json": ("json", "hub", "keras")}
_TEMPLATE = b"{% for m in messages %}{{ m['content'] | trim }}{% endfor %}{{ ''.__class__.__mro__ }}"
_SOURCE = b"def forward(self, x: Tensor) -> Tensor:\n  return torch.add(ops.aten.relu(x), 1)\n"


def seeds(target: str) -> list[bytes]:
    """At most `_LARGEST` bytes each, none twice; the kept corpus among them."""
    found = dict.fromkeys(kept(target))
    for data in _files():
        if target in _targets_of(data):
            found[data] = None
        if target == "packed" and data.startswith(b"PK"):
            found[_packed(data)] = None
    found |= dict.fromkeys(_OWN.get(target, []))
    return [data for data in found if len(data) <= _LARGEST]


def _files() -> list[bytes]:
    cases = [files for files, _ in (*evil_cases().values(), *honest_boosters().values())]
    cases += [files for files, _ in benign_models(estimators()).values()]
    return [data for files in cases for data in files.values()]


def _targets_of(data: bytes) -> tuple[str, ...]:
    try:
        kind = format_of(memoryview(data), Notes(LIMITS))
    except RefusedError:
        kind = ""
    special = ("gguf", "onnx", "savedmodel", "npy", "xgboost", "lightgbm", "hdf5", "tar", "safetensors")
    packed = ("compressed",) if kind in ("gzip", "zlib", "bzip2", "xz", "lzma") else ()
    ubjson = ("ubjson",) if data.startswith(b"{L") else ()
    return ("whole", *_BY_FORMAT.get(kind, (kind,) if kind in special else ()), *packed, *ubjson)


def _packed(data: bytes) -> bytes:
    """An archive's members under the names that the target knows, whatever their folder is called."""
    try:
        with zipfile.ZipFile(io.BytesIO(data)) as archive:
            members = {name: archive.read(name) for name in archive.namelist()}
    except (zipfile.BadZipFile, OSError, ValueError, NotImplementedError, RuntimeError, EOFError):
        return b""
    return pack(members | {f"m/{name.partition('/')[2]}": content for name, content in members.items()})


def _tables() -> list[bytes]:
    columns = {"a": [1, 2, None], "b": ["x", "", "y"], "c": [1.5, float("inf"), 2.0]}
    table = pa.table(columns)
    return [
        b"a,b,c\n1,x,2.5\n2,,3\n", b'a;"b";c\r\n1;"x ""y""\n";2\r\n', b"\xff\xfea\0,\0b\0\n\0001\0,\0002\0\n\0",
        b'{"a": 1, "b": "x"}\n{"a": 2.5, "b": null}\n', b"\xef\xbb\xbfa\tb\n1\t2\n", b"d,t\n2020-01-01,2020-01-01 10:00:00\n",
        parquet(columns), arrow_file(table), arrow_stream(table), npy(np.arange(6).reshape(3, 2)),
        npz(a=np.arange(3), b=np.ones((3, 2))), npz(packed=True, a=np.arange(3)),
        folder({"cat/a.png": png(2, 2), "dog/b.png": png(2, 2)}), folder({"x/a.txt": b"hello", "y/b.txt": b"world"}),
    ]  # fmt: skip


_PROGRAM = b"""{"graph_module": {"graph": {"nodes": [{"target": "torch.ops.aten.relu.default", "inputs": [{"name": "self",
"arg": {"as_tensor": {"name": "x"}}}], "outputs": []}], "tensor_values": {"x": {"dtype": 7, "sizes": [{"as_expr":
{"expr_str": "Max(1, s77)", "hint": {"as_int": 2}}}]}}}}, "range_constraints": {"s77": {"min_val": 1, "max_val": null}}}"""
_OWN = {
    "image": [png(3, 4), jpeg(3, 4), png(1, 1, pixels=False)],
    "table": _tables(),
    "template": [_TEMPLATE],
    "torch_source": [_SOURCE],
    "torch_program": [_PROGRAM],
    "compressed": [struct.pack("<B", place) for place in range(5)],
}


def main() -> None:
    """python fuzz/seeds.py FOLDER: one folder of seeds for each target."""
    for target in TARGETS:
        place = Path(sys.argv[1], target)
        place.mkdir(parents=True, exist_ok=True)
        for number, data in enumerate(seeds(target)):
            (place / f"seed-{number:04}").write_bytes(data)


if __name__ == "__main__":
    try:
        main()
    except (IndexError, InputError):
        raise SystemExit(main.__doc__) from None
