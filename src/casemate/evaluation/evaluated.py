"""One evaluation: every measure that rows and model allow, each with why it was left out where they do not."""

from __future__ import annotations

import math
from typing import Any

import numpy as np
import numpy.typing as npt

from casemate.core import InputError
from casemate.evaluation.answers import Ask, Floats, Oracle, RawAnswer, names_of
from casemate.evaluation.attacked import Attacked
from casemate.evaluation.naming import aligned, classes_of, is_binary_score
from casemate.evaluation.quality import calibration, class_quality, number_quality, ranking_quality
from casemate.evaluation.report import Bin, Columns, EvaluationConfig, EvaluationReport, Group, Part
from casemate.evaluation.rows import Rows
from casemate.evaluation.slices import bias_figures, groups_of, slices_of
from casemate.evaluation.statistics import rounded

Ints = npt.NDArray[np.int64]


def evaluate(
    rows: Rows, ask: Ask, *, columns: Columns, config: EvaluationConfig, members: Rows | None = None
) -> EvaluationReport:
    """Measure a model on rows. Args: members: rows that it was fitted on, for `overlap` and the attacks on its memory.

    Raises: InputError `evaluate-outputs`, `evaluate-columns`.
    """
    return _Evaluation(rows, members, columns, config).run(ask)


def overlap_of(rows: Floats, members: Floats) -> float:
    """Share of `rows` that stand among `members`, number for number, as float32, which is what most models read."""
    known = {one.tobytes() for one in np.ascontiguousarray(members, np.float32)}
    return float(np.mean([one.tobytes() in known for one in np.ascontiguousarray(rows, np.float32)]))


class _Evaluation:
    """What the parts of one evaluation find, one after the other."""

    def __init__(self, rows: Rows, members: Rows | None, columns: Columns, config: EvaluationConfig) -> None:
        self.rows, self.members, self.columns, self.config = rows, members, columns, config
        self.figures: dict[str, float] = {"rows": float(len(rows))}
        self.skipped: list[str] = []
        self.notes: list[str] = []
        self.curve: tuple[Bin, ...] = ()
        self.slices: tuple[Part, ...] = ()
        self.groups: list[Group] = []
        self.leakage: dict[str, Any] = {}
        self.evasion: dict[str, Any] = {}

    def run(self, ask: Ask) -> EvaluationReport:
        oracle = Oracle(ask, ())
        answer = oracle.raw(self.rows.features)
        if self.members is not None:
            self.figures["overlap"] = overlap_of(self.rows.features, self.members.features)
        else:
            self.skipped.append("overlap, membership: no training dataset is known; name it with --members")
        if answer.values is not None and not is_binary_score(answer.values, self.rows.truth):
            self._measure_numbers(answer.values)
            return self._report("regression", (), oracle.queries)
        classes = classes_of(self.rows.truth)
        naming = aligned(classes, ask, answer)
        self.notes += naming.notes
        known = Oracle(naming.ask, classes)
        known.queries = oracle.queries
        known.learn_columns(naming.answer)
        self._measure_classes(known, naming.answer)
        return self._report("classification", classes, known.queries)

    def _measure_numbers(self, values: Floats) -> None:
        truth = self.rows.numbers
        if truth is None or not np.isfinite(truth).all():
            raise InputError(
                f"The model answers numbers, and the label {self.columns.label[:80]!r} holds none in some rows.",
                code="evaluate-columns",
            )
        if not np.isfinite(values).all():
            raise InputError(
                f"The model answers no finite number in {int((~np.isfinite(values)).sum())} of {len(values)} rows.",
                code="evaluate-outputs",
            )
        self.figures |= number_quality(truth, values)
        error = np.abs(values - truth)
        self.slices = slices_of(self._parts(), right=None, error=error)
        self._tell_worst(self.figures["mae"], worse=1.0)
        self.skipped.append("calibration, groups, membership, attributes, evasion: the model answers numbers")

    def _measure_classes(self, oracle: Oracle, answer: RawAnswer) -> None:
        truth = np.searchsorted(np.array(oracle.classes), self.rows.truth).astype(np.int64)
        given = oracle.predicted(answer)
        quality = class_quality(truth, given, len(oracle.classes))
        self.figures |= {name: quality[name] for name in ("accuracy", "balanced_accuracy", "f1")}
        self.figures["lift"] = quality["accuracy"] - quality["majority"]
        if oracle.scored:
            probabilities = oracle.as_probabilities(answer)
            self.figures |= ranking_quality(truth, probabilities)
            measured, self.curve = calibration(truth, probabilities, bins=self.config.bins)
            self.figures |= measured
        else:
            self.skipped.append("auc, calibration: the model names classes and gives no scores")
        self.slices = slices_of(self._parts(), right=given == truth, error=None)
        self._tell_worst(quality["accuracy"], worse=-1.0)
        self._compare_groups(truth, given, oracle.classes)
        attacked = Attacked(self.rows, self.members, oracle, self.columns, self.config)
        self.figures |= attacked.figures
        self.leakage, self.evasion = attacked.leakage, attacked.evasion
        self.skipped += attacked.skipped

    def _parts(self) -> dict[str, Any]:
        return {name: self.rows.parts[name] for name in self.columns.slices}

    def _tell_worst(self, overall: float, *, worse: float) -> None:
        if self.slices:
            value = self.slices[0].value
            self.figures |= {"worst_slice": value, "slice_gap": worse * (value - overall)}
        elif self.columns.slices:
            self.skipped.append("slices: none has 30 rows")

    def _compare_groups(self, truth: Ints, given: Ints, classes: tuple[str, ...]) -> None:
        if not self.columns.groups:
            return
        good = self._good(classes)
        if good is None:
            return
        for column in self.columns.groups:
            groups = groups_of(self.rows.parts[column], column, truth=truth, given=given, good=classes.index(good))
            self.groups += groups
            measured = bias_figures(groups)
            if not measured:
                self.skipped.append(f"groups by {column[:80]}: fewer than two have 30 rows")
            for name, value in measured.items():  # of several columns, the one that stands worst
                pick = min if name == "disparate_impact" else max
                self.figures[name] = pick(self.figures.get(name, value), value)
        self.notes.append(f"groups are compared in how often they get {good[:80]!r}")

    def _good(self, classes: tuple[str, ...]) -> str | None:
        """The class that is the good outcome. Raises: InputError."""
        stated = self.columns.positive
        if not stated and len(classes) > 2:
            self.skipped.append("groups: there are more than two classes; name the good outcome with --positive")
            return None
        good = str(_as_label(stated)) if stated else classes[-1]
        if good not in classes:
            raise InputError(
                f"The label has no class {stated[:80]!r}: name one of it with --positive.", code="evaluate-columns"
            )
        return good

    def _report(self, task: str, classes: tuple[str, ...], queries: int) -> EvaluationReport:
        return EvaluationReport(
            task=task,
            rows=len(self.rows),
            classes=classes,
            figures={name: rounded(value) for name, value in self.figures.items() if math.isfinite(value)},
            calibration=self.curve,
            slices=self.slices,
            groups=tuple(self.groups),
            leakage=rounded(self.leakage),
            evasion=rounded(self.evasion),
            skipped=tuple(self.skipped),
            notes=tuple(self.notes),
            queries=queries,
        )


def _as_label(stated: str) -> str:
    """As classes are named: 1.0 is 1."""
    try:
        return str(names_of(np.array([float(stated)]))[0])
    except ValueError:
        return stated
