"""ZIP with one meaning only: members back to back, local and central headers agree, nothing before, between or behind.

Source: PKWARE APPNOTE 6.3.10: 4.3.7 local header, 4.3.9 data descriptor, 4.3.12 central directory, 4.3.14-16 its end.
"""

from __future__ import annotations

import stat
import struct
import zlib

import msgspec

from casemate.core import InputError, checked_path
from casemate.scanning.compressed import inflate
from casemate.scanning.notes import Notes, RefusedError
from casemate.scanning.rules import (
    ARCHIVE_BOMB,
    ARCHIVE_DUPLICATE,
    ARCHIVE_ENCRYPTED,
    ARCHIVE_LINK,
    ARCHIVE_MALFORMED,
    ARCHIVE_PATH,
    ARCHIVE_UNSUPPORTED,
)

_LOCAL = struct.Struct("<4sHHHHHIIIHH")
_CENTRAL = struct.Struct("<4sHHHHHHIIIHHHHHII")
_END = struct.Struct("<4sHHHHIIH")
_END64 = struct.Struct("<4sQHHIIQQQQ")
_LOCATOR64 = struct.Struct("<4sIQI")
_STORED, _DEFLATED = 0, 8
_ENCRYPTED = 1 << 0 | 1 << 6 | 1 << 13
_DESCRIPTOR = 1 << 3
_KNOWN_FLAGS = _ENCRYPTED | 0b110 | _DESCRIPTOR | 1 << 11  # compression options, data descriptor, UTF-8 names
_FULL32, _FULL16 = 0xFFFFFFFF, 0xFFFF
_UNIX = 3


class Member(msgspec.Struct, frozen=True):
    """One file of the archive, its headers checked; `data` is still packed."""

    name: str
    method: int
    crc: int
    size: int
    data: memoryview

    def unpack(self, notes: Notes) -> memoryview:
        """Its bytes. Raises: RefusedError."""
        packed = self.method == _DEFLATED
        content = inflate(self.data, zlib.decompressobj(-15), notes) if packed else self.data
        if len(content) != self.size or zlib.crc32(content) != self.crc:
            raise RefusedError(ARCHIVE_MALFORMED, f"{self.name}: size or check sum is wrong")
        return content


class _Entry(msgspec.Struct, frozen=True):
    raw: bytes
    flags: int
    method: int
    crc: int
    packed: int
    size: int
    offset: int
    mode: int


def holds_zip(data: memoryview) -> bool:
    """Is there the end of a ZIP archive in the tail, which programs that read ZIP from behind would take for one?"""
    tail = bytes(data[-(_END.size + _FULL16) :])
    at = tail.rfind(b"PK\5\6")
    while at >= 0:
        if at + _END.size <= len(tail):
            _, _, _, _, count, size, _, _ = _END.unpack_from(tail, at)
            start = len(data) - len(tail) + at - size
            if count == 0 or (start >= 0 and bytes(data[start : start + 4]) == b"PK\1\2"):
                return True
        at = tail.rfind(b"PK\5\6", 0, at)
    return False


def read_zip(data: memoryview, notes: Notes) -> list[Member]:
    """All members in the order of their bytes. Folders are checked and left out. Raises: RefusedError."""
    try:
        entries, directory = _central_directory(data, notes)
        return _members(data, entries, directory)
    except struct.error:
        raise RefusedError(ARCHIVE_MALFORMED, "a header is cut off") from None


def _broken(evidence: str) -> RefusedError:
    return RefusedError(ARCHIVE_MALFORMED, evidence)


def _central_directory(data: memoryview, notes: Notes) -> tuple[list[_Entry], int]:
    """(entries, where the directory starts). Raises: RefusedError, struct.error."""
    end = len(data) - _END.size
    if end < 0 or bytes(data[end : end + 4]) != b"PK\5\6":
        raise _broken("the archive does not end with its directory")
    _, disk, disk2, here, count, size, start, _ = _END.unpack_from(data, end)
    stop = end
    if end >= _LOCATOR64.size and bytes(data[end - _LOCATOR64.size :][:4]) == b"PK\6\7":
        here, count, size, start, stop = _end64(data, end, (count, size, start))
    if disk or disk2 or here != count or start + size != stop:
        raise _broken("the directory is not where its end says, or bytes lie behind it")
    if count > notes.limits.entries:
        raise RefusedError(ARCHIVE_BOMB, f"{count} members; at most {notes.limits.entries} are looked into")
    entries, at = [], start
    for _ in range(count):
        notes.enter()
        entry, at = _central_entry(data, at)
        entries.append(entry)
    if at != stop:
        raise _broken("the directory holds more than it counts")
    return entries, start


def _end64(data: memoryview, end: int, classic: tuple[int, int, int]) -> tuple[int, int, int, int, int]:
    locator = end - _LOCATOR64.size
    _, disk, at, disks = _LOCATOR64.unpack_from(data, locator)
    if disk or disks > 1 or at + _END64.size != locator:
        raise _broken("the ZIP64 locator does not point at the ZIP64 end")
    magic, length, _, _, disk, disk2, here, count, size, start = _END64.unpack_from(data, at)
    if magic != b"PK\6\6" or length != _END64.size - 12 or disk or disk2:
        raise _broken("the ZIP64 end is broken")
    for old, new, full in zip(classic, (count, size, start), (_FULL16, _FULL32, _FULL32), strict=True):
        if old not in (full, new):
            raise _broken("the two ends of the directory disagree")
    return here, count, size, start, at


