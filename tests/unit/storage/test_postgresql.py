"""PostgreSQL itself: what its URL may say, what it must promise, who writes, and what is said when it fails."""

from __future__ import annotations

import shutil
import threading
from pathlib import Path

import pytest
from alembic.autogenerate import compare_metadata
from alembic.runtime.migration import MigrationContext
from real_postgres import Postgres
from sqlalchemy import Engine, insert, text
from sqlalchemy.exc import DatabaseError, IntegrityError
from storage_house import AT, NOW, House

from casemate.core import ConflictError, InputError, Secret, StorageError
from casemate.settings import load_settings
from casemate.storage import METADATA, create_home, database, migrate, migrate_home, open_database, open_home, reading
from casemate.storage import upgrade_home as upgrade
from casemate.storage.database import blobs, version_blobs
from casemate.storage.postgresql import checked_url

pytestmark = pytest.mark.only("postgresql")
SECRET = "hunter2-very-secret"


@pytest.fixture
def engine(postgres: Postgres):
    engine = open_database(postgres.fresh(empty=True))
    migrate(engine)
    yield engine
    engine.dispose()


def test_migrations_make_the_tables_that_the_code_uses(engine: Engine) -> None:
    with reading(engine) as connection:
        assert compare_metadata(MigrationContext.configure(connection), METADATA) == []


def test_commits_are_durable_and_rows_refer_to_rows(engine: Engine, postgres: Postgres) -> None:
    postgres.sql(f"ALTER DATABASE {engine.url.database} SET synchronous_commit = off")
    engine.dispose()
    with reading(engine) as connection:
        assert connection.execute(text("SHOW synchronous_commit")).scalar() == "on"
    with pytest.raises(IntegrityError), engine.begin() as connection:
        connection.execute(insert(version_blobs).values(version_id="ver_none", path="a", blob_id="blob_none"))


def test_a_password_comes_from_where_the_setting_says_and_stands_nowhere(postgres: Postgres, tmp_path: Path) -> None:
    postgres.sql(f"CREATE ROLE asked LOGIN PASSWORD '{SECRET}'")
    rules = postgres.data / "pg_hba.conf"
    before = rules.read_text()
    rules.write_text(f"local all asked scram-sha-256\n{before}")
    postgres.sql("SELECT pg_reload_conf()")
    url = postgres.fresh().replace("postgres@", "asked@")
    environ = {"CASEMATE_DATABASE": url, "CASEMATE_DATABASE_PASSWORD": "env://DB", "DB": SECRET}
    settings = load_settings(environ, home=tmp_path)
    try:
        engine = open_database(settings.database, password=settings.database_password, read_only=True)
        with reading(engine) as connection:
            assert connection.execute(text("SELECT current_user")).scalar() == "asked"
        assert SECRET not in repr(engine) + repr(engine.url) + repr(settings)
        engine.dispose()
        wrong = open_database(url, password=Secret("another-" + SECRET), read_only=True)
        with pytest.raises(StorageError) as refused, reading(wrong):
            pass
        assert SECRET not in str(refused.value)
        wrong.dispose()
    finally:
        rules.write_text(before)
        postgres.sql("SELECT pg_reload_conf()")


@pytest.mark.parametrize("name", ["fsync", "full_page_writes"])
def test_a_server_that_may_lose_what_it_confirmed_is_refused(postgres: Postgres, name: str) -> None:
    engine = open_database(postgres.fresh())
    postgres.restart(**{name: "off"})
    try:
        with pytest.raises(StorageError, match=f"set {name} = on") as refused, engine.begin():
            pass
        assert refused.value.code == "database-not-durable"
    finally:
        postgres.restart(**{name: "on"})
        engine.dispose()


@pytest.mark.parametrize(
    ("url", "why"),
    [
        (f"postgresql://ana:{SECRET}@db/casemate", "passfile"),
        (f"postgresql://ana@db/casemate?password={SECRET}", "passfile"),
        ("postgresql://ana@db/casemate?service=x", "not known here"),
        ("postgresql://ana@db/casemate?options=-cfsync%3Doff", "not known here"),
        ("postgresql://ana@db.example/casemate?sslmode=require", "verify-full"),
        ("postgresql://ana@db.example/casemate?sslmode=disable", "verify-full"),
        ("postgresql://ana@db.example/", "names no database"),
        ("postgresql://ana@db/casemate?passfile=/nowhere/at/all", "cannot be read"),
        ("mysql://ana@db/casemate", "another kind"),
        ("not a url", "not a URL"),
    ],
)
def test_a_url_with_a_secret_or_without_tls_is_refused(url: str, why: str, tmp_path: Path) -> None:
    with pytest.raises(InputError, match=why) as refused:
        create_home(tmp_path / "h", now=NOW, database=url)
    assert refused.value.code == "bad-database"
    assert SECRET not in str(refused.value)
    assert not (tmp_path / "h").exists()


