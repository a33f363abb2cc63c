"""Rows that are nearly the same as many others, and rows that are like no other."""

from __future__ import annotations

import numpy as np
import numpy.typing as npt

from casemate.screening.columns import Floats, Ints, Rows
from casemate.screening.opinions import scaled_of
from casemate.screening.triggers import nearest

_CELL = 0.05  # spreads; near duplicates fall into one cell of a grid
SHIFTS = 3  # of that grid, so that no edge parts them all
_REFERENCE = 4000  # rows that others are compared with
_FAR = 4.0  # times the usual distance to the tenth neighbour


def near_duplicates(rows: Rows, *, least: int = 5) -> Ints:
    """int64 (n,): the number of the cluster of near duplicates that a row is in, from 1; 0 for none. Linear in the rows.

    Rows are near when they share a cell of a grid of 0.05 spreads in every feature. Args: least: rows of a cluster.
    """
    scaled = scaled_of(rows)
    best = np.zeros(len(rows), np.int64)
    sizes = np.zeros(len(rows), np.int64)
    for shift in range(SHIFTS):
        cells = np.floor(scaled / _CELL + shift / SHIFTS).astype(np.int32)
        keys = np.ascontiguousarray(cells).view([("", np.void, cells.shape[1] * 4)]).ravel()
        _, places, counts = np.unique(keys, return_inverse=True, return_counts=True)
        larger = counts[places] > sizes
        best[larger] = places[larger] + shift * len(rows) + 1
        sizes[larger] = counts[places][larger]
    best[sizes < least] = 0
    return np.unique(best, return_inverse=True)[1].astype(np.int64) if (best == 0).any() else best


def outlier_scores(rows: Rows, *, seed: int = 0) -> Floats:
    """float64 (n,), >= 0: distance to the tenth neighbour over what is usual; above 1: like no other row."""
    scaled = scaled_of(rows)
    known = np.random.default_rng(seed).permutation(len(rows))[:_REFERENCE]
    near = nearest(scaled, known, 10)
    apart = np.zeros(len(rows))
    for start in range(0, len(rows), _REFERENCE):
        part = slice(start, start + _REFERENCE)
        apart[part] = np.sqrt(((scaled[near[part]] - scaled[part, None]) ** 2).sum(2)).max(1)
    return apart / max(float(np.quantile(apart, 0.75)), 1e-9) / _FAR


def cell_keys(scaled: Floats) -> npt.NDArray[np.uint64]:
    """uint64 (n, 3): a hash of the cell that each row is in, for each shift of the grid; the same wherever the row stands."""
    odd = np.random.default_rng(0).integers(0, 1 << 63, (2, scaled.shape[1]), np.uint64) * np.uint64(2) + np.uint64(1)
    found = np.empty((len(scaled), SHIFTS), np.uint64)
    with np.errstate(over="ignore"):
        for shift in range(SHIFTS):
            cells = np.floor(scaled / _CELL + shift / SHIFTS).astype(np.int64).astype(np.uint64)
            mixed = (cells ^ (cells >> np.uint64(32))) * odd[0]
            found[:, shift] = ((mixed ^ (mixed >> np.uint64(29))) * odd[1]).sum(1, dtype=np.uint64)
    return found


def clusters_by_key(cells: npt.NDArray[np.uint64], *, least: int = 5) -> Ints:
    """As `near_duplicates`, of rows whose cells were hashed."""
    count = len(cells)
    best, sizes = np.zeros(count, np.int64), np.zeros(count, np.int64)
    for shift in range(cells.shape[1]):
        _, places, counts = np.unique(cells[:, shift], return_inverse=True, return_counts=True)
        larger = counts[places] > sizes
        best[larger] = places[larger] + shift * count + 1
        sizes[larger] = counts[places][larger]
    best[sizes < least] = 0
    return np.unique(best, return_inverse=True)[1].astype(np.int64) if (best == 0).any() else best


def nearest_apart(scaled: Floats, known: Floats, which: int) -> Floats:
    """float64 (n,): the distance to the `which`-th nearest row of `known`."""
    from sklearn.neighbors import NearestNeighbors

    near = NearestNeighbors(n_neighbors=min(which, len(known)), algorithm="brute").fit(known.astype(np.float32))
    return np.asarray(near.kneighbors(scaled.astype(np.float32))[0][:, -1], np.float64)
