"""The confined side of a comparison of two stored tables: `main` is the only entry."""

from __future__ import annotations

import datetime as dt
import math
import os
from typing import Any

import numpy as np
import numpy.typing as npt
import pyarrow as pa
import pyarrow.parquet as pq

from casemate.core import InputError
from casemate.core.wire import Frame
from casemate.scanning.distributions import moved
from casemate.scanning.image_headers import PNG
from casemate.scanning.row_digests import Digests, row_digests, surplus

_TEXT = 200  # characters of a value that are shown
_SHOWN_CELLS = 10_000  # values of one kind of row that an answer holds at most

Places = npt.NDArray[np.int64]


def main(frame: Frame) -> Frame:
    """message: {"columns", "key", "shown"}, the Parquet files the descriptors, the older first."""
    message = frame.message
    columns, key, shown = message["columns"], message["key"], message["shown"]
    shown = min(shown, _SHOWN_CELLS // max(1, len(columns)) or 1)
    files = [pq.ParquetFile(f"/proc/self/fd/{fd}") for fd in frame.fds]
    secret = os.urandom(32)
    digests = [row_digests(file, columns, secret) for file in files]
    if not columns:  # nothing that both have: no row is the same
        pairs, places = None, [np.arange(file.metadata.num_rows) for file in files]
    elif key is None:
        pairs, places = None, [surplus(digests[0], digests[1]), surplus(digests[1], digests[0])]
    else:
        pairs, places = _by_key(files, key, secret)
    changed = pairs[:, digests[0][pairs[0]] != digests[1][pairs[1]]] if pairs is not None else None
    removed, added = places
    answer: dict[str, Any] = {
        "rows": {
            "before": len(digests[0]),
            "after": len(digests[1]),
            "added": len(added),
            "removed": len(removed),
            "changed": None if changed is None else changed.shape[1],
        },
        "columns": [_column(files, name, secret, pairs) for name in columns],
    }
    if shown:
        answer["shown"] = {"removed": _values(files[0], removed[:shown]), "added": _values(files[1], added[:shown])}
        if changed is not None:
            both = [_values(file, where[:shown]) for file, where in zip(files, changed, strict=True)]
            answer["shown"]["changed"] = [{"before": a, "after": b} for a, b in zip(*both, strict=True)]
    return Frame(answer)


def _by_key(files: list[pq.ParquetFile], key: str, secret: bytes) -> tuple[Places, list[Places]]:
    """(int64 (2, n): places of the rows whose key both have; those that only one has). Raises: InputError."""
    keys = [_keys(file, key, secret, which) for file, which in zip(files, ("older", "newer"), strict=True)]
    _, here, there = np.intersect1d(keys[0], keys[1], assume_unique=True, return_indices=True)
    alone = [
        np.flatnonzero(~np.isin(np.arange(len(all_keys)), shared, assume_unique=True))
        for all_keys, shared in zip(keys, (here, there), strict=True)
    ]
    order = np.argsort(there)
    return np.stack((here[order], there[order])), alone


def _keys(file: pq.ParquetFile, key: str, secret: bytes, which: str) -> Digests:
    found = row_digests(file, [key], secret)
    missing = file.read(columns=[key], use_threads=False).column(0).null_count
    twice = len(found) - len(np.unique(found))
    if missing or twice:
        what = f"{missing} rows without a value" if missing else f"{twice} rows whose value another row has"
        raise InputError(
            f"{key[:80]!r} is no key: the {which} version has {what}; name another column, or none.", code="dataset-key"
        )
    return found


def _column(files: list[pq.ParquetFile], name: str, secret: bytes, pairs: Places | None) -> dict[str, Any]:
    before, after = (file.read(columns=[name], use_threads=False).column(0) for file in files)
    facts: dict[str, Any] = {"name": name, **moved(before, after), "changed": None}
    if pairs is not None:
        cells = [row_digests(file, [name], secret) for file in files]
        facts["changed"] = int(np.count_nonzero(cells[0][pairs[0]] != cells[1][pairs[1]]))
    return facts


def _values(file: pq.ParquetFile, places: Places) -> list[dict[str, Any]]:
    """The rows at `places`, as plain JSON values; a long text is cut."""
    starts = np.cumsum([0, *(file.metadata.row_group(n).num_rows for n in range(file.metadata.num_row_groups))])
    found: list[dict[str, Any]] = []
    group, table = -1, pa.table({})
    for place in places:
        wanted = int(np.searchsorted(starts, place, side="right")) - 1
        if wanted != group:
            group, table = wanted, file.read_row_group(wanted, use_threads=False)
        row = table.slice(int(place - starts[group]), 1).to_pylist()[0]
        found.append({name: plain_value(value) for name, value in row.items()})
    return found


def plain_value(value: Any) -> Any:
    """A cell as JSON has it: times as text, what is no number by its name, and of an image its kind and length."""
    if isinstance(value, bytes):
        return f"{'PNG' if value.startswith(PNG) else 'JPEG'}, {len(value)} bytes"
    if isinstance(value, dt.date):
        return value.isoformat()
    if isinstance(value, float) and not math.isfinite(value):
        return str(value)
    return value if not isinstance(value, str) or len(value) <= _TEXT else value[:_TEXT] + "…"
