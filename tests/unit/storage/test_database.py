from __future__ import annotations

import shutil
import sqlite3
from pathlib import Path

import pytest
from alembic.autogenerate import compare_metadata
from alembic.runtime.migration import MigrationContext
from sqlalchemy import Engine, create_mock_engine, insert, text
from sqlalchemy.exc import DatabaseError, IntegrityError
from storage_house import AT, House

from casemate.core import StorageError
from casemate.storage import METADATA, database, migrate, open_database, reading, shred, upgrade_home
from casemate.storage.database import blobs, version_blobs


@pytest.fixture
def engine(tmp_path: Path):
    engine = open_database(f"sqlite:///{tmp_path / 'odd #name?%20.db'}")
    migrate(engine)
    yield engine
    engine.dispose()


@pytest.mark.only("sqlite")
def test_migrations_make_the_tables_that_the_code_uses(engine: Engine, tmp_path: Path) -> None:
    assert (tmp_path / "odd #name?%20.db").exists()
    with reading(engine) as connection:
        assert compare_metadata(MigrationContext.configure(connection), METADATA) == []


@pytest.mark.only("sqlite")
def test_the_tables_are_valid_for_postgresql() -> None:
    made = []
    mock = create_mock_engine(
        "postgresql+psycopg://", lambda ddl, *_: made.append(str(ddl.compile(dialect=mock.dialect)))
    )
    METADATA.create_all(mock, checkfirst=False)
    assert sum("CREATE TABLE" in ddl for ddl in made) == len(METADATA.tables)
    assert any("BYTEA" in ddl for ddl in made)


@pytest.mark.only("sqlite")
def test_commits_are_durable_and_rows_refer_to_rows(engine: Engine) -> None:
    with reading(engine) as connection:
        pragmas = {
            name: connection.execute(text(f"PRAGMA {name}")).scalar()
            for name in ("journal_mode", "synchronous", "foreign_keys", "secure_delete")
        }
    assert pragmas == {"journal_mode": "wal", "synchronous": 2, "foreign_keys": 1, "secure_delete": 1}
    with pytest.raises(IntegrityError), engine.begin() as connection:
        connection.execute(insert(version_blobs).values(version_id="ver_none", path="a", blob_id="blob_none"))


def test_a_read_only_database_cannot_be_written_and_reads_while_another_writes(tmp_path: Path) -> None:
    house = House(tmp_path)
    reader = house.home.open_database(read_only=True)
    with house.engine.begin() as connection:
        connection.execute(insert(blobs).values(_blob("blob_1")))
        with reader.connect() as other:
            assert other.execute(text("SELECT count(*) FROM blobs")).scalar() == 0
    with pytest.raises(DatabaseError), reader.begin() as connection:
        connection.execute(insert(blobs).values(_blob("blob_2")))
    reader.dispose()
    house.engine.dispose()
    alone = house.home.open_database(read_only=True)
    with alone.connect() as connection:
        assert connection.execute(text("SELECT count(*) FROM blobs")).scalar() == 1
    alone.dispose()


@pytest.mark.only("sqlite")
def test_shredding_leaves_no_trace_of_a_wrapped_key(tmp_path: Path) -> None:
    house = House(tmp_path)
    secret = b"WRAPPED-KEY-THAT-MUST-GO" * 10
    with house.engine.begin() as connection:
        connection.execute(insert(blobs).values({**_blob("blob_1"), "wrapped_key": secret}))
    traces = lambda: [p for p in house.home.path.glob("casemate.db*") if secret in p.read_bytes()]  # noqa: E731
    assert traces()
    with house.engine.begin() as connection:
        connection.execute(blobs.delete())
    shred(house.engine)
    assert traces() == []
    house.engine.dispose()


@pytest.mark.only("sqlite")
def test_files_that_an_older_release_stored_whole_are_one_piece_each(tmp_path: Path) -> None:
    engine = open_database(f"sqlite:///{tmp_path / 'old.db'}")
    with engine.begin() as connection:
        database._upgrade(connection, "0002")
    with engine.begin() as connection:
        connection.execute(insert(blobs).values(_blob("blob_1")))
        connection.execute(
            text(
                "INSERT INTO versions (id, project, kind, name, number, digest, manifest, data_class, state, created_at,"
                " created_by, intent) VALUES ('ver_1', 'default', 'dataset', 'rows', 1, 'd', x'00', 'internal', 'live',"
                f" '{AT}', 'usr_a', 'evt_1')"
            )
        )
        connection.execute(
            text("INSERT INTO version_blobs (version_id, path, blob_id) VALUES ('ver_1', 'f', 'blob_1')")
        )
    migrate(engine)
    with reading(engine) as connection:
        assert database._revision(connection) == database._revisions()[-1]
        row = connection.execute(version_blobs.select()).one()
        assert (row.path, row.piece, row.blob_id) == ("f", 0, "blob_1")
        assert compare_metadata(MigrationContext.configure(connection), METADATA) == []
    engine.dispose()


def test_a_newer_database_is_refused(tmp_path: Path) -> None:
    house = House(tmp_path)
    with house.engine.begin() as connection:
        connection.execute(text("UPDATE alembic_version SET version_num = '9999'"))
    with pytest.raises(StorageError, match="newer Casemate") as refused:
        migrate(house.engine)
    assert refused.value.code == "newer-home"
    house.engine.dispose()


@pytest.mark.only("sqlite")
def test_an_older_database_is_copied_and_upgraded(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    house = House(tmp_path)
    with house.engine.begin() as connection:
        connection.execute(insert(blobs).values(_blob("blob_1")))
    upgrade_home(house.home)
    assert not list(house.home.path.glob("*.backup"))
    scripts = tmp_path / "scripts"
    shutil.copytree(database.MIGRATIONS, scripts)
    head = database._revisions()[-1]
    (scripts / "versions" / "9999_more.py").write_text(
        f"from alembic import op\nrevision, down_revision = '9999', '{head}'\n"
        "def upgrade():\n    op.execute('CREATE TABLE more (id INTEGER)')\n"
    )
    monkeypatch.setattr(database, "MIGRATIONS", scripts)
    upgrade_home(house.home)
    with reading(house.engine) as connection:
        assert connection.execute(text("SELECT count(*) FROM more")).scalar() == 0
    copy = house.home.path / f"casemate.db.{head}.backup"
    assert copy.stat().st_mode & 0o777 == 0o600
    kept = sqlite3.connect(copy)
    assert kept.execute("SELECT id FROM blobs").fetchall() == [("blob_1",)]
    assert kept.execute("SELECT name FROM sqlite_master WHERE name = 'more'").fetchall() == []
    kept.close()
    house.engine.dispose()


def _blob(blob_id: str) -> dict:
    about = {"project": "default", "asset": "model/m", "wrapped_key": b"w", "size": 1, "digest": "sha256:x"}
    return {"id": blob_id, "created_at": AT, **about}
