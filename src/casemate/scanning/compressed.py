"""Single compressed streams: gzip, zlib, bzip2, xz, lzma. One stream, whole, within the bounds, nothing behind it."""

from __future__ import annotations

import bz2
import lzma
import zlib
from typing import Any

from casemate.scanning.notes import Notes, RefusedError
from casemate.scanning.rules import ARCHIVE_BOMB, ARCHIVE_MALFORMED

_CHUNK = 1 << 20  # bytes in and out per step
_LZMA_MEMORY = 256 << 20  # bytes that a dictionary may take; xz -9 takes 65 MB


def compression_of(data: memoryview) -> str:
    """`gzip`, `zlib`, `bzip2`, `xz`, `lzma`, or empty."""
    head = bytes(data[:16])
    if head.startswith(b"\x1f\x8b"):
        return "gzip"
    if head.startswith(b"BZh") and head[3:4] in b"123456789" and head[4:10] in (b"1AY&SY", b"\x17rE8P\x90"):
        return "bzip2"
    if head.startswith(b"\xfd7zXZ\0"):
        return "xz"
    if head.startswith(b"]\0\0") and len(head) >= 13 and (head[5:13] == b"\xff" * 8 or head[10:13] == b"\0\0\0"):
        return "lzma"
    # RFC 1950: deflate, a window of 32 KiB at most, no dictionary, and a check value.
    is_zlib = len(head) > 6 and head[0] & 0x0F == 8 and head[0] >> 4 <= 7 and not head[1] & 0x20
    return "zlib" if is_zlib and int.from_bytes(head[:2]) % 31 == 0 else ""


def expand(data: memoryview, kind: str, notes: Notes) -> memoryview:
    """What the stream unpacks to. Raises: RefusedError."""
    return inflate(data, _decompressor(kind), notes)


def inflate(data: memoryview, decompressor: Any, notes: Notes) -> memoryview:
    """Run a decompressor over all of `data`, within the bounds. Raises: RefusedError."""
    bound, out, position = notes.expandable(len(data)), bytearray(), 0
    rest: Any = b""
    try:
        while not decompressor.eof:
            if not rest and getattr(decompressor, "needs_input", True):
                rest, position = data[position : position + _CHUNK], position + _CHUNK
            piece, given = decompressor.decompress(rest, _CHUNK), len(rest)
            if not (piece or given or decompressor.eof):
                raise RefusedError(ARCHIVE_MALFORMED, "the compressed stream is cut off")
            rest = getattr(decompressor, "unconsumed_tail", b"")
            out += piece
            if len(out) > bound:
                raise RefusedError(ARCHIVE_BOMB, f"{len(data)} bytes unpack to more than {bound}")
    except (zlib.error, OSError, lzma.LZMAError, EOFError) as error:
        raise RefusedError(ARCHIVE_MALFORMED, f"the compressed stream is broken: {error}") from None
    if decompressor.unused_data or position < len(data):
        raise RefusedError(ARCHIVE_MALFORMED, "bytes follow the compressed stream")
    notes.expand(len(out))
    return memoryview(out).toreadonly()


def _decompressor(kind: str) -> Any:
    match kind:
        case "gzip":
            return zlib.decompressobj(31)
        case "zlib":
            return zlib.decompressobj(15)
        case "bzip2":
            return bz2.BZ2Decompressor()
        case "xz":
            return lzma.LZMADecompressor(lzma.FORMAT_XZ, _LZMA_MEMORY)
        case _:
            return lzma.LZMADecompressor(lzma.FORMAT_ALONE, _LZMA_MEMORY)
