"""One target for each parser of foreign bytes in `casemate.scanning`, and what must hold of it whatever the bytes.

A parser ends within its bounds, raises nothing but the refusals that it declares, and runs nothing: `Armed` turns the start of
a program, a connection, an unpickled import, executed code or a file opened for writing into an error. `make fuzz` drives the targets by
coverage; tests/unit/scanning/test_fuzz_corpus.py gives them the inputs that were kept.
"""

from __future__ import annotations

import base64
import contextlib
import encodings.utf_16_be  # loaded at first use otherwise, which runs code
import encodings.utf_16_le  # noqa: F401 the same
import io
import sys
import zipfile
from collections.abc import Callable
from pathlib import Path
from types import SimpleNamespace
from typing import Any, Self

from casemate.core import InputError, TooLargeError
from casemate.scanning.archives import inspect_archive
from casemate.scanning.asked_file import AskedFile
from casemate.scanning.chat_templates import check_template
from casemate.scanning.compressed import compression_of, expand
from casemate.scanning.dataset_conversion import convert
from casemate.scanning.formats import COMPRESSED
from casemate.scanning.gguf_files import inspect_gguf
from casemate.scanning.hub_folders import check_configuration
from casemate.scanning.image_headers import image_size
from casemate.scanning.inspection import inspect_files
from casemate.scanning.keras_models import check_config, inspect_hdf5
from casemate.scanning.lightgbm_models import inspect_lightgbm
from casemate.scanning.limits import DatasetLimits, ScanLimits
from casemate.scanning.notes import Notes, RefusedError
from casemate.scanning.numpy_files import inspect_npy
from casemate.scanning.onnx_models import inspect_onnx
from casemate.scanning.pickle_rules import inspect_pickles
from casemate.scanning.safetensors_files import inspect_safetensors
from casemate.scanning.strict_json import parse_json
from casemate.scanning.tar_files import is_tar, read_tar
from casemate.scanning.tensorflow_models import inspect_saved_model
from casemate.scanning.torch_archives import inspect_program, inspect_source
from casemate.scanning.ubjson import parse_ubjson
from casemate.scanning.xgboost_models import inspect_xgboost
from casemate.scanning.zip_files import holds_zip, read_zip

LIMITS = ScanLimits(operations=200_000, nodes=20_000, expanded_bytes=8 << 20, entries=256)
TABLES = DatasetLimits(rows=10_000, columns=64, cell_bytes=1 << 14, uncompressed_bytes=8 << 20, image_bytes=1 << 16)
CORPUS = Path(__file__).with_name("fuzz_corpus")
_MEMBERS = (
    "schema.json", "0.npy", "config.json", "metadata.json", "model.weights.h5", "m/data.pkl", "m/constants.pkl",
    "m/code/__torch__.py", "m/data/0", "m/version", "m/byteorder", "m/archive_format", "m/models/model.json",
    "m/data/weights/weight_0", "m/data/weights/model_weights_config.json", "a.npy", "x/y.pkl", "model.onnx", "assets/vocabulary.txt",
)  # fmt: skip


class Escape(BaseException):
    """A parser did what none may."""


class Armed:
    """While it is entered, acting on the machine is an `Escape`. A hook cannot be removed, so it is only switched."""

    _on = _hooked = False

    def __enter__(self) -> Self:
        if not Armed._hooked:
            sys.addaudithook(_watch)
            Armed._hooked = True
        Armed._on = True
        return self

    def __exit__(self, *_: object) -> None:
        Armed._on = False


_NEVER = ("os.system", "os.exec", "os.posix_spawn", "os.fork", "subprocess.", "socket.", "pickle.find_class", "shutil.",
          "ctypes.", "os.remove", "os.rename", "os.mkdir", "os.link", "os.symlink", "tempfile.", "marshal.loads")  # fmt: skip


def _watch(event: str, args: tuple[Any, ...]) -> None:
    if not Armed._on:
        return
    writes = event == "open" and type(args[1]) is str and any(letter in args[1] for letter in "wax+")
    if event.startswith(_NEVER) or event == "exec" or writes:
        Armed._on = False
        raise Escape(f"{event} {str(args)[:200]}")


def _refusing(parse: Callable[[memoryview, Notes], Any], *also: type[Exception]) -> Callable[[bytes], None]:
    def target(data: bytes) -> None:
        with contextlib.suppress(RefusedError, *also):
            parse(memoryview(data).toreadonly(), Notes(LIMITS))

    return target


def _zip(data: memoryview, notes: Notes) -> None:
    holds_zip(data)
    for member in read_zip(data, notes):
        member.unpack(notes)


