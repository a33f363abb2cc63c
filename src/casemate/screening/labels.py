"""Label errors: rows whose label models that never saw them do not believe, and where such errors gather.

Source: Northcutt et al., Confident Learning, JAIR 2021 (arXiv 1911.00068), for the first estimate of how often one class is
given for another. What is our own: the models are fitted again without the suspects, and a row is named when it is more
likely, at that rate of errors, to be one than not.
"""

from __future__ import annotations

import msgspec
import numpy as np

from casemate.screening.columns import Bools, Floats, Ints, Rows
from casemate.screening.opinions import opinions

_ROUNDS = 4  # fits without the suspects of the round before, at most
_SHARPER = (1.0, 1.5, 2.0, 3.0, 4.0, 6.0)  # powers to which the mean of several models, which is timid, is raised
_LEAST_RATE = 0.002  # errors per row that are taken to be there anyway
_SAMPLE = (
    20_000  # rows on which the suspects are made to stand still; of a larger table the rest is judged once, after that
)
MOST_LIKELY = 0.5  # posterior above which a row is named


class LabelErrors(msgspec.Struct, frozen=True, kw_only=True):
    """Args: likely: float64 (n,) in 0..1, that the label is wrong. meant: int64 (n,), the class that the models think of.
    rates: float64 (classes, classes), how often a row of the first bears the label of the second; rows sum to 1.
    said: float64 (n, classes), the opinions."""

    likely: Floats
    meant: Ints
    rates: Floats
    said: Floats


def label_errors(rows: Rows, *, seed: int = 0, rounds: int = _ROUNDS) -> LabelErrors:
    """How likely each label is to be wrong, told by models that were fitted on other rows."""
    if len(rows) > _SAMPLE:
        return _from_sample(rows, seed, rounds)
    said = opinions(rows, seed=seed)
    suspects = confident_errors(said, rows.labels)
    said = _sharpened(said, rows.labels, suspects)
    likely, rates = _weighed(said, rows.labels, suspects)
    for number in range(rounds):
        said = opinions(rows, seed=seed + 100 * (number + 1), without=suspects)
        said = _sharpened(said, rows.labels, suspects)
        likely, rates = _weighed(said, rows.labels, suspects)
        before, suspects = suspects, likely > MOST_LIKELY
        if (suspects == before).all():
            break
    return _told(said, rows.labels, likely, rates)


def _from_sample(rows: Rows, seed: int, rounds: int) -> LabelErrors:
    """The same, with models of a sample's rows that are no suspects; the rate of errors is that of all rows."""
    chosen = np.sort(np.random.default_rng(seed).choice(len(rows), _SAMPLE, replace=False))
    known = label_errors(rows.only(chosen), seed=seed, rounds=rounds)
    without = np.ones(len(rows), bool)
    without[chosen] = known.likely > MOST_LIKELY
    said = opinions(rows, seed=seed + 1000, without=without)
    suspects = said.argmax(1) != rows.labels
    said = _sharpened(said, rows.labels, suspects)
    first, _ = _weighed(said, rows.labels, suspects)
    likely, rates = _weighed(said, rows.labels, first > MOST_LIKELY)
    return _told(said, rows.labels, likely, rates)


def _told(said: Floats, labels: Ints, likely: Floats, rates: Floats) -> LabelErrors:
    others = said.copy()
    others[np.arange(len(labels)), labels] = -1
    return LabelErrors(likely=likely, meant=others.argmax(1), rates=rates, said=said)


def confident_errors(said: Floats, labels: Ints) -> Bools:
    """bool (n,): rows that are confidently of another class than their label. Source: JAIR 2021, section 3.1."""
    width = said.shape[1]
    bars = np.array([said[labels == c, c].mean() if (labels == c).any() else 1.0 for c in range(width)])
    confident = np.where(said >= bars, said, -1.0)
    return np.asarray((confident.max(1) >= 0) & (confident.argmax(1) != labels))


def _sharpened(said: Floats, labels: Ints, suspects: Bools) -> Floats:
    """The opinions raised to the power at which they describe the labels of the rows that are no suspects best."""
    return powered(said, sharpest(said, labels, suspects))


def sharpest(said: Floats, labels: Ints, suspects: Bools) -> float:
    """That power."""
    kept = np.flatnonzero(~suspects)
    return min(_SHARPER, key=lambda power: -np.log(powered(said, power)[kept, labels[kept]]).mean())


def powered(said: Floats, power: float) -> Floats:
    """The opinions raised to a power; rows sum to 1."""
    raised = said**power
    return np.asarray(np.maximum(raised / raised.sum(1, keepdims=True), 1e-6))


def weighed_by(said: Floats, labels: Ints, power: float, rates: Floats) -> tuple[Floats, Ints]:
    """(float64 (n,) how likely each label is to be wrong, int64 (n,) the class that is thought of), at known power and rates."""
    said = powered(said, power)
    joint = said * rates[:, labels].T
    likely = 1.0 - joint[np.arange(len(labels)), labels] / joint.sum(1)
    said[np.arange(len(labels)), labels] = -1
    return likely, said.argmax(1)


def _weighed(said: Floats, labels: Ints, suspects: Bools) -> tuple[Floats, Floats]:
    """Posterior that a label is wrong: the opinions are the prior over true classes, the suspects give the rate of errors."""
    width = said.shape[1]
    rates = np.zeros((width, width))
    truth = np.where(suspects, said.argmax(1), labels)
    np.add.at(rates, (truth, labels), 1.0)
    rates += np.full_like(rates, 0.5 / width) + _LEAST_RATE * rates.sum(1, keepdims=True) / width
    rates /= rates.sum(1, keepdims=True)
    joint = said * rates[:, labels].T  # (n, classes): this truth, and this label given it
    here = joint[np.arange(len(labels)), labels]
    return 1.0 - here / joint.sum(1), rates
