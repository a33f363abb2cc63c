"""Whether the model's answers give away a column that it takes: a sensitive one, of people whose other columns are known.

Source: imputation against inference, Jayaraman and Evans 2022, arXiv 2209.01292: what counts is how much better a column is
guessed with the model than without, and whether that is so of members more than of others.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import msgspec
import numpy as np
import numpy.typing as npt

from casemate.evaluation.answers import Floats

Ints = npt.NDArray[np.int64]
_MOST_VALUES = 8  # of a column that counts by value; of one with more, quarters are guessed
_LEAST = 60  # rows of no member, half of which the attacker learns from


class Guessed(msgspec.Struct, frozen=True, kw_only=True):
    """Args: advantage: of accuracy with the model over without, on members where there are any, else on others.
    facts: how it came about."""

    advantage: float
    facts: dict[str, Any]


def guess_attribute(
    features: Floats,
    truth: Ints,
    *,
    inside: npt.NDArray[np.bool_],
    column: int,
    answers: Callable[[Floats], Floats],
    seed: int,
) -> Guessed | None:
    """Guess one column, from the others and the truth, without and with the model's answers; None: too few rows, or one value.

    The attacker learns from half of the rows that are no members. They know what the model answered for the true row, and
    may ask it what it would answer for each value that the column can have.
    Args: features: (n, d), finite. answers: (m, d) rows -> (m, classes) probabilities.
    """
    from sklearn.ensemble import RandomForestClassifier

    values, labels = _values(features[:, column])
    outside = np.flatnonzero(~inside)
    if len(outside) < _LEAST or len(values) < 2:
        return None
    random = np.random.default_rng(seed)
    order = random.permutation(outside)
    learnt, tried = order[: len(order) // 2], order[len(order) // 2 :]
    members = np.flatnonzero(inside)
    known = np.column_stack([np.delete(features, column, axis=1), truth])
    asked = np.column_stack([known, _asked(features, truth, column, values, answers)])
    right = {}
    for name, table in (("without", known), ("with", asked)):
        model = RandomForestClassifier(200, min_samples_leaf=2, random_state=seed).fit(table[learnt], labels[learnt])
        right[name] = {
            "others": model.predict(table[tried]) == labels[tried],
            **({"members": model.predict(table[members]) == labels[members]} if len(members) else {}),
        }
    whom = "members" if len(members) else "others"
    facts: dict[str, Any] = {"values": len(values), "rows": len(tried) + len(members)}
    for group in right["without"]:
        apart = right["with"][group].astype(float) - right["without"][group].astype(float)
        half = 1.96 * float(apart.std()) / len(apart) ** 0.5
        facts[group] = {
            "without": float(right["without"][group].mean()),
            "with": float(right["with"][group].mean()),
            "advantage": float(apart.mean()),
            "interval": {"low": float(apart.mean()) - half, "high": float(apart.mean()) + half},
        }
    return Guessed(advantage=facts[whom]["advantage"], facts=facts)


def _values(column: Floats) -> tuple[Floats, Ints]:
    """The values that are guessed, and (n,) which each row has: of a column with many, a middle of each quarter."""
    values, places = np.unique(column, return_inverse=True)
    if len(values) <= _MOST_VALUES:
        return values, places.astype(np.int64)
    cuts = np.unique(np.quantile(column, [0.25, 0.5, 0.75]))
    quarter = np.searchsorted(cuts, column)
    present = np.unique(quarter)
    middles = np.array([np.median(column[quarter == one]) for one in present])
    return middles, np.searchsorted(present, quarter).astype(np.int64)


def _asked(features: Floats, truth: Ints, column: int, values: Floats, answers: Callable[[Floats], Floats]) -> Floats:
    """(n, 2k + classes): the answer to the true row; for each value the confidence in the truth, and how far the whole
    answer is from the one to the true row."""
    real = answers(features)
    parts = [real]
    for value in values:
        changed = features.copy()
        changed[:, column] = value
        said = answers(changed)
        parts += [said[np.arange(len(truth)), truth][:, None], np.abs(said - real).sum(axis=1)[:, None]]
    return np.hstack(parts)
