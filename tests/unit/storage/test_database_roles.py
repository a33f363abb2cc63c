"""Each role, every table, every verb: what is granted works, and nothing else does."""

from __future__ import annotations

import uuid
from collections.abc import Iterator
from pathlib import Path

import psycopg
import pytest
from real_postgres import Postgres
from storage_house import AT, NOW, House

from casemate.core import InputError, StorageError
from casemate.storage import METADATA, create_home, open_home, reading
from casemate.storage.database import blobs
from casemate.storage.database_roles import PROCESSES, RIGHTS, apply_roles, role_names, role_statements
from casemate.storage.ledger import LedgerPen

pytestmark = pytest.mark.only("postgresql")
LOG = ("entries", "tiles", "checkpoints", "ledger")
VERBS = ("SELECT", "INSERT", "UPDATE", "DELETE", "TRUNCATE")


class Manned:
    def __init__(self, folder: Path, server: Postgres) -> None:
        self.server, self.prefix = server, f"t{uuid.uuid4().hex[:12]}"
        self.home = create_home(folder / "home", now=NOW)
        self.url = self.home.database_url
        self.name = self.url.split("/")[3].split("?")[0]
        self.engine = self.home.open_database()
        apply_roles(self.engine, role_statements(self.url, self.prefix))
        apply_roles(self.engine, role_statements(self.url, self.prefix))  # again, and nothing is different

    def url_of(self, process: str) -> str:
        return self.server.url(self.name, f"{self.prefix}_{process}")

    def may(self, process: str, statement: str) -> bool:
        """Whether a statement is permitted; it is undone. A row that does not fit shows that it would have been."""
        with psycopg.connect(self.url_of(process)) as connection:
            try:
                connection.execute("SET default_transaction_read_only = off")
                connection.commit()
                connection.execute(statement)
            except psycopg.errors.InsufficientPrivilege:
                return False
            except psycopg.errors.IntegrityError:
                return True
            finally:
                connection.rollback()
        return True


@pytest.fixture
def manned(tmp_path: Path, postgres: Postgres) -> Iterator[Manned]:
    made = Manned(tmp_path, postgres)
    yield made
    made.engine.dispose()
    for process in PROCESSES:
        postgres.sql(f"DROP OWNED BY {made.prefix}_{process}", made.name)
        postgres.sql(f"DROP ROLE {made.prefix}_{process}")


def tried(table: str, verb: str, column: str) -> str:
    return {
        "SELECT": f"SELECT 1 FROM {table} LIMIT 1",
        "INSERT": f"INSERT INTO {table} SELECT * FROM {table} WHERE false",
        "UPDATE": f"UPDATE {table} SET {column} = {column}",
        "DELETE": f"DELETE FROM {table} WHERE false",
        "TRUNCATE": f"TRUNCATE {table} CASCADE",
    }[verb]


def granted(process: str, table: str, verb: str, column: str) -> bool:
    rights = RIGHTS[table][PROCESSES.index(process)]
    whole = {right for right in rights if "(" not in right}
    columns = next((right.partition("(")[2].rstrip(")").split(", ") for right in rights if "(" in right), [])
    return verb in whole or (verb == "UPDATE" and column in columns)


def test_every_table_has_said_who_may_use_it() -> None:
    assert set(RIGHTS) == {*METADATA.tables, "alembic_version"}


def test_every_table_is_in_the_documents() -> None:
    text = (Path(__file__).parents[3] / "docs" / "postgresql.md").read_text()
    assert [table for table in METADATA.tables if f"`{table}`" not in text] == []


@pytest.mark.parametrize("process", PROCESSES)
def test_a_role_may_do_what_the_table_says_and_nothing_else(manned: Manned, process: str) -> None:
    wrong = []
    for name in RIGHTS:
        columns = (
            [column.name for column in METADATA.tables[name].columns] if name in METADATA.tables else ["version_num"]
        )
        for verb in VERBS:
            for column in columns if verb == "UPDATE" else columns[:1]:
                statement = tried(name, verb, column)
                if verb == "INSERT" and not granted(process, name, "SELECT", column):
                    statement = f"INSERT INTO {name} DEFAULT VALUES"
                if manned.may(process, statement) != granted(process, name, verb, column):
                    wrong.append(statement)
    assert wrong == []


def test_nobodys_role_may_change_the_log_and_the_gateways_writes_nothing() -> None:
    for table in LOG:
        for rights in RIGHTS[table]:
            assert set(rights) <= {"SELECT", "INSERT"}
    assert {right for _, _, gateway in RIGHTS.values() for right in gateway} == {"SELECT"}
    assert {table for table, rights in RIGHTS.items() if "INSERT" in rights[1]}.isdisjoint(LOG)


@pytest.mark.parametrize("process", PROCESSES)
@pytest.mark.parametrize(
    "statement",
    [
        "CREATE TABLE mine (id int)",
        "CREATE TEMPORARY TABLE mine (id int)",
        "CREATE SCHEMA mine",
        "ALTER TABLE entries DISABLE TRIGGER ALL",
        "DROP TABLE entries",
        "CREATE ROLE somebody",
        "ALTER TABLE entries OWNER TO CURRENT_USER",
        "COPY entries TO PROGRAM 'cat'",
    ],
)
def test_a_role_makes_and_owns_nothing(manned: Manned, process: str, statement: str) -> None:
    assert not manned.may(process, statement)


def test_the_keepers_role_appends_and_rewraps(manned: Manned, tmp_path: Path) -> None:
    house = House(tmp_path)
    house.engine.dispose()
    house.engine = open_home(house.home.path, database=manned.url_of("keeper")).open_database(keeper=True)
    assert house.pen().append([("grant", {})], "int_1", AT) == 1
    with pytest.raises(StorageError, match="does not let this role") as refused, house.engine.begin() as connection:
        connection.execute(blobs.delete())
    assert refused.value.code == "database-role"
    house.engine.dispose()


def test_the_gateways_role_reads_the_signed_state_and_appends_nothing(manned: Manned, tmp_path: Path) -> None:
    house = House(tmp_path)
    assert house.pen().append([("grant", {})], "int_1", AT) == 1
    house.engine.dispose()
    house.engine = open_home(house.home.path, database=manned.url_of("gateway")).open_database()
    assert len(house.ledger(head=house.keeper.head).entries()) == 1
    with pytest.raises(Exception, match=r"read-only|does not let this role"):
        LedgerPen(house.engine, house.ledger(), house.keeper, home_id=house.home.id, key=house.key).append(
            [("grant", {})], "int_2", AT
        )
    with reading(house.engine) as connection:
        assert len(connection.execute(blobs.select()).all()) == 0
    house.engine.dispose()


@pytest.mark.parametrize("prefix", ["", "Casemate", "a; DROP TABLE entries", "pg-x", "x" * 60])
def test_a_prefix_that_is_no_name_is_refused(prefix: str) -> None:
    with pytest.raises(InputError):
        role_names(prefix)
