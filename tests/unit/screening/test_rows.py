"""Tables as rows, and what no screening can be made of."""

from __future__ import annotations

import datetime as dt

import numpy as np
import pyarrow as pa
import pytest

from casemate.core import InputError
from casemate.screening import rows_of, rows_of_table
from casemate.screening.former import change
from casemate.screening.tables import rows_of_tables
from casemate.screening.verdicts import row_digests


def table(rows: int = 60, **columns) -> pa.Table:
    plain = {
        "size": pa.array(np.arange(rows, dtype=float)),
        "colour": pa.array(["red", "blue", None] * (rows // 3)),
        "name": pa.array([f"n{i % 50}" for i in range(rows)]),
        "day": pa.array([dt.date(2026, 1, 1) + dt.timedelta(days=i) for i in range(rows)]),
        "who": pa.array(["ann", "bob"] * (rows // 2)),
        "label": pa.array(["yes", "no"] * (rows // 2)),
    }
    return pa.table(plain | columns)


def test_columns_become_features_and_the_named_ones_do_not() -> None:
    rows = rows_of_table(table(), label="label", contributor="who", time="day")
    assert rows.feature_names == ("size", "colour=", "colour=blue", "colour=red", "name (frequency)", "name (length)")
    assert rows.classes == ("no", "yes")
    assert rows.names == ("ann", "bob")
    assert (np.diff(rows.times) == 1).all()
    assert np.isfinite(rows.features).all()
    assert len(rows.only(rows.labels == 0)) == 30


def test_missing_and_infinite_numbers_become_the_median() -> None:
    values = np.arange(60.0)
    values[:2] = np.inf, np.nan
    rows = rows_of(values[:, None], [0, 1] * 30)
    assert rows.features[:2, 0].tolist() == [np.median(values[2:])] * 2


@pytest.mark.parametrize(
    ("changes", "options", "code"),
    [
        ({}, {"label": "nothing"}, "screen-column"),
        ({}, {"label": "label", "contributor": "nobody"}, "screen-column"),
        ({}, {"label": "label", "time": "colour"}, "screen-column"),
        ({"label": pa.array(["same"] * 60)}, {"label": "label"}, "screen-labels"),
        ({"label": pa.array([None] + ["a", "b"] * 29 + ["a"])}, {"label": "label"}, "screen-labels"),
        ({}, {"label": "size"}, "screen-labels"),
    ],
)
def test_what_cannot_be_screened_is_refused(changes, options, code) -> None:
    with pytest.raises(InputError) as refused:
        rows_of_table(table(**changes), **options)
    assert refused.value.code == code


def test_a_table_of_labels_alone_and_a_small_one_are_refused() -> None:
    with pytest.raises(InputError, match="beside the label"):
        rows_of_table(table().select(["label"]), label="label")
    with pytest.raises(InputError, match="at least 40 rows"):
        rows_of_table(table(30), label="label")


def test_a_former_version_with_other_values_of_its_texts_is_compared_all_the_same() -> None:
    colours = ["green", *table()["colour"].to_pylist()[1:]]
    new = table(colour=pa.array(colours), name=pa.array([f"n{i % 40}" for i in range(60)]))
    rows, former = rows_of_tables(new, table(), label="label", contributor="who", time="day")
    assert rows.feature_names == former.feature_names
    assert "colour=green" in rows.feature_names
    since = change(rows, former)
    assert np.flatnonzero(since.added).tolist() == [0, *range(40, 60)], (
        "one encoding: what is the same compares as the same"
    )
    assert not since.relabelled.any()
    with pytest.raises(InputError) as refused:
        rows_of_tables(new, table().drop_columns(["size"]), label="label", contributor="who")
    assert refused.value.code == "screen-former"


def test_a_row_has_one_name_in_every_version_whoever_gave_it() -> None:
    first = rows_of_table(table(), label="label", contributor="who", time="day")
    other = table(120, who=pa.array(["eve"] * 120))
    second = rows_of_table(other, label="label", contributor="who", time="day")
    assert row_digests(first, [0, 7]) == row_digests(second, [0, 7])
    assert len(set(row_digests(first, range(60)))) == 60
