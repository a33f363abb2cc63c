"""Questions that tell a copy of a model from one that somebody trained themselves.

Points are drawn between rows that the model calls otherwise, near to where its answer changes; of these, the ones are kept that reference
models, trained apart on the same kind of rows, answer otherwise than the model. Who takes the file takes these answers with it.
Source: near-boundary fingerprints, IPGuard, Cao 2021, arXiv 1910.12903; conferrable examples, Lukas 2021, arXiv 1912.00888.
"""

from __future__ import annotations

from typing import Any

import msgspec
import numpy as np
import numpy.typing as npt
from scipy import stats

from casemate.core import InputError
from casemate.evaluation.answers import Floats, Oracle
from casemate.evaluation.shadows import families

Ints = npt.NDArray[np.int64]
_LEAST_ROWS = 200  # to train references on, apart from each other
_CANDIDATES = 12  # for each question that is kept
_HALVINGS = 10
_JITTER = 0.3  # spreads, off the line between two rows
_CHOOSING, _HELD_OUT = (
    2,
    2,
)  # reference models of each family that choose questions, and that say how often one agrees by chance
_SURE = 0.02  # difference of the two likeliest classes, below which rounding could turn an answer


class Questions(msgspec.Struct, frozen=True, kw_only=True):
    """Args: queries: float64 (n, d). answers: (n,) places of classes. agreed: of each held-out reference, of the n. families: of these."""

    queries: Floats
    answers: Ints
    agreed: tuple[int, ...]
    families: tuple[str, ...]

    @property
    def chance(self) -> float:
        """Of one answer that agrees, the upper end of 99 % confidence for the reference that agreed most (Clopper-Pearson)."""
        most, count = max(self.agreed), len(self.answers)
        return min(0.999, float(stats.beta.ppf(0.99, most + 1, max(count - most, 1e-9))))


def make_questions(features: Floats, truth: Ints, oracle: Oracle, *, count: int, seed: int) -> Questions:
    """Choose questions. Args: features: (n, d), finite; truth: (n,) places of `oracle.classes`. seed: secret.

    Raises: InputError `fingerprint-rows`: too few rows, or the model calls all alike.
    """
    random = np.random.default_rng(seed)
    if len(features) < _LEAST_ROWS:
        raise InputError(
            f"A fingerprint needs {_LEAST_ROWS} labelled rows, to train models apart; there are {len(features)}.",
            code="fingerprint-rows",
        )
    candidates = _near_boundaries(features, oracle, count * _CANDIDATES, random)
    said = oracle.probabilities(candidates)
    answers = said.argmax(axis=1).astype(np.int64)
    choosing = _references(features, truth, candidates, classes=len(oracle.classes), each=_CHOOSING, random=random)
    agreeing = (choosing == answers).mean(axis=0) + np.where(_sureness(said) < _SURE, 1.0, 0.0)
    kept = _rarest(agreeing, answers, count, random)
    held_out = _references(
        features, truth, candidates[kept], classes=len(oracle.classes), each=_HELD_OUT, random=random
    )
    agreed = (held_out == answers[kept]).sum(axis=1)
    named = [name for name in families(len(features)) for _ in range(_HELD_OUT)]
    return Questions(
        queries=candidates[kept], answers=answers[kept], agreed=tuple(map(int, agreed)), families=tuple(named)
    )


def _near_boundaries(features: Floats, oracle: Oracle, count: int, random: np.random.Generator) -> Floats:
    """(count, d) points near to where the answer changes, on either side, within the range of each feature."""
    called = oracle.probabilities(features).argmax(axis=1)
    first = random.integers(0, len(features), 4 * count)
    second = random.integers(0, len(features), 4 * count)
    apart = called[first] != called[second]
    first, second = first[apart][:count], second[apart][:count]
    if len(first) < count // 4:
        raise InputError(
            "The model gives nearly all rows the same class, so there is nothing to tell it by: use rows of all classes.",
            code="fingerprint-rows",
        )
    low_end, high_end, spread = features.min(axis=0), features.max(axis=0), features.std(axis=0)
    noise = random.normal(size=(len(first), features.shape[1])) * spread * _JITTER
    start, end = (
        np.clip(features[first] + noise, low_end, high_end),
        np.clip(features[second] + noise, low_end, high_end),
    )
    begun = oracle.probabilities(start).argmax(axis=1)
    low, high = np.zeros(len(first)), np.ones(len(first))
    for _ in range(_HALVINGS):
        middle = (low + high) / 2
        crossed = oracle.probabilities(start + middle[:, None] * (end - start)).argmax(axis=1) != begun
        high, low = np.where(crossed, middle, high), np.where(crossed, low, middle)
    aside = random.uniform(0.02, 0.2, len(first)) * random.choice([-1.0, 1.0], len(first))
    points = start + np.clip(high + aside, 0.0, 1.0)[:, None] * (end - start)
    return np.asarray(np.clip(points.astype(np.float32).astype(np.float64), low_end, high_end))


def _references(
    features: Floats, truth: Ints, asked: Floats, *, classes: int, each: int, random: np.random.Generator
) -> Ints:
    """(models, m) what models answer that were each trained on a half of the rows of its own."""
    found = []
    for make in families(len(features) // 2).values():
        for _ in range(each):
            model = make(int(random.integers(1 << 31)))
            half = random.permutation(len(features))[: len(features) // 2]
            if len(np.unique(truth[half])) < 2:
                found.append(np.full(len(asked), truth[half][0]))
                continue
            scores = np.zeros((len(asked), classes))
            model.fit(features[half], truth[half])
            scores[:, model.classes_] = model.predict_proba(asked)
            found.append(scores.argmax(axis=1))
    return np.array(found, np.int64)


def _sureness(said: Floats) -> Floats:
    ranked = np.sort(said, axis=1)
    return np.asarray(ranked[:, -1] - ranked[:, -2])


def _rarest(agreeing: Floats, answers: Ints, count: int, random: np.random.Generator) -> npt.NDArray[np.intp]:
    """Places of the candidates that the fewest references agree on, about as many for each answer, in an order that tells nothing."""
    order = np.lexsort((random.random(len(agreeing)), agreeing))
    present = np.unique(answers)
    quota, kept = -(-count // len(present)), []
    for one in present:
        kept += order[answers[order] == one][:quota].tolist()
    if len(kept) < count:
        taken = set(kept)
        kept += [int(place) for place in order if int(place) not in taken][: count - len(kept)]
    chosen: npt.NDArray[np.intp] = random.permutation(np.array(kept, np.intp))[:count]
    return chosen


def as_plain(questions: Questions) -> dict[str, Any]:
    """For a frame: all but the queries, which go as a buffer."""
    return {
        "answers": questions.answers.tolist(),
        "agreed": list(questions.agreed),
        "families": list(questions.families),
        "chance": questions.chance,
    }
