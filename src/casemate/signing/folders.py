"""What a model signature lists, beside what lies in a folder: every file is listed, every listed file is there, unaltered.

Upstream takes the signature's word for what to leave out. Here the caller alone may leave a path out.
"""

from __future__ import annotations

import hashlib
import os
import stat
from collections.abc import Callable, Iterator, Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from pathlib import Path
from typing import Annotated, Any, Literal, Protocol

import msgspec

from casemate.core import Digest, InputError, VerificationError, refused_by_system
from casemate.signing.trust import Predicate

Progress = Callable[[int, int], None]  # bytes read, bytes in all

MAX_FILES = 100_000
_CHUNK = 1 << 20  # bytes read at a time
_OLD = "https://model_signing/Digests/v0.1"
_WHOLE = -1  # where a file is named whole, in place of an end


class _Hash(Protocol):
    def update(self, data: bytes, /) -> object: ...
    def hexdigest(self) -> str: ...


@dataclass(frozen=True, slots=True, kw_only=True)
class Listing:
    """What is signed. Args: pieces: path -> (start, end, hex digest) of each piece; the end of a whole file is -1.
    left_out: what the signer said to be left out: told to people, never believed."""

    hash_type: Literal["sha256", "blake2b", "blake3"]
    pieces: Mapping[str, tuple[tuple[int, int, str], ...]]
    left_out: tuple[str, ...]


class _Serialization(msgspec.Struct, frozen=True, kw_only=True):
    method: Literal["files", "shards"]
    hash_type: Literal["sha256", "blake2b", "blake3"]
    ignore_paths: tuple[str, ...] = ()


class _Resource(msgspec.Struct, frozen=True, kw_only=True):
    name: Annotated[str, msgspec.Meta(min_length=1, max_length=4096)]
    digest: Annotated[str, msgspec.Meta(pattern=r"^[0-9a-f]{64}([0-9a-f]{64})?\Z")]


class _Predicate(msgspec.Struct, frozen=True, kw_only=True):
    serialization: _Serialization
    resources: tuple[_Resource, ...]


class _Subject(msgspec.Struct, frozen=True, kw_only=True):
    digest: dict[str, str]


class _Statement(msgspec.Struct, frozen=True, kw_only=True):
    type: Literal["https://in-toto.io/Statement/v1"] = msgspec.field(name="_type")
    predicate_type: str = msgspec.field(name="predicateType")
    subject: tuple[_Subject, ...]
    predicate: dict[str, Any]


def read_listing(payload: bytes) -> Listing:
    """What a verified payload lists.

    Raises: VerificationError `signature-malformed`; `signature-old`: of before 1.0, whose list no digest binds.
    """
    try:
        statement = msgspec.json.decode(payload, type=_Statement)
        if statement.predicate_type == _OLD:
            raise VerificationError(
                "This signature is of before version 1.0, and could leave files out unseen: ask for a new one.",
                code="signature-old",
            )
        if statement.predicate_type != Predicate.FILES:
            raise ValueError
        predicate = msgspec.convert(statement.predicate, _Predicate)
        root = hashlib.sha256(b"".join(bytes.fromhex(one.digest) for one in predicate.resources)).hexdigest()
        (subject,) = statement.subject
        if subject.digest != {"sha256": root}:
            raise ValueError
        pieces = _pieces(predicate)
    except (ValueError, TypeError) as error:
        raise VerificationError("The signed list of files cannot be read.", code="signature-malformed") from error
    said = predicate.serialization
    return Listing(hash_type=said.hash_type, pieces=pieces, left_out=said.ignore_paths)


def check_folder(
    path: Path, listing: Listing, *, ignore: Sequence[str] = (), progress: Progress | None = None
) -> tuple[str, ...]:
    """Return the files that were read, when `path` holds what is listed and nothing else. It may be one file.

    Args: ignore: relative paths, and all below them, that the caller vouches for; nothing of them is read.
    Raises: VerificationError `file-changed`, `file-missing`, `file-unexpected`; InputError: it cannot be read.
    """
    found = {name: size for name, size in walk(path) if not _within(name, ignore)}
    wanted = {name: pieces for name, pieces in listing.pieces.items() if not _within(name, ignore)}
    for name in sorted(found.keys() | wanted.keys()):
        if name not in found:
            raise VerificationError(f"The signed file {name!r} is missing.", code="file-missing")
        if name not in wanted:
            raise VerificationError(_unexpected(name, listing), code="file-unexpected")
    total, read = sum(found.values()), 0
    with ThreadPoolExecutor(2) as pool:
        tasks = {
            name: pool.submit(_is_as_signed, path, name, listing.hash_type, wanted[name]) for name in sorted(wanted)
        }
        try:
            for name, task in tasks.items():
                if not task.result():
                    raise VerificationError(
                        f"The file {name!r} is not what was signed: its bytes were altered.", code="file-changed"
                    )
                read += found[name]
                if progress is not None:
                    progress(read, total)
        finally:
            pool.shutdown(cancel_futures=True)
    return tuple(sorted(found))


