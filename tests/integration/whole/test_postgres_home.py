"""A home over PostgreSQL, each process with its own role: served, cut off, taken up again, and never by two keepers."""

from __future__ import annotations

import json
import os
import signal
import ssl
import subprocess
import sys
import time
import uuid
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path

import httpx
import pytest
from real_postgres import Postgres
from tiny_models import doubling_model

from casemate.core import ConflictError
from casemate.storage import open_home

PATIENCE = 180  # seconds after which something is broken; a bound, not an aim
PROCESSES = ("keeper", "control", "gateway")
SECRET = "hunter2-very-secret"


@dataclass(frozen=True)
class Place:
    folder: Path
    server: Postgres
    url: str
    prefix: str

    @property
    def database(self) -> str:
        return self.url.split("/")[3].split("?")[0]

    def command(self, *words: str) -> list[str]:
        return [sys.executable, "-m", "casemate", "--home", str(self.folder / "home"), *words]

    def environment(self, **more: str) -> dict[str, str]:
        kept = {key: value for key, value in os.environ.items() if not key.startswith("CASEMATE_")}
        return {**kept, "CASEMATE_KEYS": str(self.folder / "keys"), **more}

    def run(self, *words: str, code: int = 0) -> str:
        done = subprocess.run(
            self.command(*words), capture_output=True, text=True, env=self.environment(), timeout=300, check=False
        )
        assert done.returncode == code, f"{words}: exit {done.returncode}\n{done.stdout}\n{done.stderr}"
        return done.stdout + done.stderr

    @contextmanager
    def up(self) -> Iterator[str]:
        """Serve, each process with its role; yields the data plane's URL."""
        roles = {
            f"CASEMATE_DATABASE_{process.upper()}": self.server.url(self.database, f"{self.prefix}_{process}")
            for process in PROCESSES
        }
        command = self.command("up", "--data-port", "0", "--control-port", "0")
        with subprocess.Popen(command, stdout=subprocess.PIPE, text=True, env=self.environment(**roles)) as process:
            assert process.stdout is not None
            try:
                words = process.stdout.readline().split()
                assert words[:1] == ["ready"], "the server did not become ready"
                yield words[1].removeprefix("data=")
            finally:
                process.send_signal(signal.SIGTERM)
                assert process.wait(PATIENCE) == 0


@pytest.fixture(scope="module")
def place(tmp_path_factory: pytest.TempPathFactory, postgres: Postgres) -> Iterator[Place]:
    made = Place(tmp_path_factory.mktemp("postgres"), postgres, postgres.fresh(empty=True), f"h{uuid.uuid4().hex[:12]}")
    made.run("init", "--database", made.url)
    made.run("database", "roles", "--prefix", made.prefix, "--apply")
    yield made
    postgres.drop({made.database})
    for process in PROCESSES:
        postgres.sql(f"DROP ROLE {made.prefix}_{process}")


def until(found, wanted) -> None:
    give_up = time.monotonic() + PATIENCE
    while (got := found()) != wanted:
        assert time.monotonic() < give_up, f"still {got} and not {wanted}"
        time.sleep(0.05)


def test_the_home_has_no_rows_of_its_own_and_doctor_says_where_they_are(place: Place) -> None:
    assert not list((place.folder / "home").glob("casemate.db*"))
    (row,) = [row for row in json.loads(place.run("doctor", "--json")) if row["name"] == "database"]
    assert row["state"] == "present"
    assert "PostgreSQL" in row["detail"]


def test_a_password_on_the_command_line_is_refused_and_not_repeated(place: Place, tmp_path: Path) -> None:
    url = f"postgresql://ana:{SECRET}@localhost/casemate"
    said = place.run("--home", str(tmp_path / "other"), "init", "--database", url, code=2)
    assert "passfile" in said
    assert SECRET not in said
    assert not (tmp_path / "other").exists()


def test_the_sql_of_the_roles_is_printed_and_psql_takes_it(place: Place) -> None:
    sql = place.run("database", "roles", "--prefix", place.prefix)
    assert sql.startswith("BEGIN;\n")
    place.server.sql(sql, place.database)


def test_the_whole_way_with_a_role_for_each_process_through_a_restart_of_the_server(place: Place) -> None:
    (place.folder / "model.onnx").write_bytes(doubling_model(2.0))
    with place.up() as url:
        place.run("model", "push", "double", str(place.folder / "model.onnx"))
        place.run("model", "push", "gone", str(place.folder / "model.onnx"))
        place.run("model", "approve", "double@1")
        place.run("deploy", "double", "double@1")
        issued = json.loads(
            place.run("key", "issue", "c", "--role", "caller", "--deployment", "double", "--expires", "1h", "--json")
        )
        trusted = ssl.create_default_context(cafile=str(place.folder / "home" / "tls" / "ca.pem"))
        with httpx.Client(verify=trusted, timeout=120) as http:
            described = http.get(f"{url}/v2/models/double", headers={"Authorization": f"Bearer {issued['key']}"}).json()
            (wanted,) = described["inputs"]
            shape = [1, *wanted["shape"][1:]]
            rows = {"inputs": [{**wanted, "shape": shape, "data": [1.0] * shape[1]}]}

            def predict() -> int:
                headers = {"Authorization": f"Bearer {issued['key']}"}
                return http.post(f"{url}/v2/models/double/infer", json=rows, headers=headers).status_code

            assert predict() == 200
            users = {
                user
                for (user,) in place.server.sql(
                    f"SELECT DISTINCT usename FROM pg_stat_activity WHERE datname = '{place.database}'"
                )
            }
            assert users == {f"{place.prefix}_{process}" for process in PROCESSES}
            place.run("keys", "rotate", "--retire")
            place.server.stop()
            until(predict, 503)  # what cannot be written down, or checked, is refused
            assert "cannot be reached" in place.run("model", "list", code=2)
            place.server.start()
            until(predict, 200)
        place.run("model", "list")
        assert json.loads(place.run("audit", "verify", "--json"))["problems"] == []
        assert json.loads(place.run("model", "verify", "--all", "--json"))["problems"] == []
    assert json.loads(place.run("audit", "verify", "--json"))["ok"]


def test_a_second_keeper_writes_nothing_while_the_first_lives(place: Place, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("casemate.storage.postgresql._TAKEOVER", 0.2)
    with place.up():
        second = open_home(place.folder / "home").open_database(keeper=True)
        with pytest.raises(ConflictError, match="Another keeper"), second.begin():
            pass
        second.dispose()