def _tar(data: memoryview, notes: Notes) -> None:
    is_tar(data)
    read_tar(data, notes)


def _compressed(data: memoryview, notes: Notes) -> None:
    compression_of(data)
    expand(data, sorted(COMPRESSED)[data[0] % len(COMPRESSED)] if len(data) else "gzip", notes)


def _packed(data: memoryview, notes: Notes) -> None:
    """An archive whose frame is whole, so that what is in it is reached: pieces of (name, length, content)."""
    out, at, seen = io.BytesIO(), 0, set()
    with zipfile.ZipFile(out, "w") as archive:
        while at + 3 <= len(data) and len(seen) < 16:
            name = _MEMBERS[data[at] % len(_MEMBERS)]
            size = int.from_bytes(data[at + 1 : at + 3], "little")
            if name not in seen:
                archive.writestr(zipfile.ZipInfo(name), bytes(data[at + 3 : at + 3 + size]))
            seen.add(name)
            at += 3 + size
    inspect_archive(memoryview(out.getvalue()), "zip", notes, location="x", depth=0, inspect=lambda *_: "unknown")


def pack(members: dict[str, bytes]) -> bytes:
    """What `_packed` reads as this archive; names that it does not know are left out."""
    return b"".join(
        bytes([_MEMBERS.index(name)]) + len(content).to_bytes(2, "little") + content
        for name, content in members.items()
        if name in _MEMBERS and len(content) < 1 << 16
    )


def _keras(data: memoryview, notes: Notes) -> None:
    check_config(parse_json(data), notes, "x")


def _hub(data: memoryview, notes: Notes) -> None:
    check_configuration(parse_json(data), notes, "x")


def _template(data: memoryview, notes: Notes) -> None:
    check_template(str(bytes(data), "utf-8", "replace"), notes, "x")


def _whole(data: bytes) -> None:
    inspect_files({"model.bin": memoryview(data).toreadonly()}, LIMITS)


def _table(data: bytes) -> None:
    def ask(question: dict[str, Any], _buffers: Any = ()) -> Any:
        offset, size = question["read"]
        return SimpleNamespace(buffers=[data[offset : offset + size]])

    file = AskedFile(ask, len(data))  # type: ignore[arg-type]
    with contextlib.suppress(InputError, TooLargeError):
        convert(file, "rows", lambda _piece: None, target=None, limits=TABLES)


def _image(data: bytes) -> None:
    with contextlib.suppress(InputError, TooLargeError):
        image_size(data, "image", TABLES)


TARGETS: dict[str, Callable[[bytes], None]] = {
    "whole": _whole,
    "pickle": _refusing(lambda data, notes: inspect_pickles(data, notes, "x")),
    "torch_pickle": _refusing(lambda data, notes: inspect_pickles(data, notes, "x", in_torch=True, scripted=True)),
    "zip": _refusing(_zip),
    "tar": _refusing(_tar),
    "compressed": _refusing(_compressed),
    "packed": _refusing(_packed),
    "safetensors": _refusing(inspect_safetensors),
    "gguf": _refusing(lambda data, notes: inspect_gguf(data, notes, "x")),
    "onnx": _refusing(lambda data, notes: inspect_onnx(data, {}, notes, "x")),
    "savedmodel": _refusing(lambda data, notes: inspect_saved_model(data, notes, "x")),
    "npy": _refusing(lambda data, notes: inspect_npy(data, notes, "x")),
    "ubjson": _refusing(parse_ubjson, ValueError),
    "json": _refusing(lambda data, _notes: parse_json(data), ValueError),
    "xgboost": _refusing(lambda data, notes: inspect_xgboost(data, notes, "x")),
    "lightgbm": _refusing(lambda data, notes: inspect_lightgbm(data, notes, "x")),
    "keras": _refusing(_keras, ValueError),
    "hdf5": _refusing(lambda data, notes: inspect_hdf5(data, notes, "x")),
    "torch_source": _refusing(lambda data, notes: inspect_source(data, notes, "x")),
    "torch_program": _refusing(lambda data, notes: inspect_program(data, notes, "x")),
    "hub": _refusing(_hub, ValueError),
    "template": _refusing(_template),
    "table": _table,
    "image": _image,
}


def kept(target: str) -> list[bytes]:
    """The inputs of `fuzz_corpus/TARGET.txt`, one a line in base64, so that no scanner of mail or code stumbles over them."""
    path = CORPUS / f"{target}.txt"
    return [base64.b64decode(line) for line in path.read_text("ascii").split()] if path.exists() else []
