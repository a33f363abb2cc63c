"""What an evaluation is asked for and gives back."""

from __future__ import annotations

from typing import Any

import msgspec

LEAST_OF_GROUP = 30  # rows; what fewer rows say is neither told apart nor judged


class Columns(msgspec.Struct, frozen=True, kw_only=True):
    """Args:
    label: the column with the truth. width: numbers that the model takes. features: their columns, in order; empty: all but
        the label, and but slices and groups where it takes fewer.
    slices, groups: columns. sensitive: columns that the model takes and that an attacker would guess.
    positive: the class that counts as the good outcome between groups; empty: the last in order, of two.
    """

    label: str
    width: int
    features: tuple[str, ...] = ()
    slices: tuple[str, ...] = ()
    groups: tuple[str, ...] = ()
    sensitive: tuple[str, ...] = ()
    positive: str = ""


class EvaluationConfig(msgspec.Struct, frozen=True, kw_only=True):
    """Args:
    rows: that are looked at, at most, drawn at random. bins: of the calibration curve, each with as many rows.
    shadows: models that the membership attack fits. leak_rows: members, and as many others, that it looks at.
    attacked: rows that evasion starts from. steps: of each evasion attack.
    seed: of all that is drawn: the same rows, model and seed give the same report.
    """

    rows: int = 50_000
    bins: int = 10
    shadows: int = 32
    leak_rows: int = 2000
    attacked: int = 200
    steps: int = 120
    seed: int = 20260101


class Interval(msgspec.Struct, frozen=True, kw_only=True):
    """Args: low, high: of 95 % confidence, over all that is told beside it, as its maker says."""

    low: float
    high: float


class Part(msgspec.Struct, frozen=True, kw_only=True):
    """A slice. Args: value: of `metric`. interval: wide enough for all slices together."""

    column: str
    name: str
    rows: int
    metric: str
    value: float
    interval: Interval


class Group(msgspec.Struct, frozen=True, kw_only=True):
    """One value of a column that people are told apart by. A rate is None where fewer than 10 rows could have it."""

    column: str
    name: str
    rows: int
    selected: float
    interval: Interval
    true_positive: float | None
    false_positive: float | None
    accuracy: float


class Bin(msgspec.Struct, frozen=True, kw_only=True):
    """Of the calibration curve. Args: said: mean confidence. right: share that was."""

    said: float
    right: float
    rows: int


class EvaluationReport(msgspec.Struct, frozen=True, kw_only=True):
    """Holds no row. It names classes, and values of slice and group columns that at least 30 rows share.

    Args:
        task: `classification` or `regression`. figures: by name, those of `gates.METRICS`; what was not measured is not there.
        leakage: of the membership and attribute attacks, evasion: of the evasion attack, each with how it was done.
        skipped: what was not looked at, and why. notes: how to read what was.
    """

    task: str
    rows: int
    classes: tuple[str, ...]
    figures: dict[str, float]
    calibration: tuple[Bin, ...] = ()
    slices: tuple[Part, ...] = ()
    groups: tuple[Group, ...] = ()
    leakage: dict[str, Any] = {}
    evasion: dict[str, Any] = {}
    skipped: tuple[str, ...] = ()
    notes: tuple[str, ...] = ()
    queries: int = 0
