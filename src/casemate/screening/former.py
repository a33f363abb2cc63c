"""Change against a former version, and feedback that teaches a model slowly."""

from __future__ import annotations

import msgspec
import numpy as np

from casemate.core import InputError
from casemate.screening.columns import Bools, Floats, Ints, Rows
from casemate.screening.opinions import opinions

BASE = 0.4  # of the rows, the oldest, that are believed
SURE = 0.9  # probability of another class, by models of the former version, at which a new row goes against it


class Change(msgspec.Struct, frozen=True, kw_only=True):
    """Args: relabelled, added, against: bool (n,) over the new rows: whose features were there with another label; whose features
    were not there; added, and against what the former version teaches. removed: rows of the former version that are gone.
    shares: {class: (former share, new share)}."""

    relabelled: Bools
    added: Bools
    against: Bools
    removed: int
    shares: dict[str, tuple[float, float]]


def change(rows: Rows, former: Rows, *, seed: int = 0) -> Change:
    """What changed since a version that somebody approved, whose labels are therefore believed.

    Raises: InputError `screen-former`: it has other columns.
    """
    if former.feature_names != rows.feature_names:
        raise InputError(
            "The former version has other features than this one: compare versions with the same columns.",
            code="screen-former",
        )
    before = {key: {former.classes[label] for label in labels} for key, labels in _by_key(former).items()}
    keys = _keys(rows.features)
    added = np.array([key not in before for key in keys])
    relabelled = np.array(
        [key in before and rows.classes[label] not in before[key] for key, label in zip(keys, rows.labels, strict=True)]
    )
    there = set(keys)
    against = np.zeros(len(rows), bool)
    if added.any():
        said, classes = _taught(former, rows.only(added), seed)
        known = {name: place for place, name in enumerate(classes)}
        own = np.array([known.get(rows.classes[label], -1) for label in rows.labels[added]])
        against[added] = (said.max(1) >= SURE) & (said.argmax(1) != own)
    shares = {name: (_share(former, name), _share(rows, name)) for name in sorted({*former.classes, *rows.classes})}
    return Change(
        relabelled=relabelled,
        added=added,
        against=against,
        removed=sum(key not in there for key in _keys(former.features)),
        shares=shares,
    )


def _taught(former: Rows, new: Rows, seed: int) -> tuple[Floats, tuple[str, ...]]:
    """What models of the former rows alone say of new ones, over the classes of the former."""
    both = msgspec.structs.replace(
        former,
        features=np.vstack([former.features, new.features]),
        labels=np.concatenate([former.labels, np.zeros(len(new), np.int64)]),
        contributors=None,
        times=None,
    )
    without = np.arange(len(both)) >= len(former)
    return opinions(both, seed=seed, without=without)[len(former) :], former.classes


def over_limit(rows: Rows, *, share: float, unless: int = 20) -> list[tuple[str, Bools]]:
    """Contributors who give more than `share` of all rows, with the rows. Args: unless: they give fewer than this."""
    if rows.contributors is None:
        return []
    counts = np.bincount(rows.contributors, minlength=len(rows.names))
    over = np.flatnonzero((counts > share * len(rows)) & (counts >= unless))
    return [(rows.names[c], rows.contributors == c) for c in over]


def beyond_feedback(rows: Rows, *, most: int) -> Bools:
    """bool (n,): the rows by which contributors give more than `most`: their newest, or their last where no column says when.

    Rows that name nobody are of one contributor. Raises: InputError `screen-feedback`: no column says who gave a row.
    """
    if rows.contributors is None:
        raise InputError(
            "Feedback is limited by contributor: name the column that says who gave a row (--contributor).",
            code="screen-feedback",
        )
    times = np.arange(len(rows)) if rows.times is None else rows.times
    order = np.lexsort((times, rows.contributors))
    given = rows.contributors[order]
    place = np.arange(len(rows)) - np.searchsorted(given, given)
    beyond = np.zeros(len(rows), bool)
    beyond[order[place >= most]] = True
    return beyond


def slow_drift(
    rows: Rows, *, seed: int = 0, base: float = BASE, slack: float = 0.02, bar: float = 8.0
) -> tuple[Bools, float]:
    """Rows, in the order of time, from which on labels go against what the first 40 % of the time teach, and the height that the sum reached.

    A one-sided cumulative sum of disagreement over its usual rate plus a slack: a small change that lasts is told as surely as a
    large one. Args: base: share of the rows, the oldest, that are believed. slack: per row. bar: height of the alarm, in rows.
    Source: Page, Continuous Inspection Schemes, 1954.
    """
    if rows.times is None:
        return np.zeros(len(rows), bool), 0.0
    order = np.argsort(rows.times, kind="stable")
    first, rest = order[: int(base * len(rows))], order[int(base * len(rows)) :]
    later = np.ones(len(rows), bool)
    later[first] = False
    wrong = 1.0 - opinions(rows, seed=seed, without=later)[np.arange(len(rows)), rows.labels]
    return _alarm(wrong, first, rest, slack, bar)


def alarmed_by(wrong: Floats, times: Floats, *, slack: float = 0.02, bar: float = 8.0) -> tuple[Bools, float]:
    """As `slow_drift`. Args: wrong: float64 (n,), what the oldest rows teach against each label."""
    order = np.argsort(times, kind="stable")
    return _alarm(wrong, order[: int(BASE * len(order))], order[int(BASE * len(order)) :], slack, bar)


def _alarm(wrong: Floats, first: Ints, rest: Ints, slack: float, bar: float) -> tuple[Bools, float]:
    usual = float(wrong[first].mean()) + 2 * float(wrong[first].std()) / max(np.sqrt(len(first)), 1)
    height, start, best, found = 0.0, 0, 0.0, (0, 0)
    for place, one in enumerate(wrong[rest]):
        if height <= 0:
            height, start = 0.0, place
        height += one - usual - slack
        if height > best:
            best, found = height, (start, place + 1)
    alarmed = np.zeros(len(wrong), bool)
    spread = bar * max(1.0, float(np.sqrt(len(rest) * max(usual, 0.001) / 10)))
    if best > spread:
        stretch = rest[found[0] : found[1]]
        alarmed[stretch[wrong[stretch] > 0.5]] = True
    return alarmed, float(best / spread)


def _keys(features: Floats) -> list[bytes]:
    return [row.tobytes() for row in np.ascontiguousarray(features + 0.0)]


def _by_key(rows: Rows) -> dict[bytes, set[int]]:
    found: dict[bytes, set[int]] = {}
    for key, label in zip(_keys(rows.features), rows.labels.tolist(), strict=True):
        found.setdefault(key, set()).add(label)
    return found


def _share(rows: Rows, name: str) -> float:
    place: Ints = np.flatnonzero(np.array(rows.classes) == name)
    return float((rows.labels == place[0]).mean()) if len(place) else 0.0
