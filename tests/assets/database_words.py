"""What tests say to a home's database, whichever it is, in SQLite's words; and all that it holds."""

from __future__ import annotations

import re
from pathlib import Path

from sqlalchemy import Engine, select

from casemate.storage import METADATA, open_home, reading


def in_words_of(engine: Engine, statement: str) -> str:
    if engine.dialect.name == "sqlite":
        return statement
    statement = re.sub(r"x'([0-9a-f]*)'", r"'\\x\1'::bytea", statement.replace("?", "%s"))
    statement = re.sub(r"CAST\(('[^']*'::bytea) AS TEXT\)", r"\1", statement)  # a column of bytes takes nothing else
    return re.sub(r"zeroblob\((\d+)\)", r"decode(repeat('00', \1), 'hex')", statement)


def change(home: Path, statement: str) -> None:
    """As whoever can write the database."""
    engine = open_home(home).open_database()
    with engine.begin() as connection:
        connection.exec_driver_sql(in_words_of(engine, statement))
    engine.dispose()


def stored_bytes(home: Path) -> bytes:
    """SQLite's files as they are; of a server's database every value of every row."""
    opened = open_home(home)
    if opened.database is not None:
        return b"".join(file.read_bytes() for file in home.glob("casemate.db*"))
    engine = opened.open_database(read_only=True)
    with reading(engine) as connection:
        values = [
            value for table in METADATA.sorted_tables for row in connection.execute(select(table)) for value in row
        ]
    engine.dispose()
    return b"\n".join(value if isinstance(value, bytes) else str(value).encode() for value in values)
