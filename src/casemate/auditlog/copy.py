"""A copy of a log in another database, as it stands."""

from __future__ import annotations

from sqlalchemy import Engine, insert, select

from casemate.storage.database import checkpoints, entries, reading, tiles

_BATCH = 1000  # rows


def copy_log(source: Engine, target: Engine) -> None:
    """Every entry, tile and checkpoint of `source`, at one moment, into the empty tables of `target`."""
    with reading(source) as rows, target.begin() as connection:
        for table in (entries, tiles, checkpoints):
            for batch in rows.execute(select(table).execution_options(yield_per=_BATCH)).mappings().partitions():
                connection.execute(insert(table), [dict(row) for row in batch])