def _central_entry(data: memoryview, at: int) -> tuple[_Entry, int]:
    head = _CENTRAL.unpack_from(data, at)
    magic, made, _, flags, method, _, _, crc, packed, size, n, m, k, disk, _, outer, offset = head
    if magic != b"PK\1\2" or disk or k:
        raise _broken("a directory entry is broken or carries a comment")
    at += _CENTRAL.size
    raw, extra = bytes(data[at : at + n]), bytes(data[at + n : at + n + m])
    if len(raw) != n or len(extra) != m:
        raise _broken("a directory entry is cut off")
    size, packed, offset = _wide(extra, [size, packed, offset])
    mode = outer >> 16 if made >> 8 == _UNIX else 0
    return _Entry(raw, flags, method, crc, packed, size, offset, mode), at + n + m


def _wide(extra: bytes, values: list[int]) -> list[int]:
    """The values, those that do not fit in 32 bits from the ZIP64 extra field. Raises: RefusedError, struct.error."""
    at, found = 0, None
    while at + 4 <= len(extra):
        tag, length = struct.unpack_from("<HH", extra, at)
        if at + 4 + length > len(extra):
            raise _broken("an extra field is cut off")
        if tag == 1:
            if found is not None:
                raise _broken("two ZIP64 extra fields")
            found = extra[at + 4 : at + 4 + length]
        at += 4 + length
    if found is None:
        if _FULL32 in values:
            raise _broken("a ZIP64 extra field is missing")
        return values
    numbers = iter(struct.unpack(f"<{len(found) // 8}Q", found[: len(found) // 8 * 8]))
    return [next(numbers, value) if value == _FULL32 else value for value in values]


def _members(data: memoryview, entries: list[_Entry], directory: int) -> list[Member]:
    seen: set[str] = set()
    members, at = [], 0
    for entry in sorted(entries, key=lambda entry: entry.offset):
        if entry.offset != at:
            raise _broken(f"bytes that belong to no member at byte {min(at, entry.offset)}")
        name = _checked_name(entry)
        if name.casefold() in seen:
            raise RefusedError(ARCHIVE_DUPLICATE, name)
        seen.add(name.casefold())
        start = _checked_local(data, entry, name)
        at = start + entry.packed + (_descriptor(data, start + entry.packed, entry) if entry.flags & _DESCRIPTOR else 0)
        if at > directory:
            raise _broken(f"{name} runs into the directory")
        if not entry.raw.endswith(b"/"):
            content = data[start : start + entry.packed]
            members.append(Member(name, entry.method, entry.crc, entry.size, content))
    if at != directory:
        raise _broken(f"bytes that belong to no member at byte {at}")
    return members


def _checked_name(entry: _Entry) -> str:
    """The member's name. Raises: RefusedError: unsafe, encrypted, a link, or packed in an unsupported way."""
    try:
        name = entry.raw.decode("utf-8" if entry.flags & 1 << 11 else "ascii")
        name = checked_path(name.removesuffix("/"))
    except (UnicodeDecodeError, InputError):
        raise RefusedError(ARCHIVE_PATH, repr(entry.raw[:120])) from None
    if entry.flags & _ENCRYPTED:
        raise RefusedError(ARCHIVE_ENCRYPTED, name)
    if stat.S_IFMT(entry.mode) not in (0, stat.S_IFREG, stat.S_IFDIR):
        raise RefusedError(ARCHIVE_LINK, name)
    if entry.method not in (_STORED, _DEFLATED):
        raise RefusedError(ARCHIVE_UNSUPPORTED, f"{name}: compression method {entry.method}")
    stored_wrong = entry.method == _STORED and entry.packed != entry.size
    if entry.flags & ~_KNOWN_FLAGS or stored_wrong or (entry.raw.endswith(b"/") and entry.size):
        raise _broken(f"{name}: impossible flags or sizes")
    return name


def _checked_local(data: memoryview, entry: _Entry, name: str) -> int:
    """Where the member's bytes start. Raises: RefusedError when the local header disagrees; struct.error."""
    magic, _, flags, method, _, _, crc, packed, size, n, m = _LOCAL.unpack_from(data, entry.offset)
    at = entry.offset + _LOCAL.size
    raw, extra = bytes(data[at : at + n]), bytes(data[at + n : at + n + m])
    if magic != b"PK\3\4" or len(raw) != n or len(extra) != m:
        raise _broken(f"{name}: its local header is broken")
    size, packed = _wide(extra, [size, packed])
    theirs = (entry.crc, entry.packed, entry.size)
    agrees = (crc, packed, size) == theirs or (flags & _DESCRIPTOR and crc == packed == size == 0)
    if not agrees or raw != entry.raw or (flags, method) != (entry.flags, entry.method):
        raise _broken(f"{name}: its local header and the directory disagree")
    return int(at + n + m)


def _descriptor(data: memoryview, at: int, entry: _Entry) -> int:
    """Length of the data descriptor at `at`. Raises: RefusedError."""
    for form in ("<III", "<IQQ"):
        plain = struct.pack(form, entry.crc, entry.packed, entry.size)
        for expected in (b"PK\7\10" + plain, plain):
            if data[at : at + len(expected)] == expected:
                return len(expected)
    raise _broken("a data descriptor is missing or disagrees")
