"""A judgement as bytes, for another process. Both sides are sandboxes, and neither believes the other."""

from __future__ import annotations

from typing import Any

import msgspec
import numpy as np

from casemate.core import UpstreamError
from casemate.screening.clusters import SHIFTS
from casemate.screening.columns import Bools
from casemate.screening.judge import Judgement


class _Packed(msgspec.Struct, array_like=True, forbid_unknown_fields=True):
    likely: bytes
    meant: bytes
    trigger: bytes
    odd: bytes
    cells: bytes
    late: bytes | None
    unread: bytes | None


_DECODER = msgspec.msgpack.Decoder(_Packed)


def pack_judgement(judged: Judgement, unread: Bools | None) -> bytes:
    """As `read_judgement` reads it. Args: unread: bool (n,), images that could not be read."""
    packed = _Packed(
        likely=judged.likely.astype("<f4").tobytes(),
        meant=judged.meant.astype("<i4").tobytes(),
        trigger=judged.trigger.astype("<f4").tobytes(),
        odd=judged.odd.astype("<f4").tobytes(),
        cells=judged.cells.astype("<u8").tobytes(),
        late=None if judged.late is None else judged.late.astype("<f4").tobytes(),
        unread=None if unread is None else unread.astype(np.uint8).tobytes(),
    )
    return msgspec.msgpack.encode(packed)


def read_judgement(
    data: bytes | bytearray, *, rows: int, classes: int, late: bool, unread: bool
) -> tuple[Judgement, Bools | None]:
    """The judgement of a block of so many rows. Args: late, unread: whether there is one.

    Raises: UpstreamError `ray-judgement`: it is of another shape, or says what no judgement says.
    """
    try:
        packed = _DECODER.decode(data)
        if (packed.late is not None, packed.unread is not None) != (late, unread):
            raise ValueError("a column that is missing, or too many")
        found = Judgement(
            likely=_column(packed.likely, "<f4", rows, most=1.0),
            meant=_column(packed.meant, "<i4", rows, most=classes - 1),
            trigger=_column(packed.trigger, "<f4", rows),
            odd=_column(packed.odd, "<f4", rows),
            cells=_column(packed.cells, "<u8", rows * SHIFTS).reshape(rows, SHIFTS),
            late=None if packed.late is None else _column(packed.late, "<f4", rows, most=1.0),
        )
        images = None if packed.unread is None else _column(packed.unread, "u1", rows, most=1).astype(bool)
    except (msgspec.DecodeError, ValueError) as error:
        raise UpstreamError(
            "A node of the cluster answered a block with what is no judgement of it: nothing of it was used. Look at that "
            "node, then screen again.",
            code="ray-judgement",
        ) from error
    return found, images


def _column(data: bytes, kind: str, count: int, *, most: float | None = None) -> Any:
    """(count,), each from 0 to `most`, or finite. Raises: ValueError."""
    values = np.frombuffer(data, kind).astype(np.dtype(kind).newbyteorder("="))
    if len(values) != count:
        raise ValueError("a column of another length")
    if count and not (np.isfinite(values).all() and values.min() >= 0 and (most is None or values.max() <= most)):
        raise ValueError("a value out of range")
    return values
