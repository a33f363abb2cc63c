"""The attacks of one evaluation, each on as many rows as it needs, with why one was left out."""

from __future__ import annotations

from typing import Any

import numpy as np
import numpy.typing as npt

from casemate.core import InputError
from casemate.evaluation.answers import Floats, Oracle
from casemate.evaluation.attributes import guess_attribute
from casemate.evaluation.evasion import evasion
from casemate.evaluation.membership import membership
from casemate.evaluation.report import Columns, EvaluationConfig
from casemate.evaluation.rows import Rows

Ints = npt.NDArray[np.int64]
_LEAST = 50  # members, and others; below, no rate of an attack means anything
_NAMED_BUDGET = "0.25"  # of `evasion_accuracy`: a quarter of a spread in each feature


class Attacked:
    """What the attacks found. A row that is both among the members and the others is a member: it is left out of the others."""

    def __init__(
        self, rows: Rows, members: Rows | None, oracle: Oracle, columns: Columns, config: EvaluationConfig
    ) -> None:
        self.figures: dict[str, float] = {}
        self.leakage: dict[str, Any] = {}
        self.evasion: dict[str, Any] = {}
        self.skipped: list[str] = []
        self._oracle, self._config = oracle, config
        random = np.random.default_rng(config.seed)
        others = rows if members is None else rows.only(~_among(rows.features, members.features))
        others, known = _known(others, oracle.classes), members and _known(members, oracle.classes)
        self._remember(others, known, random)
        self._guess(others, known, columns, random)
        self._evade(_known(rows, oracle.classes), random)

    def _remember(self, others: Rows, members: Rows | None, random: np.random.Generator) -> None:
        if members is None:
            return
        count = min(len(others), len(members), self._config.leak_rows)
        if count < _LEAST:
            self.skipped.append(
                f"membership: {_LEAST} members and as many other rows are needed; there are {len(members)} and {len(others)}"
            )
            return
        features, truth, inside = self._both(others, members, count, random)
        figures, facts = membership(
            features,
            truth,
            self._oracle.probabilities(features),
            inside=inside,
            shadows=self._config.shadows if self._oracle.scored else 0,
            seed=self._config.seed,
        )
        self.figures |= figures
        self.leakage["membership"] = facts

    def _guess(self, others: Rows, members: Rows | None, columns: Columns, random: np.random.Generator) -> None:
        found = []
        for name in columns.sensitive:
            if name not in others.names:
                raise InputError(
                    f"The model does not take {name[:80]!r}, so it is no column to guess from its answers.",
                    code="evaluate-columns",
                )
            count = min(len(others), self._config.leak_rows)
            features, truth, inside = self._both(others, members, count, random)
            guessed = guess_attribute(
                features,
                truth,
                inside=inside,
                column=others.names.index(name),
                answers=self._oracle.probabilities,
                seed=self._config.seed,
            )
            if guessed is None:
                self.skipped.append(f"attribute {name[:80]}: it has one value, or fewer than 60 rows are no members")
                continue
            found.append(guessed.advantage)
            self.leakage.setdefault("attributes", {})[name] = guessed.facts
        if found:
            self.figures["attribute_advantage"] = max(found)

    def _evade(self, rows: Rows, random: np.random.Generator) -> None:
        chosen = rows.only(_drawn(len(rows), self._config.attacked, random))
        features = filled(chosen.features)
        if not len(features) or not features.std(axis=0).any():
            self.skipped.append("evasion: no column changes from row to row")
            return
        self.evasion = evasion(
            features,
            _places(chosen, self._oracle.classes),
            answers=self._oracle.probabilities,
            spread=filled(rows.features).std(axis=0),
            steps=self._config.steps,
            seed=self._config.seed,
        )
        self.figures["evasion_accuracy"] = self.evasion["linf"][_NAMED_BUDGET]

    def _both(
        self, others: Rows, members: Rows | None, count: int, random: np.random.Generator
    ) -> tuple[Floats, Ints, npt.NDArray[np.bool_]]:
        """(features, places of the truth, which are members), as many members as others where there are so many."""
        parts = [others.only(_drawn(len(others), count, random))]
        if members is not None:
            parts.append(members.only(_drawn(len(members), count, random)))
        inside = np.repeat(np.arange(len(parts)) > 0, [len(part) for part in parts])
        features = filled(np.vstack([part.features for part in parts]))
        return features, np.concatenate([_places(part, self._oracle.classes) for part in parts]), inside


def _places(rows: Rows, classes: tuple[str, ...]) -> Ints:
    return np.searchsorted(np.array(classes), rows.truth).astype(np.int64)


def _known(rows: Rows, classes: tuple[str, ...]) -> Rows:
    """The rows whose truth is one of the classes that were evaluated."""
    return rows.only(np.isin(rows.truth, np.array(classes)))


def _drawn(count: int, most: int, random: np.random.Generator) -> npt.NDArray[np.intp]:
    return np.arange(count) if count <= most else np.sort(random.choice(count, most, replace=False))


def _among(rows: Floats, members: Floats) -> npt.NDArray[np.bool_]:
    """(n,) which rows stand among the members, as float32."""
    known = {one.tobytes() for one in np.ascontiguousarray(members, np.float32)}
    return np.array([one.tobytes() in known for one in np.ascontiguousarray(rows, np.float32)], bool)


def filled(features: Floats) -> Floats:
    """The same, finite: what is missing becomes the median of its column, or 0 where all is missing."""
    if np.isfinite(features).all():
        return features
    middle = np.array([np.median(c[np.isfinite(c)]) if np.isfinite(c).any() else 0.0 for c in features.T])
    return np.where(np.isfinite(features), features, middle)
