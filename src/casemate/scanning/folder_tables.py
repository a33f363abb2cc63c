"""A folder of images or of text files, as a tar stream -> Arrow batches. Runs in the sandbox.

A row is a file: its `path`, the `label` that the folder it lies in gives, and the file itself as `text`, or as `image` with
its `width` and `height` by its own header. A folder holds files of one kind; what is none of it is named and refused, but
for hidden files (`.DS_Store`), which are left out and told.
"""

from __future__ import annotations

import io
import tarfile
from collections.abc import Iterator
from pathlib import PurePosixPath
from typing import Any, Self

import pyarrow as pa

from casemate.core import InputError, TooLargeError, checked_path
from casemate.scanning.asked_file import AskedFile
from casemate.scanning.columns import Rows, check_size
from casemate.scanning.image_headers import image_size, is_image
from casemate.scanning.limits import DatasetLimits

_BUFFER = 1 << 20  # bytes read at a time
_BATCH_BYTES = 8 << 20  # of files in one batch
_BATCH_FILES = 4096
_PLAIN = (tarfile.REGTYPE, tarfile.AREGTYPE)

_COMMON = [("path", pa.string()), ("label", pa.string())]
_IMAGES = pa.schema([*_COMMON, ("image", pa.binary()), ("width", pa.int64()), ("height", pa.int64())])
_TEXTS = pa.schema([*_COMMON, ("text", pa.string())])


def is_folder(head: bytes) -> bool:
    """Whether it begins as a tar archive does, as a folder is sent."""
    return len(head) >= 512 and head[257:262] == b"ustar"


def read_folder(file: AskedFile, filename: str, limits: DatasetLimits) -> Rows:
    """Raises: InputError `dataset-folder`, `dataset-image`, `dataset-encoding`, `dataset-empty`; TooLargeError."""
    hidden: list[str] = []
    first = next(_files(file, filename, hidden), None)
    if first is None:
        raise InputError(f"{filename} holds no file: name a folder of images or of text files.", code="dataset-empty")
    images = is_image(_whole(first[1], min(16, first[2]), filename))
    labelled = {len(PurePosixPath(path).parts) > 1 for path, _, _ in _files(file, filename, [])}
    notes: list[str] = []
    if labelled == {True, False}:
        notes.append("files that lie in no folder of their own have no label")
    schema = _IMAGES if images else _TEXTS
    return Rows(schema=schema, batches=_batches(file, schema, filename, limits, notes), notes=notes)


def _batches(
    file: AskedFile, schema: pa.Schema, filename: str, limits: DatasetLimits, notes: list[str]
) -> Iterator[pa.RecordBatch]:
    waiting: list[dict[str, Any]] = []
    hidden: list[str] = []
    images = schema is _IMAGES
    size = count = 0
    for path, source, length in _files(file, filename, hidden):
        name, most = f"{filename}/{path}"[:200], limits.image_bytes if images else limits.cell_bytes
        if length > most:
            raise TooLargeError(f"{name}: over {most} bytes; leave it out.", code="dataset-too-large")
        data = _whole(source, length, filename)
        parts = PurePosixPath(path).parts
        row = {"path": path, "label": parts[-2] if len(parts) > 1 else None}
        waiting.append(row | (_image(name, data, limits) if images else _text(name, data)))
        size, count = size + length, count + 1
        check_size(count, 0, filename, limits)
        if size >= _BATCH_BYTES or len(waiting) == _BATCH_FILES:
            yield pa.RecordBatch.from_pylist(waiting, schema=schema)
            waiting, size = [], 0
    if waiting:
        yield pa.RecordBatch.from_pylist(waiting, schema=schema)
    if hidden:
        notes.append(f"{len(hidden)} hidden files were left out")


def _whole(source: Any, length: int, filename: str) -> bytes:
    try:
        data: bytes = source.read(length)
    except tarfile.TarError as error:
        raise _cut_off(filename) from error
    if len(data) != length:
        raise _cut_off(filename)
    return data


def _image(name: str, data: bytes, limits: DatasetLimits) -> dict[str, Any]:
    if not is_image(data):
        raise _odd(name, "no PNG or JPEG, as the first file is")
    width, height = image_size(data, name, limits)
    return {"image": data, "width": width, "height": height}


def _text(name: str, data: bytes) -> dict[str, Any]:
    if is_image(data):
        raise _odd(name, "an image, and the first file is text")
    try:
        text = data.decode()
    except UnicodeDecodeError:
        raise _odd(name, "no text in UTF-8") from None
    if "\0" in text:
        raise _odd(name, "no text, since it holds a zero byte")
    return {"text": text}


def _files(file: AskedFile, filename: str, hidden: list[str]) -> Iterator[tuple[str, Any, int]]:
    """(path, its bytes to be read, how many) of each file, in the archive's order; each is read before the next."""
    seen: set[str] = set()
    try:
        with tarfile.open(
            fileobj=io.BufferedReader(file.from_start(), _BUFFER), mode="r:", tarinfo=_PlainMember
        ) as archive:
            for member in archive:
                if member.isdir():
                    continue
                source = archive.extractfile(member)
                assert source is not None, "a plain file can be read"
                path = checked_path(member.name)
                if any(part.startswith(".") for part in PurePosixPath(path).parts):
                    hidden.append(path)
                    continue
                if path in seen:
                    raise _odd(path[:200], "there twice")
                seen.add(path)
                yield path, source, member.size
    except (tarfile.TarError, UnicodeError, EOFError) as error:
        raise _cut_off(filename) from error


class _PlainMember(tarfile.TarInfo):
    """Refuses, before a byte of it is read, whatever is no plain file: links, devices, extended headers of any size."""

    @classmethod
    def frombuf(cls, buf: bytes | bytearray, encoding: str, errors: str) -> Self:
        member = super().frombuf(buf, encoding, errors)
        if member.type not in (*_PLAIN, tarfile.DIRTYPE):
            raise _odd(member.name[:200], "a link, a device, or a name of over 255 bytes")
        return member


def _odd(name: str, why: str) -> InputError:
    return InputError(
        f"{name} is {why}: a folder holds either PNG and JPEG images, or text files.", code="dataset-folder"
    )


def _cut_off(filename: str) -> InputError:
    return InputError(f"{filename} did not come whole: send it again.", code="dataset-malformed")
