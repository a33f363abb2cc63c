"""What is sent of a dataset: a file, a folder or a query's rows, with a datasheet before it; and rows that are pulled."""

from __future__ import annotations

import hashlib
import os
import stat
import time
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import httpx

from casemate.client.answers import Download, json_body
from casemate.client.files import CHUNK, file_size, model_files, private, replaceable, tar_stream
from casemate.core import ConflictError, InputError, UpstreamError

_ATTEMPTS = 4  # of one pull or push, each from where the last broke off
_RESUMABLE = 8 << 20  # bytes; what is smaller is sent again
_NOTICED = 1.0  # s that a server needs to see that a connection has gone


@dataclass(frozen=True, slots=True, kw_only=True)
class Sent:
    """Args: size: bytes in all; 0: nobody knows. upload: what it can be gone on with by. start: bytes that came before."""

    filename: str
    size: int
    chunks: Iterator[bytes]
    upload: str = ""
    start: int = 0

    def after(self, sheet: Mapping[str, Any] | None) -> tuple[int, Sent]:
        """(bytes of the datasheet, what is sent with it in front)."""
        if sheet is None:
            return 0, self
        head = json_body(sheet, "datasheet")
        size = self.size + len(head) if self.size else 0
        return len(head), replace(self, size=size, chunks=_joined(head, self.chunks))


def file_to_send(path: Path) -> Sent:
    """A file as it is, or a folder as a tar stream. Raises: InputError."""
    if path.is_dir():
        files = model_files(path)
        total = sum(file_size(file) for _, file in files)
        return Sent(filename=path.absolute().name or "folder", size=total, chunks=tar_stream(files))
    return Sent(filename=path.name, size=file_size(path), chunks=_read(path))


def push_rows(
    path: Path,
    kept: Callable[[str], Mapping[str, Any] | None],
    send: Callable[[Sent], dict[str, Any]],
) -> dict[str, Any]:
    """Send a file or a folder. What breaks off goes on from there, by itself and with the next push of the same file.

    Args: kept: what a server has of an upload, `{"size", "digest"}`. send: all of it, or the rest.
    Raises: InputError; UpstreamError.
    """
    sent = file_to_send(path)
    upload = _upload_name(path) if sent.size >= _RESUMABLE else ""
    if not upload:
        return send(sent)
    before = kept(upload)
    for _ in range(_ATTEMPTS - 1):
        try:
            return send(_gone_on(path, upload, before))
        except UpstreamError as error:
            time.sleep(_NOTICED)
            before = kept(upload)
            if error.code != "no-answer" or before is None:
                raise
        except ConflictError as error:
            if error.code != "upload-gone":
                raise
            before = None
    return send(_gone_on(path, upload, before))


def _gone_on(path: Path, upload: str, kept: Mapping[str, Any] | None) -> Sent:
    """What is left to send; all of it, where what the server has is not what stands here."""
    sent = replace(file_to_send(path), upload=upload)
    if kept is None:
        return sent
    hasher, chunks, left = hashlib.sha256(), sent.chunks, int(kept["size"])
    for chunk in chunks:
        hasher.update(chunk[:left])
        rest, left = chunk[left:], left - len(chunk[:left])
        if not left:
            if "sha256:" + hasher.hexdigest() != kept["digest"]:
                break
            return replace(sent, start=int(kept["size"]), chunks=_joined(rest, chunks))
    return replace(file_to_send(path), upload=upload)


def _upload_name(path: Path) -> str:
    """The same for the same file, until it is changed."""
    status = path.stat()
    marks = (path.absolute(), status.st_dev, status.st_ino, status.st_size, status.st_mtime_ns)
    return "upl_" + hashlib.sha256(repr(marks).encode()).hexdigest()[:32]


def pull_rows(opened: Callable[[int], Download], to: Path, progress: Callable[[int, int], None] | None = None) -> Path:
    """Write what is downloaded to `to`, for its owner alone, once every byte is there and has the digest it should have.

    What breaks off is asked for from there on, and what is left beside `to` is gone on with by the next pull.
    Args: opened: a download from a byte on. progress: bytes so far, bytes in all.
    Raises: InputError `not-a-file`; UpstreamError `cut-off`, `bad-download`.
    """
    replaceable(to)
    part = _part(to)
    for attempt in range(_ATTEMPTS):
        try:
            digest = _pull(opened, part, progress)
        except UpstreamError as error:
            if error.code not in ("cut-off", "no-answer") or attempt == _ATTEMPTS - 1:
                raise
            continue
        if digest is not None and _digest(part) != digest:
            part.unlink()
            raise UpstreamError("What came is not what was signed, and was not kept: pull again.", code="bad-download")
        replaceable(to)
        part.replace(to)
        return to
    raise AssertionError("the last attempt returns or raises")


def _pull(opened: Callable[[int], Download], part: Path, progress: Callable[[int, int], None] | None) -> str | None:
    """Append what is missing; the digest that the whole should have, where it is told."""
    known, start = _kept(part)
    if start:
        try:
            with opened(start) as response:
                if _digest_in(response) == known:
                    _append(response, part, start, progress)
                    return known
        except InputError:  # of what is shorter by now
            pass
    for one in (part, _note(part)):  # what lies under these names by now need not be ours
        one.unlink(missing_ok=True)
    with opened(0) as response:
        digest = _digest_in(response)
        if digest:
            with open(_note(part), "x", opener=private) as note:  # follows no link
                note.write(digest)
        _append(response, part, 0, progress)
    return digest


def _append(response: httpx.Response, part: Path, start: int, progress: Callable[[int, int], None] | None) -> None:
    total = start + int(response.headers.get("Content-Length") or 0)
    flags = os.O_WRONLY | os.O_CREAT | os.O_APPEND | os.O_NOFOLLOW | os.O_CLOEXEC | (0 if start else os.O_EXCL)
    with os.fdopen(os.open(part, flags, 0o600), "wb") as file:
        for piece in response.iter_bytes(CHUNK):
            file.write(piece)
            start += len(piece)
            if progress:
                progress(start, max(total, start))
    _note(part).unlink(missing_ok=True)


def _part(to: Path) -> Path:
    return to.with_name(f".{to.name}.casemate-part")


def _note(part: Path) -> Path:
    """Beside it: the digest of the whole that it is a part of."""
    return part.with_name(part.name + "-of")


def _kept(part: Path) -> tuple[str, int]:
    """(digest of the whole, bytes that are there) of what another pull of ours left; 0 where nothing can be gone on with."""
    try:
        status, digest = part.lstat(), _note(part).read_text()
    except (OSError, UnicodeDecodeError):
        part.unlink(missing_ok=True)
        return "", 0
    ours = stat.S_ISREG(status.st_mode) and status.st_uid == os.geteuid() and status.st_nlink == 1
    if not ours or stat.S_IMODE(status.st_mode) != 0o600:
        part.unlink()
        return "", 0
    return digest.strip(), status.st_size


def _digest_in(response: httpx.Response) -> str | None:
    digest: str | None = response.headers.get("Casemate-Digest")
    return digest


def _digest(path: Path) -> str:
    with path.open("rb") as file:
        return "sha256:" + hashlib.file_digest(file, "sha256").hexdigest()


def _read(path: Path) -> Iterator[bytes]:
    with path.open("rb") as file:
        yield from iter(lambda: file.read(CHUNK), b"")


def _joined(head: bytes, rest: Iterator[bytes]) -> Iterator[bytes]:
    yield head
    yield from rest
