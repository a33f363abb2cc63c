"""A table's rows as an evaluation reads them: numbers for the model, the truth, and what rows are told apart by."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import msgspec
import numpy as np

from casemate.core import InputError
from casemate.evaluation.answers import Array, Floats, names_of
from casemate.evaluation.report import Columns, EvaluationConfig

LEAST_ROWS = 30
_CLIP = 80  # characters of a name in a message
_MANY = 12  # distinct numbers, above which a numeric column is told apart by quarters


class Rows(msgspec.Struct, frozen=True, kw_only=True):
    """Args:
    features: float64 (n, d), as the model takes them. names: of the d columns. truth: (n,) of str. numbers: (n,) float64 of the
        same; None where the label is text.
    parts: by slice or group column: (n,) of str.
    """

    features: Floats
    names: tuple[str, ...]
    truth: Array
    numbers: Floats | None
    parts: dict[str, Array]

    def __len__(self) -> int:
        return len(self.truth)

    def only(self, chosen: Any) -> Rows:
        """Some of the rows. Args: chosen: places or a mask."""
        return msgspec.structs.replace(
            self,
            features=self.features[chosen],
            truth=self.truth[chosen],
            numbers=None if self.numbers is None else self.numbers[chosen],
            parts={name: values[chosen] for name, values in self.parts.items()},
        )


def rows_of_table(table: Any, columns: Columns, config: EvaluationConfig, *, what: str = "The dataset") -> Rows:
    """Rows of an Arrow table of plain columns, as `scanning` makes them; of a long one, some at random.

    Rows without a label are left out. Raises: InputError `evaluate-columns`, `evaluate-rows`.
    """
    asked = dict.fromkeys((columns.label, *columns.slices, *columns.groups, *columns.sensitive))
    for name in asked:
        if name not in table.column_names:
            raise InputError(
                f"{what} has no column {name[:_CLIP]!r}: its columns are {_listed(table.column_names)}.",
                code="evaluate-columns",
            )
    names = _feature_names(table, columns, what)
    if table.num_rows > config.rows:
        chosen = np.sort(np.random.default_rng(config.seed).choice(table.num_rows, config.rows, replace=False))
        table = table.take(chosen)
    kept = np.asarray(table.column(columns.label).is_valid().to_numpy(zero_copy_only=False))
    if kept.sum() < LEAST_ROWS:
        raise InputError(
            f"{what} has {int(kept.sum())} rows with a label; an evaluation needs {LEAST_ROWS}.", code="evaluate-rows"
        )
    truth, numbers = _truth(table.column(columns.label))
    rows = Rows(
        features=np.ascontiguousarray(np.column_stack([_numbers(table.column(name), name, what) for name in names])),
        names=names,
        truth=truth,
        numbers=numbers,
        parts={name: _parts(table.column(name)) for name in dict.fromkeys((*columns.slices, *columns.groups))},
    )
    return rows if kept.all() else rows.only(kept)


def _feature_names(table: Any, columns: Columns, what: str) -> tuple[str, ...]:
    """The columns that the model takes, in its order. Raises: InputError."""
    if columns.features:
        missing = [name for name in columns.features if name not in table.column_names]
        if missing:
            raise InputError(
                f"The model takes {missing[0][:_CLIP]!r}, and {what[0].lower() + what[1:]} has no such column: evaluate it "
                "on rows with the columns that it was trained on.",
                code="evaluate-columns",
            )
        return columns.features
    numeric = [one.name for one in table.schema if one.name != columns.label and _is_numeric(one.type)]
    ungrouped = [name for name in numeric if name not in columns.groups]
    plain = [name for name in ungrouped if name not in columns.slices]
    names = next((one for one in (numeric, ungrouped, plain) if len(one) == columns.width), None)
    if names is None:
        raise InputError(
            f"The model takes {columns.width} numbers and does not say which; {what[0].lower() + what[1:]} has {len(numeric)} "
            f"columns of numbers beside the label ({_listed(numeric)}). Push the model with --dataset, so that it names them, "
            "or evaluate on a dataset with just these.",
            code="evaluate-columns",
        )
    return tuple(names)


def _numbers(column: Any, name: str, what: str) -> Floats:
    """float64 (n,); a missing value is NaN. Raises: InputError: it holds no numbers."""
    import pyarrow as pa
    import pyarrow.types as pt

    kind = column.type
    if not _is_numeric(kind):
        raise InputError(
            f"{what}'s column {name[:_CLIP]!r} is {kind}, and the model takes numbers.", code="evaluate-columns"
        )
    if pt.is_boolean(kind):
        column = column.cast(pa.int8())
    return np.asarray(column.cast(pa.float64()).to_numpy(zero_copy_only=False), np.float64)


def _is_numeric(kind: Any) -> bool:
    import pyarrow.types as pt

    return bool(pt.is_integer(kind) or pt.is_floating(kind) or pt.is_boolean(kind))


def _truth(column: Any) -> tuple[Array, Floats | None]:
    import pyarrow as pa
    import pyarrow.types as pt

    if pt.is_dictionary(column.type):
        column = column.cast(column.type.value_type)
    if pt.is_boolean(column.type):
        column = column.cast(pa.int8())
    if pt.is_integer(column.type) or pt.is_floating(column.type):
        numbers = np.asarray(column.cast(pa.float64()).to_numpy(zero_copy_only=False), np.float64)
        return names_of(numbers), numbers
    return _text(column), None


def _parts(column: Any) -> Array:
    """(n,) of str: the value, or the quarter that a number lies in."""
    import pyarrow.types as pt

    if not (pt.is_integer(column.type) or pt.is_floating(column.type)):
        return _text(column)
    values = np.asarray(column.cast("float64").to_numpy(zero_copy_only=False), np.float64)
    known = values[np.isfinite(values)]
    if len(np.unique(known)) <= _MANY:
        return np.where(np.isfinite(values), names_of(values), "missing")
    cuts = np.quantile(known, [0.25, 0.5, 0.75])
    places = np.searchsorted(cuts, values)
    return np.where(
        np.isfinite(values),
        np.array(["lowest quarter", "second quarter", "third quarter", "highest quarter"])[places],
        "missing",
    )


def _text(column: Any) -> Array:
    import pyarrow as pa
    import pyarrow.compute as pc

    values = pc.fill_null(column.cast(pa.string()), "missing").to_numpy(zero_copy_only=False)
    return np.asarray(values).astype(str)


def _listed(names: Sequence[str]) -> str:
    shown = ", ".join(name[:_CLIP] for name in names[:10])
    return shown + (f" and {len(names) - 10} more" if len(names) > 10 else "")