def test_a_passfile_that_others_may_read_is_refused(tmp_path: Path) -> None:
    passfile = tmp_path / "pass"
    passfile.write_text(f"*:*:*:*:{SECRET}")
    passfile.chmod(0o640)
    with pytest.raises(InputError, match="chmod 600") as refused:
        checked_url(f"postgresql://ana@localhost/casemate?passfile={passfile}")
    assert SECRET not in str(refused.value)
    passfile.chmod(0o600)
    checked_url(f"postgresql://ana@localhost/casemate?passfile={passfile}")


def test_tls_that_knows_the_server_is_asked_for_over_a_network_alone() -> None:
    assert checked_url("postgresql://ana@db.example/casemate").query["sslmode"] == "verify-full"
    for here in ("localhost", "127.0.0.1", "[::1]"):
        assert "sslmode" not in checked_url(f"postgresql://ana@{here}/casemate").query


def test_a_password_in_a_file_opens_the_database(postgres: Postgres, tmp_path: Path) -> None:
    url = postgres.fresh()
    passfile = tmp_path / "pass"
    passfile.write_text(f"*:*:*:*:{SECRET}")
    passfile.chmod(0o600)
    engine = open_database(f"{url}&passfile={passfile}")
    with reading(engine) as connection:
        assert connection.execute(text("SELECT 1")).scalar() == 1
    engine.dispose()


def test_a_read_only_database_cannot_be_written_and_reads_while_another_writes(tmp_path: Path) -> None:
    house = House(tmp_path)
    reader = house.home.open_database(read_only=True)
    with house.engine.begin() as connection:
        connection.execute(insert(blobs).values(_blob("blob_1")))
        with reader.connect() as other:
            assert other.execute(text("SELECT count(*) FROM blobs")).scalar() == 0
    with pytest.raises(DatabaseError, match="read-only"), reader.begin() as connection:
        connection.execute(insert(blobs).values(_blob("blob_2")))
    for engine in (reader, house.engine):
        engine.dispose()


def test_a_reader_sees_one_moment(tmp_path: Path) -> None:
    house = House(tmp_path)
    count = text("SELECT count(*) FROM blobs")
    with reading(house.engine) as before:
        assert before.execute(count).scalar() == 0
        with house.engine.begin() as connection:
            connection.execute(insert(blobs).values(_blob("blob_1")))
        assert before.execute(count).scalar() == 0
    with reading(house.engine) as after:
        assert after.execute(count).scalar() == 1
    house.engine.dispose()


