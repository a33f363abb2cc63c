"""PNG and JPEG: width and height from the header, which is all that is read of an image. Runs in the sandbox.

Nothing is decoded: an image whose header is whole may still be broken behind it. What decodes it later meets a file that is
of the kind and the size that it claims, within the bounds.
Source: W3C PNG 3rd edition, section 11.2.1; ITU-T T.81, section B.2.2.
"""

from __future__ import annotations

import struct
import zlib

from casemate.core import InputError, TooLargeError
from casemate.scanning.limits import DatasetLimits

PNG, JPEG = b"\x89PNG\r\n\x1a\n", b"\xff\xd8\xff"
_PNG_DEPTHS = {0: (1, 2, 4, 8, 16), 2: (8, 16), 3: (1, 2, 4, 8), 4: (8, 16), 6: (8, 16)}  # colour type -> bits
_FRAMES = frozenset(range(0xC0, 0xD0)) - {0xC4, 0xC8, 0xCC}  # start of frame, of any coding
_ALONE = frozenset({0x01, *range(0xD0, 0xD9)})  # markers without a length
_SEGMENTS = 10_000  # before the frame


def is_image(head: bytes) -> bool:
    """Whether it begins as one."""
    return head.startswith((PNG, JPEG))


def image_size(data: bytes | memoryview, name: str, limits: DatasetLimits) -> tuple[int, int]:
    """(width, height) in pixels. Args: name: of the image, for messages.

    Raises: InputError `dataset-image`; TooLargeError `dataset-too-large`.
    """
    view = memoryview(data).cast("B")  # Arrow's own are of signed bytes
    if view.nbytes > limits.image_bytes:
        raise TooLargeError(f"{name}: over {limits.image_bytes} bytes.", code="dataset-too-large")
    head = bytes(view[:8])
    try:
        size = _png_size(view) if head == PNG else _jpeg_size(view) if head.startswith(JPEG) else None
    except (struct.error, IndexError):
        size = None
    if size is None or 0 in size:
        raise InputError(f"{name}: no PNG or JPEG with a whole header; mend it or leave it out.", code="dataset-image")
    if size[0] * size[1] > limits.pixels:
        raise TooLargeError(
            f"{name}: {size[0]} x {size[1]} pixels; at most {limits.pixels} are taken.", code="dataset-too-large"
        )
    return size


def _png_size(view: memoryview) -> tuple[int, int] | None:
    length, kind, width, height, depth, colour, packing, filters, interlace, check = struct.unpack_from(
        ">I4sIIBBBBBI", view, 8
    )
    known = depth in _PNG_DEPTHS.get(colour, ()) and not packing and not filters and interlace <= 1
    whole = length == 13 and kind == b"IHDR" and check == zlib.crc32(view[12:29])
    ends = bytes(view[-12:]) == b"\0\0\0\0IEND\xaeB`\x82"
    return (width, height) if known and whole and ends and max(width, height) < 1 << 31 else None


def _jpeg_size(view: memoryview) -> tuple[int, int] | None:
    place = 2
    for _ in range(_SEGMENTS):
        if view[place] != 0xFF:
            return None
        while view[place] == 0xFF:
            place += 1
        marker = view[place]
        place += 1
        if marker in _ALONE:
            continue
        if marker in (0xD9, 0xDA):  # the end, or pixels before any frame
            return None
        (length,) = struct.unpack_from(">H", view, place)
        if marker in _FRAMES:
            _, height, width = struct.unpack_from(">BHH", view, place + 2)
            return width, height
        place += max(2, length)
    return None
