"""TAR of regular files and folders only, nothing behind its end.

Source: POSIX.1-2017 pax, "ustar Interchange Format"; pax records that change name, size or type are refused.
"""

from __future__ import annotations

import re

from casemate.core import InputError, checked_path
from casemate.scanning.notes import Notes, RefusedError
from casemate.scanning.rules import ARCHIVE_DUPLICATE, ARCHIVE_LINK, ARCHIVE_MALFORMED, ARCHIVE_PATH

_BLOCK = 512
_HARMLESS = frozenset({"mtime", "atime", "ctime", "uid", "gid", "uname", "gname"})  # pax keys
_RECORD = re.compile(rb"(\d{1,9}) ([A-Za-z0-9._-]{1,99})=")


def is_tar(data: memoryview) -> bool:
    """Does it start with a header whose check sum is right?"""
    return len(data) >= _BLOCK and bytes(data[:1]) != b"\0" and _checksum_is_right(bytes(data[:_BLOCK]))


def read_tar(data: memoryview, notes: Notes) -> list[tuple[str, memoryview]]:
    """(name, bytes) of all files. Raises: RefusedError."""
    members: list[tuple[str, memoryview]] = []
    seen: set[str] = set()
    at = 0
    while any(header := bytes(data[at : at + _BLOCK])):
        notes.enter()
        kind, name, size = _checked_header(header, at)
        content = data[at + _BLOCK : at + _BLOCK + size]
        if len(content) != size:
            raise RefusedError(ARCHIVE_MALFORMED, f"{name} is cut off")
        at += _BLOCK + -(-size // _BLOCK) * _BLOCK
        if kind in b"xg":
            _check_pax(bytes(content[: 1 << 16]))
            continue
        if name.casefold() in seen:
            raise RefusedError(ARCHIVE_DUPLICATE, name)
        seen.add(name.casefold())
        if kind != b"5":
            members.append((name, content))
    if len(data) - at < 2 * _BLOCK or any(bytes(data[at : at + (1 << 20)])) or len(data) - at > 1 << 20:
        raise RefusedError(ARCHIVE_MALFORMED, "the archive does not end where it says")
    return members


def _checked_header(header: bytes, at: int) -> tuple[bytes, str, int]:
    """(type, name, size). Raises: RefusedError."""
    if len(header) != _BLOCK or not _checksum_is_right(header):
        raise RefusedError(ARCHIVE_MALFORMED, f"no header at byte {at}")
    kind = header[156:157].replace(b"\0", b"0")
    prefix = header[345:500] if header[257:263] == b"ustar\0" else b""
    raw = b"/".join(part.split(b"\0")[0] for part in (prefix, header[:100]) if part.split(b"\0")[0])
    if kind not in b"05xg":
        raise RefusedError(ARCHIVE_LINK, f"{raw[:100]!r} is of type {kind!r}")
    try:
        name = checked_path(raw.decode().removesuffix("/").removeprefix("./"))
        size = int(header[124:136].rstrip(b"\0 ") or b"0", 8)
    except (UnicodeDecodeError, InputError):
        raise RefusedError(ARCHIVE_PATH, repr(raw[:120])) from None
    except ValueError:
        raise RefusedError(ARCHIVE_MALFORMED, f"{name}: its size is no octal number") from None
    if size < 0 or (kind == b"5" and size):
        raise RefusedError(ARCHIVE_MALFORMED, f"{name}: an impossible size")
    return kind, name, size


def _check_pax(records: bytes) -> None:
    at = 0
    while at < len(records):
        match = _RECORD.match(records, at)
        if match is None or match[2].decode() not in _HARMLESS or int(match[1]) == 0:
            raise RefusedError(ARCHIVE_MALFORMED, "a pax record that changes what a member is")
        at += int(match[1])
    if at != len(records):
        raise RefusedError(ARCHIVE_MALFORMED, "a pax record is cut off")


def _checksum_is_right(header: bytes) -> bool:
    try:
        stated = int(header[148:156].rstrip(b"\0 ").lstrip(b" "), 8)
    except ValueError:
        return False
    return stated == sum(header) - sum(header[148:156]) + 8 * 32
