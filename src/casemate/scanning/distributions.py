"""How far a column's values have moved between two tables: population stability index and Kolmogorov-Smirnov."""

from __future__ import annotations

from typing import Any

import numpy as np
import numpy.typing as npt
import pyarrow as pa
import pyarrow.compute as pc
import pyarrow.types as pt

from casemate.scanning.row_digests import numbers

_BINS = 10  # by the deciles of the table that came before
_CATEGORIES = 32  # of text: the most frequent before, the rest counts as one
_LEAST = 1e-4  # share that an empty bin counts with, or the index would be infinite
_MOVED, _FAR = 0.1, 0.2  # of the index

Floats = npt.NDArray[np.float64]


def moved(before: pa.ChunkedArray, after: pa.ChunkedArray) -> dict[str, Any]:
    """{"psi", "ks", "missing_before", "missing_after", "shift"} of two columns of one plain type.

    `ks` is null for text and truth values; of images the length in bytes counts; `shift` is none, some (index over 0.1) or large (over 0.2). No value of a
    row is in it.
    Source: Siddiqi 2006, table 5.1, bins by deciles of `before`, missing values a bin of their own; Smirnov 1948.
    """
    if pt.is_binary(before.type):  # images, by how long they are
        before, after = (pc.cast(pc.binary_length(column), pa.int64()) for column in (before, after))
    shares = [column.null_count / len(column) if len(column) else 0.0 for column in (before, after)]
    if pt.is_string(before.type) or pt.is_boolean(before.type):
        index, distance = _psi(*_by_category(before, after)), None
    else:
        first, second = (_finite(column) for column in (before, after))
        index, distance = _psi(*_by_decile(first, second, before, after)), _ks(first, second)
    return {
        "psi": round(index, 4),
        "ks": None if distance is None else round(distance, 4),
        "missing_before": round(shares[0], 4),
        "missing_after": round(shares[1], 4),
        "shift": "large" if index > _FAR else "some" if index > _MOVED else "none",
    }


def _finite(column: pa.ChunkedArray) -> Floats:
    values = numbers(column.drop_null()).astype(np.float64)
    return values[np.isfinite(values)]


def _by_decile(first: Floats, second: Floats, before: pa.ChunkedArray, after: pa.ChunkedArray) -> tuple[Floats, Floats]:
    """Counts in each bin; the last two are of infinite and of missing values."""
    edges = np.unique(np.quantile(first, np.arange(1, _BINS) / _BINS)) if len(first) else np.zeros(0)
    counts = []
    for values, column in ((first, before), (second, after)):
        bins = np.bincount(np.searchsorted(edges, values, side="left"), minlength=len(edges) + 1)
        odd = len(column) - column.null_count - len(values)
        counts.append(np.array([*bins, odd, column.null_count], dtype=np.float64))
    return counts[0], counts[1]


def _by_category(before: pa.ChunkedArray, after: pa.ChunkedArray) -> tuple[Floats, Floats]:
    seen = [{one["values"].as_py(): one["counts"].as_py() for one in _frequent(column)} for column in (before, after)]
    known = list(seen[0])
    counts = []
    for column, found in zip((before, after), seen, strict=True):
        inside = pc.sum(pc.is_in(column, pa.array(known, column.type), skip_nulls=True)).as_py() if known else 0
        named = [found[value] if value in found else _count(column, value) for value in known]
        rest = len(column) - column.null_count - (inside or 0)
        counts.append(np.array([*named, rest, column.null_count], dtype=np.float64))
    return counts[0], counts[1]


def _frequent(column: pa.ChunkedArray) -> pa.StructArray:
    counted = pc.value_counts(column.drop_null())
    order = pc.sort_indices(counted.field("counts"), sort_keys=[("", "descending")])
    return counted.take(order[:_CATEGORIES])


def _count(column: pa.ChunkedArray, value: Any) -> int:
    return int(pc.sum(pc.equal(column, value)).as_py() or 0)


def _psi(before: Floats, after: Floats) -> float:
    if not before.sum() or not after.sum():
        return 0.0
    used = (before > 0) | (after > 0)
    expected = np.maximum(before[used] / before.sum(), _LEAST)
    found = np.maximum(after[used] / after.sum(), _LEAST)
    return float(np.sum((found - expected) * np.log(found / expected)))


def _ks(first: Floats, second: Floats) -> float | None:
    """The greatest distance between the two empirical distribution functions; None where one has no values."""
    if not len(first) or not len(second):
        return None
    first, second = np.sort(first), np.sort(second)
    places = np.concatenate((first, second))
    below = np.searchsorted(first, places, side="right") / len(first)
    return float(np.max(np.abs(below - np.searchsorted(second, places, side="right") / len(second))))
