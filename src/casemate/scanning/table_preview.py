"""The confined side of a preview: the first rows of a stored table, masked unless they are asked for as they are."""

from __future__ import annotations

import datetime as dt
from itertools import groupby
from typing import Any

import pyarrow as pa
import pyarrow.parquet as pq

from casemate.core.wire import Frame
from casemate.sandbox import Asking
from casemate.scanning.asked_file import AskedFile
from casemate.scanning.table_difference import plain_value

_LONGEST = 40  # characters of a shape
_CELLS = 10_000  # values in one answer


def main(frame: Frame, ask: Asking) -> Frame:
    """message: {"size", "rows", "masked"}. Asks {"read": [offset, size]}. Answers {"rows": [{column: value}]}."""
    message = frame.message
    file = pq.ParquetFile(pa.PythonFile(AskedFile(ask, message["size"]), mode="r"), pre_buffer=False)
    wanted = min(message["rows"], max(1, _CELLS // len(file.schema_arrow)))
    batch = next(file.iter_batches(batch_size=wanted, use_threads=False))
    told = shape_of if message["masked"] else plain_value
    return Frame({"rows": [{name: told(value) for name, value in row.items()} for row in batch.to_pylist()]})


def shape_of(value: Any) -> str | None:
    """What a value looks like, without its letters and digits; None where it is missing.

    A run of letters is `a…`, or `A…` where it begins with a capital, whatever its length; each digit is `9`; a time is
    its form; a truth value says nothing.
    """
    if value is None:
        return None
    if isinstance(value, bool):
        return "true or false"
    if isinstance(value, bytes):
        return str(plain_value(value))  # its kind and length
    if isinstance(value, dt.datetime):
        return "9999-99-99 99:99:99"
    if isinstance(value, dt.date):
        return "9999-99-99"
    runs = (_run(kind, "".join(run)) for kind, run in groupby(str(value)[: 10 * _LONGEST], key=_kind))
    shape = "".join(runs)
    return shape if len(shape) <= _LONGEST else shape[:_LONGEST] + "…"


def _kind(character: str) -> str:
    if character.isalpha():
        return "letter"
    return "digit" if character.isnumeric() else character if character.isascii() and character.isprintable() else "?"


def _run(kind: str, run: str) -> str:
    if kind == "letter":
        return ("A" if run[0].isupper() else "a") + "…"
    return "9" * len(run) if kind == "digit" else kind * len(run)
