"""Which class of the label a model means: libraries name, number or score classes, each in its own way."""

from __future__ import annotations

import msgspec
import numpy as np

from casemate.core import InputError
from casemate.evaluation.answers import Array, Ask, Floats, RawAnswer

_MAX_CLASSES = 1000


class Naming(msgspec.Struct, frozen=True, kw_only=True):
    """A model as one that names classes as the label does. Args: answer: what it said, in these names."""

    ask: Ask
    answer: RawAnswer
    notes: tuple[str, ...] = ()


def classes_of(truth: Array) -> tuple[str, ...]:
    """The values of a label, in order. Raises: InputError `evaluate-columns`: too few or too many."""
    classes = tuple(map(str, np.unique(truth)))
    if not 1 < len(classes) <= _MAX_CLASSES:
        raise InputError(
            f"The label has {len(classes)} values; a classifier is evaluated on 2 to {_MAX_CLASSES}.",
            code="evaluate-columns",
        )
    return classes


def is_binary_score(values: Floats, truth: Array) -> bool:
    """Whether one number a row, from 0 to 1, is the probability of the second of two classes."""
    if len(np.unique(truth)) != 2 or not np.isfinite(values).all():
        return False
    return bool(values.min() >= 0 and values.max() <= 1)


def aligned(classes: tuple[str, ...], ask: Ask, answer: RawAnswer) -> Naming:
    """The model in the label's names. Args: answer: of it, on rows of every class.

    Raises: InputError `evaluate-columns`: it names none of the classes.
    """
    if answer.values is not None:
        note = f"one number a row, from 0 to 1, is read as the probability of {classes[1][:80]!r}"
        return Naming(ask=lambda rows: _scored(ask(rows)), answer=_scored(answer), notes=(note,))
    if answer.scores is not None and len(classes) > answer.scores.shape[1]:
        raise InputError(
            f"The model tells {answer.scores.shape[1]} classes apart, and the label has {len(classes)}: name the label that "
            "it was trained on.",
            code="evaluate-columns",
        )
    said = set() if answer.labels is None else set(map(str, np.unique(answer.labels)))
    if answer.labels is None or said & set(classes):
        return Naming(ask=ask, answer=answer)
    numbers = {str(place) for place in range(len(classes))}
    if not said <= numbers:
        raise InputError(
            f"The model answers {', '.join(sorted(said)[:5])[:200]}, and none of these is among the label's {len(classes)} "
            "values: name the label that it was trained on.",  # the values are rows', and who evaluates may not read rows
            code="evaluate-columns",
        )
    note = "the model numbers its classes from 0; they are taken in the order of the label's names"
    return Naming(
        ask=lambda rows: _named(ask(rows), classes, numbers), answer=_named(answer, classes, numbers), notes=(note,)
    )


def _scored(answer: RawAnswer) -> RawAnswer:
    assert answer.values is not None
    return RawAnswer(scores=np.column_stack([1 - answer.values, answer.values]))


def _named(answer: RawAnswer, classes: tuple[str, ...], numbers: set[str]) -> RawAnswer:
    assert answer.labels is not None
    labels = np.array([classes[int(one)] if str(one) in numbers else "" for one in answer.labels], dtype=str)
    return RawAnswer(labels=labels, scores=answer.scores)