def digests_of(path: Path, *, ignore: Sequence[str] = (), progress: Progress | None = None) -> dict[str, Digest]:
    """SHA-256 of every file in `path`, hidden ones included. Raises: InputError: a link, or it cannot be read."""
    found = {name: size for name, size in walk(path) if not _within(name, ignore)}
    total, read, digests = sum(found.values()), 0, {}
    for name, size in sorted(found.items()):
        hasher = hashlib.sha256()
        for piece in _bytes_of(_place(path, name)):
            hasher.update(piece)
        digests[name] = Digest("sha256:" + hasher.hexdigest())
        read += size
        if progress is not None:
            progress(read, total)
    return digests


def walk(path: Path) -> Iterator[tuple[str, int]]:
    """Relative POSIX path and size of each file, `.` for a single one. Raises: InputError: a link, a device, too many."""
    try:
        status = path.lstat()
        if stat.S_ISREG(status.st_mode):
            yield ".", status.st_size
            return
        if not stat.S_ISDIR(status.st_mode):
            raise _not_plain(str(path))
        count = 0
        folders = [""]
        while folders:
            inside = folders.pop()
            with os.scandir(path / inside) as entries:
                for entry in entries:
                    name = f"{inside}{entry.name}"
                    if entry.is_dir(follow_symlinks=False):
                        folders.append(name + "/")
                        continue
                    if not entry.is_file(follow_symlinks=False):
                        raise _not_plain(name)
                    if (count := count + 1) > MAX_FILES:
                        raise InputError(f"There are more than {MAX_FILES:,} files in {path}.", code="too-many-files")
                    yield name, entry.stat(follow_symlinks=False).st_size
    except OSError as error:
        raise refused_by_system(error) from error


def _pieces(predicate: _Predicate) -> dict[str, tuple[tuple[int, int, str], ...]]:
    """Raises: ValueError: a file twice, in two spellings, or with a gap between its pieces."""
    listed: dict[str, list[tuple[int, int, str]]] = {}
    for resource in predicate.resources:
        name, start, end = resource.name, 0, _WHOLE
        if predicate.serialization.method == "shards":
            name, first, last = resource.name.rsplit(":", 2)
            start, end = int(first), int(last)
            if (str(start), str(end)) != (first, last) or end <= start:
                raise ValueError
        if name != "." and any(part in ("", ".", "..") for part in name.split("/")):
            raise ValueError
        listed.setdefault(name, []).append((start, end, resource.digest))
    for pieces in listed.values():
        pieces.sort()
        ends = [0, *(end for _, end, _ in pieces[:-1])]
        if [start for start, _, _ in pieces] != ends:
            raise ValueError
    return {name: tuple(pieces) for name, pieces in listed.items()}


def _within(name: str, ignored: Sequence[str]) -> bool:
    return any(name == one or name.startswith(one.rstrip("/") + "/") for one in ignored)


def _unexpected(name: str, listing: Listing) -> str:
    said = (
        " The signer left it out on purpose, and anybody may have put it there."
        if _within(name, listing.left_out)
        else ""
    )
    return (
        f"The file {name!r} is not covered by the signature.{said} Remove it, or leave it out yourself: --ignore PATH."
    )


def _is_as_signed(path: Path, name: str, hash_type: str, pieces: tuple[tuple[int, int, str], ...]) -> bool:
    reader = _bytes_of(_place(path, name))
    held = b""
    for start, end, digest in pieces:
        hasher, left = _hasher(hash_type), end - start if end != _WHOLE else None
        while left is None or left > 0:
            held = held or next(reader, b"")
            if not held:
                break
            taken = held if left is None else held[:left]
            hasher.update(taken)
            held = held[len(taken) :]
            left = None if left is None else left - len(taken)
        if left or hasher.hexdigest() != digest:
            return False
    return not held and next(reader, None) is None


def _hasher(hash_type: str) -> _Hash:
    if hash_type == "blake3":
        from blake3 import blake3

        hasher: _Hash = blake3()
        return hasher
    return hashlib.new(hash_type)


def _place(path: Path, name: str) -> Path:
    return path if name == "." else path / name


def _bytes_of(path: Path) -> Iterator[bytes]:
    """Raises: InputError: it cannot be read, or became a link."""
    try:
        fd = os.open(path, os.O_RDONLY | os.O_NOFOLLOW | os.O_CLOEXEC | os.O_NONBLOCK)
        with os.fdopen(fd, "rb", buffering=0) as file:
            while piece := file.read(_CHUNK):
                yield piece
    except OSError as error:
        raise refused_by_system(error) from error


def _not_plain(name: str) -> InputError:
    return InputError(f"{name!r} is a link or no plain file: copy what it means into its place.", code="no-file")
