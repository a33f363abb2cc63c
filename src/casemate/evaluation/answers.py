"""What models answer, in one form: served models name and shape their outputs as their libraries do."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import Any

import msgspec
import numpy as np
import numpy.typing as npt

from casemate.core import InputError

Floats = npt.NDArray[np.float64]
Array = npt.NDArray[Any]


class RawAnswer(msgspec.Struct, frozen=True, kw_only=True):
    """Args: labels: (n,) of str, a class for each row. scores: (n, k), one for each class. values: (n,) numbers."""

    labels: Array | None = None
    scores: Floats | None = None
    values: Floats | None = None


Ask = Callable[[Floats], RawAnswer]  # (n, d) finite rows


def answer_of(outputs: Mapping[str, Array], rows: int) -> RawAnswer:
    """Class, scores or number of each row, whatever the outputs are called.

    A whole-number, boolean or text tensor of one value a row is the class; a float tensor of two or more is the scores; a
    float tensor of one is a class where there are scores beside it, and else the number.
    Raises: InputError `evaluate-outputs`: none of these is there.
    """
    labels = scores = values = None
    for array in outputs.values():
        if array.ndim == 0 or len(array) != rows:
            continue
        flat = array.reshape(rows, -1)
        if array.dtype.kind in "iubOUS" and flat.shape[1] == 1:
            labels = names_of(flat[:, 0])
        elif array.dtype.kind == "f" and flat.shape[1] > 1:
            scores = flat.astype(np.float64)
        elif array.dtype.kind == "f" and flat.shape[1] == 1:
            values = flat[:, 0].astype(np.float64)
    if scores is not None and values is not None and labels is None:
        labels = names_of(values)
    if labels is None and scores is None and values is None:
        raise InputError(
            "The model answers neither a class, nor scores, nor a number for each row: it cannot be evaluated.",
            code="evaluate-outputs",
        )
    if labels is not None or scores is not None:
        values = None
    return RawAnswer(labels=labels, scores=scores, values=values)


def names_of(values: Array) -> Array:
    """(n,) of str: what is equal as a number has one name, whatever its type."""
    if values.dtype.kind in "iub":
        return values.astype(np.int64).astype(str)
    if values.dtype.kind == "f":
        whole = np.isfinite(values) & (values == np.round(values)) & (np.abs(values) < 2**53)
        return np.where(whole, np.where(whole, values, 0).astype(np.int64).astype(str), values.astype(str))
    return np.array([one.decode() if isinstance(one, bytes) else str(one) for one in values.tolist()], dtype=str)


class Oracle:
    """The model as the attacks see it: asked in batches, its classes known, every row counted."""

    def __init__(self, ask: Ask, classes: tuple[str, ...], *, batch: int = 2000) -> None:
        """Args: classes: in the order of `probabilities`; empty for a model that answers numbers."""
        self._ask, self.classes, self._batch = ask, classes, batch
        self._places = {name: place for place, name in enumerate(classes)}
        self._columns: npt.NDArray[np.int64] | None = None
        self.queries = 0
        self.scored = False

    def raw(self, rows: Floats) -> RawAnswer:
        """Raises: InputError `evaluate-outputs`: it answers differently from batch to batch."""
        self.queries += len(rows)
        step = max(1, min(self._batch, (8 << 20) // (8 * max(1, rows.shape[1]))))
        parts = [self._ask(rows[start : start + step]) for start in range(0, len(rows), step)]
        if len(parts) == 1:
            return parts[0]
        return RawAnswer(
            labels=_joined([one.labels for one in parts]),
            scores=_joined([one.scores for one in parts]),
            values=_joined([one.values for one in parts]),
        )

    def learn_columns(self, answer: RawAnswer) -> None:
        """Which column of the scores stands for which class, from rows that have both; in order of the names otherwise."""
        if answer.scores is None:
            return
        width = answer.scores.shape[1]
        self.scored = True
        columns = np.full(width, -1, np.int64)
        if answer.labels is not None:
            best = answer.scores.argmax(axis=1)
            for column in range(width):
                named, counts = np.unique(answer.labels[best == column], return_counts=True)
                if len(named):
                    columns[column] = self._places.get(str(named[counts.argmax()]), -1)
        left = [place for place in range(len(self.classes)) if place not in set(columns.tolist())]
        for column in range(width):
            if columns[column] < 0 and left:
                columns[column] = left.pop(0)
        self._columns = columns

    def probabilities(self, rows: Floats) -> Floats:
        """(n, classes), each row of sum 1; of a model that gives no scores, 1 for the class that it names."""
        return self.as_probabilities(self.raw(rows))

    def as_probabilities(self, answer: RawAnswer) -> Floats:
        """The same, of an answer."""
        if answer.scores is None or self._columns is None:
            assert answer.labels is not None
            found = np.zeros((len(answer.labels), len(self.classes)))
            places = np.array([self._places.get(str(one), -1) for one in answer.labels])
            found[np.flatnonzero(places >= 0), places[places >= 0]] = 1.0
            return found
        scores = np.nan_to_num(answer.scores, nan=0.0, posinf=1e300, neginf=-1e300)
        if scores.min(initial=0.0) < -1e-6 or not np.allclose(scores.sum(axis=1), 1.0, atol=1e-2):
            scores = scores - scores.max(axis=1, keepdims=True)
            scores = np.exp(np.maximum(scores, -700))
        scores = np.maximum(scores, 0.0)
        found = np.zeros((len(scores), len(self.classes)))
        known = self._columns >= 0
        np.add.at(found.T, self._columns[known], scores.T[known])
        return np.asarray(found / np.maximum(found.sum(axis=1, keepdims=True), 1e-12))

    def predicted(self, answer: RawAnswer) -> npt.NDArray[np.int64]:
        """(n,) places in `classes`; -1: a class that no row has. The class that the model names, where it names one."""
        if answer.labels is not None:
            return np.array([self._places.get(str(one), -1) for one in answer.labels], np.int64)
        return np.asarray(self.as_probabilities(answer).argmax(axis=1), np.int64)


def _joined(parts: list[Any]) -> Any:
    if any(part is None for part in parts):
        if all(part is None for part in parts):
            return None
        raise InputError("The model answers differently from one batch to the next.", code="evaluate-outputs")
    return np.concatenate(parts)
