"""How well rows hide among each other: k-anonymity, l-diversity, and how many rows are alone. Pure functions of an Arrow table."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import msgspec
import numpy as np
import numpy.typing as npt


class Hidden(msgspec.Struct, frozen=True, kw_only=True):
    """Args: k: rows of the smallest class of rows with equal quasi-identifiers; 0: there are none. unique: share of the rows that are
    alone. below: share of the rows in classes smaller than was asked for. diversity: for each sensitive column, the
    fewest values in one class."""

    k: int
    unique: float
    below: float
    diversity: dict[str, int]


def classes_of(table: Any, quasi: Sequence[str]) -> npt.NDArray[np.int64]:
    """int64 (n,): a number for each row, equal where all quasi-identifiers are; a missing value equals a missing one."""
    places = np.zeros(table.num_rows, np.int64)
    for name in quasi:
        _, each = np.unique(_codes(table.column(name)), return_inverse=True)
        _, places = np.unique(places * (int(each.max(initial=0)) + 1) + each, return_inverse=True)
    return places


def measure(table: Any, *, quasi: Sequence[str], sensitive: Sequence[str] = (), k: int = 2) -> Hidden:
    """Args: quasi: columns that somebody may know of a person. sensitive: columns that nobody should learn. k: the least that is asked for.

    Source: Sweeney 2002 (k-anonymity); Machanavajjhala et al. 2007 (distinct l-diversity).
    """
    if not table.num_rows:
        return Hidden(k=0, unique=0.0, below=0.0, diversity=dict.fromkeys(sensitive, 0))
    places = classes_of(table, quasi)
    sizes = np.bincount(places)
    mine = sizes[places]
    return Hidden(
        k=int(sizes.min()),
        unique=round(float((mine == 1).mean()), 6),
        below=round(float((mine < k).mean()), 6),
        diversity={name: _least_values(places, _codes(table.column(name))) for name in sensitive},
    )


def too_small(table: Any, quasi: Sequence[str], k: int) -> npt.NDArray[np.bool_]:
    """bool (n,): the rows in classes of fewer than k."""
    places = classes_of(table, quasi)
    return np.bincount(places, minlength=1)[places] < k


def _least_values(places: npt.NDArray[np.int64], codes: npt.NDArray[np.int64]) -> int:
    pairs = np.unique(np.column_stack([places, codes]), axis=0)
    return int(np.bincount(pairs[:, 0]).min())


def _codes(column: Any) -> npt.NDArray[np.int64]:
    """int64 (n,): a number for each value; -1 for a missing one."""
    import pyarrow as pa
    import pyarrow.compute as pc

    array = column.combine_chunks() if isinstance(column, pa.ChunkedArray) else column
    encoded = pc.dictionary_encode(array)
    if isinstance(encoded, pa.ChunkedArray):
        encoded = encoded.combine_chunks()
    return np.asarray(pc.fill_null(encoded.indices.cast(pa.int64()), -1).to_numpy(zero_copy_only=False), np.int64)
