"""Rows of Arrow tables that are held whole, as `scanning` makes them."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import msgspec

from casemate.core import InputError
from casemate.screening.columns import Rows, filled, rows_of
from casemate.screening.encoding import CLIP, Block, Counts, Encoding, as_numbers, as_text

_SEED = 20260101  # of what is learnt of texts and images


def rows_of_table(table: Any, *, label: str, contributor: str | None = None, time: str | None = None) -> Rows:
    """Rows of an Arrow table of plain columns, as `scanning` makes them: `encoding` says how.

    The label, contributor and time are no features.
    Raises: InputError `screen-column`, and as `rows_of`.
    """
    names = feature_columns(table.schema, label=label, contributor=contributor, time=time)
    check_label(table, label)
    encoding = _learnt(table, names)
    return _rows(table, encoding.learnt(), encoding, label=label, contributor=contributor, time=time)


def rows_of_tables(
    table: Any, former: Any, *, label: str, contributor: str | None = None, time: str | None = None
) -> tuple[Rows, Rows]:
    """Rows of a table and of its former version, under one encoding: what is equal in both tables is equal in both answers.

    Raises: InputError `screen-former`: the former table lacks a column, or has it of another type; and as `rows_of_table`.
    """
    import pyarrow as pa

    names = feature_columns(table.schema, label=label, contributor=contributor, time=time)
    check_label(table, label)
    check_former(table.schema, former.schema, [*names, label])
    check_label(former, label)
    both = pa.concat_tables([table.select([*names, label]), former.select([*names, label])])
    encoding = _learnt(both, names)
    count, every = table.num_rows, encoding.learnt()
    return (
        _rows(table, _part(every, slice(0, count)), encoding, label=label, contributor=contributor, time=time),
        _rows(former, _part(every, slice(count, None)), encoding, label=label),
    )


def feature_columns(schema: Any, *, label: str, contributor: str | None, time: str | None) -> list[str]:
    """Raises: InputError `screen-column`, `screen-shape`."""
    for what, name in (("label", label), ("contributor", contributor), ("time", time)):
        if name is not None and name not in schema.names:
            raise InputError(f"There is no column {name[:CLIP]!r} for the {what}.", code="screen-column")
    names = [name for name in schema.names if name not in (label, contributor, time)]
    if not names:
        raise InputError("There is no column beside the label: nothing can be compared.", code="screen-shape")
    return names


def check_label(table: Any, label: str) -> None:
    """Raises: InputError `screen-labels`: it is missing in some rows."""
    refuse_missing(label, table.column(label).null_count)


def refuse_missing(label: str, count: int) -> None:
    """Raises: InputError `screen-labels` unless `count`, of rows without a label, is 0."""
    if count:
        raise InputError(f"The label {label[:CLIP]!r} is missing in {count} rows.", code="screen-labels")


def check_former(schema: Any, former: Any, shared: Sequence[str]) -> None:
    """Raises: InputError `screen-former`: these columns are not all there, of the same type."""
    known = {field.name: field.type for field in former}
    if other := [name for name in shared if known.get(name) != schema.field(name).type]:
        raise InputError(
            f"The former version has no column {other[0][:CLIP]!r} of the same type: compare versions with the same columns.",
            code="screen-former",
        )


def _learnt(table: Any, names: Sequence[str]) -> Encoding:
    counts = Counts(table.schema, names)
    counts.add(table)
    return Encoding(counts, table.schema, names, table, seed=_SEED)


def _part(block: Block, chosen: slice) -> Block:
    return Block(
        features=block.features[chosen],
        surface=None if block.surface is None else block.surface[chosen],
        views=tuple(view[chosen] for view in block.views),
        pieces=None if block.pieces is None else block.pieces[chosen],
        unread=None if block.unread is None else block.unread[chosen],
    )


def _rows(
    table: Any, block: Block, encoding: Encoding, *, label: str, contributor: str | None = None, time: str | None = None
) -> Rows:
    rows = rows_of(
        block.features,
        as_text(table.column(label)),
        contributors=None if contributor is None else as_text(table.column(contributor)),
        times=None if time is None else filled(as_numbers(table.column(time))[:, None])[:, 0],
        feature_names=encoding.feature_names,
    )
    return msgspec.structs.replace(
        rows,
        said=table.select([*encoding.names, label]),
        weights=encoding.weights,
        surface=block.surface,
        views=block.views,
        pieces=block.pieces,
        unread=block.unread,
    )