def test_two_that_read_first_and_write_later_come_one_after_the_other(tmp_path: Path) -> None:
    house = House(tmp_path)
    here = threading.Barrier(4)

    def add() -> None:
        here.wait()
        for _ in range(10):
            with house.engine.begin() as connection:
                number = connection.execute(text("SELECT count(*) FROM blobs")).scalar()
                connection.execute(insert(blobs).values(_blob(f"blob_{number}")))  # taken, if another came between

    threads = [threading.Thread(target=add) for _ in range(4)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    with reading(house.engine) as connection:
        assert connection.execute(text("SELECT count(*) FROM blobs")).scalar() == 40
    house.engine.dispose()


def test_a_writer_that_waits_too_long_is_told(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("casemate.storage.postgresql._BUSY", 0.2)
    house = House(tmp_path)
    with house.engine.begin() as connection:
        connection.execute(insert(blobs).values(_blob("blob_1")))
        with pytest.raises(StorageError, match="busy") as refused, house.engine.begin():
            pass
        assert refused.value.code == "database-busy"
    with house.engine.begin() as connection:
        connection.execute(insert(blobs).values(_blob("blob_2")))
    house.engine.dispose()


def test_there_is_one_keeper_and_it_writes_over_no_other_connection(
    tmp_path: Path, postgres: Postgres, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("casemate.storage.postgresql._TAKEOVER", 0.2)
    house = House(tmp_path)
    one, two = (house.home.open_database(keeper=True) for _ in range(2))
    with one.begin() as connection:
        connection.execute(insert(blobs).values(_blob("blob_1")))
    with pytest.raises(ConflictError, match="Another keeper") as refused, two.begin():
        pass
    assert refused.value.code == "keeper-elsewhere"
    postgres.sql("SELECT pg_terminate_backend(pid) FROM pg_locks WHERE locktype = 'advisory' AND objid = 2")
    with two.begin() as connection:  # its lock ended with its connection
        connection.execute(insert(blobs).values(_blob("blob_2")))
    with pytest.raises(ConflictError), one.begin() as connection:
        connection.execute(insert(blobs).values(_blob("blob_3")))
    two.dispose()
    with one.begin() as connection:
        connection.execute(insert(blobs).values(_blob("blob_3")))
    for engine in (one, house.engine):
        engine.dispose()


def test_a_server_that_stops_is_named_and_one_that_is_back_is_used(tmp_path: Path, postgres: Postgres) -> None:
    house = House(tmp_path)
    pen = house.pen()
    pen.append([("grant", {})], "int_1", AT)
    postgres.stop()
    for act in (house.ledger().entries, lambda: pen.append([("grant", {})], "int_2", AT)):
        with pytest.raises(StorageError, match="cannot be reached") as refused:
            act()
        assert refused.value.code == "database-unreachable"
    postgres.start()
    assert pen.append([("grant", {})], "int_2", AT) == 2
    assert len(house.ledger(head=house.keeper.head).entries()) == 2
    house.engine.dispose()


def test_a_server_that_dies_in_a_transaction_is_named(tmp_path: Path, postgres: Postgres) -> None:
    house = House(tmp_path)
    with pytest.raises(StorageError) as refused, house.engine.begin() as connection:
        connection.execute(insert(blobs).values(_blob("blob_1")))
        postgres.stop("immediate")
        postgres.start()
        connection.execute(insert(blobs).values(_blob("blob_2")))
    assert refused.value.code == "database-unreachable"
    with reading(house.engine) as connection:
        assert connection.execute(text("SELECT count(*) FROM blobs")).scalar() == 0
    house.engine.dispose()


def test_a_home_remembers_its_database_and_has_it_to_itself(tmp_path: Path, postgres: Postgres) -> None:
    url = postgres.fresh(empty=True)
    home = create_home(tmp_path / "h", now=NOW, database=url)
    assert home.database is None
    assert open_home(home.path).database_url == url
    assert not (home.path / "casemate.db").exists()
    engine = home.open_database()
    with engine.begin() as connection:
        connection.execute(insert(blobs).values(_blob("blob_1")))
    engine.dispose()
    with pytest.raises(StorageError) as taken:
        create_home(tmp_path / "other", now=NOW, database=url)
    assert taken.value.code == "database-taken"
    assert not (tmp_path / "other" / "home.json").exists()


@pytest.mark.only("sqlite")
def test_a_home_over_sqlite_is_not_opened_over_a_server(tmp_path: Path) -> None:
    home = create_home(tmp_path / "h", now=NOW)
    with pytest.raises(StorageError) as refused:
        open_home(home.path, database="postgresql://ana@localhost/casemate")
    assert refused.value.code == "database-elsewhere"


def test_an_empty_database_is_not_filled_behind_ones_back(tmp_path: Path, postgres: Postgres) -> None:
    home = create_home(tmp_path / "h", now=NOW)
    elsewhere = open_home(home.path, database=postgres.fresh(empty=True))
    with pytest.raises(StorageError) as refused:
        upgrade(elsewhere)
    assert refused.value.code == "database-empty"


def test_an_older_database_is_upgraded_only_when_told(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    house = House(tmp_path)
    newest = max(path.stem for path in (database.MIGRATIONS / "versions").glob("0*.py"))[:4]
    scripts = tmp_path / "scripts"
    shutil.copytree(database.MIGRATIONS, scripts)
    (scripts / "versions" / "9000_more.py").write_text(
        f"from alembic import op\nrevision, down_revision = '9000', '{newest}'\n"
        "def upgrade():\n    op.execute('CREATE TABLE more (id INTEGER)')\n"
    )
    monkeypatch.setattr(database, "MIGRATIONS", scripts)
    with pytest.raises(StorageError, match=r"pg_dump .* casemate database migrate") as refused:
        upgrade(house.home)
    assert refused.value.code == "migration-due"
    assert migrate_home(house.home) == newest
    upgrade(house.home)
    with reading(house.engine) as connection:
        assert connection.execute(text("SELECT count(*) FROM more")).scalar() == 0
    house.engine.dispose()


def _blob(blob_id: str) -> dict:
    about = {"project": "default", "asset": "model/m", "wrapped_key": b"w", "size": 1, "digest": "sha256:x"}
    return {"id": blob_id, "created_at": AT, **about}
