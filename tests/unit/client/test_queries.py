"""What a database answers becomes an Arrow stream; nothing is written there, and nothing of its address is sent."""

from __future__ import annotations

import datetime as dt
import io
import sqlite3
from pathlib import Path

import pyarrow as pa
import pytest
from real_postgres import Postgres

from casemate.client.queries import query_rows
from casemate.core import CasemateError, InputError


def asked(sql: str, url: str) -> pa.Table:
    data = b"".join(query_rows(sql, "env://SOURCE", environ={"SOURCE": url}))
    return pa.ipc.open_stream(io.BytesIO(data)).read_all()


@pytest.fixture
def sqlite(tmp_path: Path) -> str:
    path = tmp_path / "shop #1.db"
    database = sqlite3.connect(path)
    database.execute("CREATE TABLE visits (id, age, name, raw, mixed)")
    rows = [(n, n / 2 if n % 2 else n, None if n == 3 else f"p{n}", b"x", "a" if n else 1) for n in range(25_000)]
    database.executemany("INSERT INTO visits VALUES (?, ?, ?, ?, ?)", rows)
    database.commit()
    database.close()
    return f"sqlite:///{path}"


def test_rows_of_sqlite_keep_their_types(sqlite: str) -> None:
    found = asked("SELECT id, age, name FROM visits ORDER BY id", sqlite)
    assert found.schema.types == [pa.int64(), pa.float64(), pa.string()]
    assert found.num_rows == 25_000
    assert found.slice(3, 1).to_pylist() == [{"id": 3, "age": 1.5, "name": None}]


@pytest.mark.parametrize(
    ("sql", "words"),
    [
        ("DELETE FROM visits", "refused"),
        ("SELECT 1; DELETE FROM visits", "refused"),
        ("CREATE TABLE t (a)", "refused"),
        ("ATTACH DATABASE '/tmp/x.db' AS x", "refused"),
        ("PRAGMA query_only=OFF", "refused"),
        ("SELECT load_extension('x')", "refused"),
        ("SELECT nothing FROM visits", "refused"),
        ("SELECT raw FROM visits", "'raw'"),
        ("SELECT mixed FROM visits", "'mixed'"),
        ("", "no rows"),
    ],
)
def test_what_is_no_plain_question_gets_one_sentence(sqlite: str, sql: str, words: str) -> None:
    with pytest.raises(InputError, match=words) as refused:
        asked(sql, sqlite)
    assert refused.value.code == "bad-query"
    assert asked("SELECT count(*) AS n FROM visits", sqlite).to_pylist() == [{"n": 25_000}]


@pytest.mark.parametrize(
    ("url", "code"),
    [
        ("mysql://host/name", "bad-source"),
        ("sqlite:///relative.db", "bad-source"),
        ("sqlite:////nowhere/at/all.db", "bad-source"),
        ("postgresql://ana@127.0.0.1:1/none", "no-answer"),
    ],
)
def test_a_source_that_is_none_is_told(url: str, code: str) -> None:
    with pytest.raises(CasemateError) as refused:
        asked("SELECT 1", url)
    assert refused.value.code == code


@pytest.mark.parametrize("text", ["sqlite:////tmp/x.db", "postgresql://ana:pass@host/db", "file://relative"])
def test_the_address_is_named_and_never_written(text: str) -> None:
    with pytest.raises(InputError) as refused:
        query_rows("SELECT 1", text)
    assert refused.value.code == "bad-secret-reference"
    assert "pass" not in refused.value.message.replace("password", "")


@pytest.fixture
def shop(postgres: Postgres) -> str:
    url = postgres.fresh(empty=True)
    name = url.partition("@/")[2].partition("?")[0]
    postgres.sql(
        "CREATE TABLE visits (id bigint, pay numeric, name text, at timestamptz, day date, ok bool, about jsonb)", name
    )
    postgres.sql(
        "INSERT INTO visits SELECT n, n / 4.0, CASE WHEN n <> 3 THEN 'p' || n END, '2026-01-02 03:04:05+00',"
        " '2026-01-02', n % 2 = 0, '{\"a\": 1}' FROM generate_series(1, 25000) AS n",
        name,
    )
    return url


def test_rows_of_postgresql_keep_their_types(shop: str) -> None:
    found = asked("SELECT * FROM visits ORDER BY id", shop)
    assert found.num_rows == 25_000
    third = found.slice(2, 1).to_pylist()[0]
    assert third | {"at": None} == {
        "id": 3,
        "pay": 0.75,
        "name": None,
        "at": None,
        "day": dt.date(2026, 1, 2),
        "ok": False,
        "about": '{"a": 1}',
    }
    assert third["at"].replace(tzinfo=None) == dt.datetime(2026, 1, 2, 3, 4, 5)  # noqa: DTZ001 as the dataset has it


@pytest.mark.parametrize(
    ("sql", "words"),
    [
        ("DELETE FROM visits", "refused"),
        ("SELECT 1 AS a; DELETE FROM visits", "refused"),
        ("SELECT 1 AS a; COMMIT; DELETE FROM visits", "refused"),
        ("WITH gone AS (DELETE FROM visits RETURNING id) SELECT * FROM gone", "refused"),
        ("SELECT nothing FROM visits", "refused"),
        ("SELECT ARRAY[id] AS many FROM visits", "many::text"),
    ],
)
def test_postgresql_is_only_read(shop: str, sql: str, words: str) -> None:
    with pytest.raises(InputError, match=words):
        asked(sql, shop)
    assert asked("SELECT count(*) AS n FROM visits", shop).to_pylist() == [{"n": 25_000}]
