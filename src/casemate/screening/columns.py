"""A table's rows as numbers: features, labels, contributors and times, ready for the detectors."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import msgspec
import numpy as np
import numpy.typing as npt

from casemate.core import InputError

Floats = npt.NDArray[np.float64]
Ints = npt.NDArray[np.int64]
Bools = npt.NDArray[np.bool_]

_FEW = 32  # values of a text column that get a feature each
_MAX_CLASSES = 1000
_LEAST_ROWS = 40  # below this, no figure of a detector means anything
_LEAST_OF_CLASS = 4  # rows; a class needs some in every fold
_CLIP = 80  # characters of a name in a message


class Rows(msgspec.Struct, frozen=True, kw_only=True):
    """Rows as the detectors read them.

    Args:
        features: float64 (n, d), finite: numbers as ranks or standardised values, text as one-of-many or as how frequent it is.
        labels: int64 (n,), places in `classes`. contributors: int64 (n,), places in `names`; None where no column names them.
        times: float64 (n,), in any unit that grows; None where no column says.
        said: Arrow table (n rows) of the values that features and labels were made from, where they came from a table.
    """

    features: Floats
    labels: Ints
    classes: tuple[str, ...]
    feature_names: tuple[str, ...]
    contributors: Ints | None = None
    names: tuple[str, ...] = ()
    times: Floats | None = None
    said: Any = None

    def __len__(self) -> int:
        return len(self.labels)

    def only(self, chosen: Any) -> Rows:
        """Some of the rows. Args: chosen: places or a mask."""
        return msgspec.structs.replace(
            self,
            features=self.features[chosen],
            labels=self.labels[chosen],
            contributors=None if self.contributors is None else self.contributors[chosen],
            times=None if self.times is None else self.times[chosen],
            said=None,
        )


def rows_of(
    features: Floats,
    labels: Sequence[Any] | npt.NDArray[Any],
    *,
    contributors: Sequence[Any] | npt.NDArray[Any] | None = None,
    times: Floats | None = None,
    feature_names: Sequence[str] = (),
) -> Rows:
    """Rows of arrays that are there already.

    Args: features: (n, d); what is not finite becomes the column's median. labels: (n,), any values that `str` tells apart.
    Raises: InputError `screen-rows`, `screen-labels`, `screen-shape`.
    """
    features = _filled(np.asarray(features, np.float64))
    classes, places = np.unique(np.asarray(labels).astype(str), return_inverse=True)
    if features.ndim != 2 or len(features) != len(places) or not features.shape[1]:
        raise InputError("Features are rows by columns, and each row has one label.", code="screen-shape")
    if len(features) < _LEAST_ROWS:
        raise InputError(
            f"A screening needs at least {_LEAST_ROWS} rows; there are {len(features)}.", code="screen-rows"
        )
    if not 1 < len(classes) <= _MAX_CLASSES or len(classes) * _LEAST_OF_CLASS > len(places):
        raise InputError(
            f"The label has {len(classes)} values over {len(places)} rows: it must be a class, not a number or an id.",
            code="screen-labels",
        )
    names, who = (
        (None, None) if contributors is None else np.unique(np.asarray(contributors).astype(str), return_inverse=True)
    )
    return Rows(
        features=features,
        labels=places.astype(np.int64),
        classes=tuple(map(str, classes)),
        feature_names=tuple(feature_names) or tuple(f"column {j + 1}" for j in range(features.shape[1])),
        contributors=None if who is None else who.astype(np.int64),
        names=() if names is None else tuple(map(str, names)),
        times=None if times is None else np.asarray(times, np.float64),
    )


def rows_of_table(table: Any, *, label: str, contributor: str | None = None, time: str | None = None) -> Rows:
    """Rows of an Arrow table of plain columns, as `scanning` makes them.

    Numbers, booleans and times become features as they are; a column of text with at most 32 values becomes a feature for
    each, one with more says how often its value occurs and how long it is. The label, contributor and time are no features.
    Raises: InputError `screen-column`, and as `rows_of`.
    """
    for what, name in (("label", label), ("contributor", contributor), ("time", time)):
        if name is not None and name not in table.column_names:
            raise InputError(f"There is no column {name[:_CLIP]!r} for the {what}.", code="screen-column")
    _check_label(table, label)
    names = [name for name in table.column_names if name not in (label, contributor, time)]
    if not names:
        raise InputError("There is no column beside the label: nothing can be compared.", code="screen-shape")
    features, feature_names = _all_features(table, names)
    rows = rows_of(
        features,
        _text(table.column(label)),
        contributors=None if contributor is None else _text(table.column(contributor)),
        times=None if time is None else _filled(_numbers(table.column(time))[:, None])[:, 0],
        feature_names=feature_names,
    )
    return msgspec.structs.replace(rows, said=table.select([*names, label]))


def rows_of_tables(
    table: Any, former: Any, *, label: str, contributor: str | None = None, time: str | None = None
) -> tuple[Rows, Rows]:
    """Rows of a table and of its former version, under one encoding: what is equal in both tables is equal in both answers.

    Raises: InputError `screen-former`: the former table lacks a column, or has it of another type; and as `rows_of_table`.
    """
    rows = rows_of_table(table, label=label, contributor=contributor, time=time)
    known = {field.name: field.type for field in former.schema}
    shared = rows.said.schema
    if other := [field.name for field in shared if known.get(field.name) != field.type]:
        raise InputError(
            f"The former version has no column {other[0][:_CLIP]!r} of the same type: compare versions with the same columns.",
            code="screen-former",
        )
    _check_label(former, label)
    before = former.select(shared.names)
    features, feature_names = _both_features(rows.said, before, [name for name in shared.names if name != label])
    count = len(rows)
    return (
        msgspec.structs.replace(rows, features=_filled(features[:count]), feature_names=tuple(feature_names)),
        msgspec.structs.replace(
            rows_of(features[count:], _text(before.column(label)), feature_names=feature_names), said=before
        ),
    )


def _both_features(table: Any, former: Any, names: Sequence[str]) -> tuple[Floats, list[str]]:
    import pyarrow as pa

    return _all_features(pa.concat_tables([table, former]), names)


def _check_label(table: Any, label: str) -> None:
    if table.column(label).null_count:
        raise InputError(
            f"The label {label[:_CLIP]!r} is missing in {table.column(label).null_count} rows.", code="screen-labels"
        )


def _all_features(table: Any, columns: Sequence[str]) -> tuple[Floats, list[str]]:
    """float64 (n, d) of these columns, and the names of the d features."""
    blocks, names = [], []
    for name in columns:
        block, of_block = _features(table.column(name), name)
        blocks.append(block)
        names += of_block
    return np.hstack(blocks), names


def _features(column: Any, name: str) -> tuple[Floats, list[str]]:
    """One column as features, and their names."""
    import pyarrow.compute as pc
    import pyarrow.types as pt

    if pt.is_binary(column.type):  # an image, by the bytes that it takes
        column = pc.binary_length(column)
    if not pt.is_string(column.type):
        return _numbers(column)[:, None], [name]
    values, places, counts = np.unique(_text(column), return_inverse=True, return_counts=True)
    if len(values) <= _FEW:
        return (places[:, None] == np.arange(len(values))).astype(np.float64), [
            f"{name}={str(v)[:_CLIP]}" for v in values
        ]
    lengths = np.char.str_len(values).astype(np.float64)
    return np.column_stack([np.log(counts[places]), np.log1p(lengths[places])]), [
        f"{name} (frequency)",
        f"{name} (length)",
    ]


def _numbers(column: Any) -> Floats:
    """float64 (n,); a missing value is NaN, a time its number. Raises: InputError: it is text."""
    import pyarrow as pa
    import pyarrow.types as pt

    if pt.is_string(column.type):
        raise InputError("The column for the time holds text: write it as times or numbers.", code="screen-column")
    if pt.is_temporal(column.type):
        column = column.cast(pa.int32() if pt.is_date32(column.type) else pa.int64())
    return np.asarray(column.cast(pa.float64()).to_numpy(zero_copy_only=False), np.float64)


def _text(column: Any) -> npt.NDArray[Any]:
    """(n,) of str; a missing value is the empty text."""
    import pyarrow as pa
    import pyarrow.compute as pc

    return np.asarray(pc.fill_null(column.cast(pa.string()), "").to_numpy(zero_copy_only=False)).astype(str)


def _filled(features: Floats) -> Floats:
    """The same values, finite: a missing or infinite one becomes the median of its column, or 0 where all are missing."""
    if np.isfinite(features).all():
        return features
    finite = np.where(np.isfinite(features), features, np.nan)
    with np.errstate(all="ignore"):
        middle = np.array([np.median(c[np.isfinite(c)]) if np.isfinite(c).any() else 0.0 for c in finite.T])
    return np.where(np.isnan(finite), middle, finite)
