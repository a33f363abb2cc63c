"""Where likely label errors gather: between two classes, with one contributor, or in a stretch of time."""

from __future__ import annotations

import msgspec
import numpy as np

from casemate.screening.columns import Bools, Floats, Rows
from casemate.screening.labels import LabelErrors
from casemate.screening.statistics import above, discovered, rate_bound

_LEAST = 5  # errors below which nothing is said
_TIMES = 3.0  # as many errors as elsewhere, at least, by the lower bound
_STRETCHES = 20  # into which the time is cut
_LEAST_RATE = 0.005  # errors per row that every source is allowed


class Gathering(msgspec.Struct, frozen=True, kw_only=True):
    """Args: what: for people. rows: bool (n,), the likely errors in it. hits, tries: how many of how many rows. usual: the rate elsewhere.
    bound: the rate here is above it with 99 % confidence. chance: that it is chance."""

    what: str
    rows: Bools
    hits: int
    tries: int
    usual: float
    bound: float
    chance: float


def targeted_flips(rows: Rows, errors: LabelErrors, suspects: Bools) -> list[Gathering]:
    """Pairs of classes between which far more labels are wrong than between others: somebody wanted one for the other."""
    width = len(rows.classes)
    pairs = [(a, b) for a in range(width) for b in range(width) if a != b]
    members = [suspects & (errors.meant == a) & (rows.labels == b) for a, b in pairs]
    tries = [float(((errors.meant == a) & suspects).sum() + ((rows.labels == a) & ~suspects).sum()) for a, _ in pairs]
    names = [f"{rows.classes[a][:80]!r} labelled {rows.classes[b][:80]!r}" for a, b in pairs]
    return _standing_out(names, members, np.array(tries), suspects)


def by_contributor(rows: Rows, suspects: Bools) -> list[Gathering]:
    """Contributors whose labels are wrong far more often than those of the others."""
    if rows.contributors is None:
        return []
    members = [rows.contributors == c for c in range(len(rows.names))]
    return _standing_out(
        [f"contributor {name[:80]!r}" for name in rows.names],
        [mine & suspects for mine in members],
        np.array([float(mine.sum()) for mine in members]),
        suspects,
    )


def by_time(rows: Rows, suspects: Bools) -> list[Gathering]:
    """Stretches of time, each a twentieth of the rows, in which far more labels are wrong than in the others."""
    if rows.times is None:
        return []
    edges = np.unique(np.quantile(rows.times, np.linspace(0, 1, _STRETCHES + 1)))
    stretch = np.clip(np.searchsorted(edges, rows.times, "right") - 1, 0, max(len(edges) - 2, 0))
    members = [stretch == s for s in range(max(len(edges) - 1, 1))]
    return _standing_out(
        [f"part {s + 1} of {len(members)} of the time" for s in range(len(members))],
        [mine & suspects for mine in members],
        np.array([float(mine.sum()) for mine in members]),
        suspects,
    )


def _standing_out(names: list[str], members: list[Bools], tries: Floats, suspects: Bools) -> list[Gathering]:
    """Those whose rate is above three times that of the others by its lower bound, with at most 1 % false discoveries."""
    hits = np.array([float(mine.sum()) for mine in members])
    usual = np.maximum((hits.sum() - hits) / np.maximum(tries.sum() - tries, 1), _LEAST_RATE)
    usual = np.minimum(usual, max(float(np.median(hits / np.maximum(tries, 1))), _LEAST_RATE) * 3)
    tries = np.maximum(tries, hits)
    chances, bounds = above(hits, tries, usual), rate_bound(hits, tries)
    standing = (
        discovered(chances) & (hits >= _LEAST) & (hits / np.maximum(tries, 1) >= _TIMES * usual) & (bounds > usual)
    )
    return [
        Gathering(
            what=names[k], rows=members[k] & suspects, hits=int(hits[k]), tries=int(tries[k]),
            usual=float(usual[k]), bound=float(bounds[k]), chance=float(chances[k]),
        )
        for k in np.argsort(chances, kind="stable") if standing[k]
    ]  # fmt: skip
