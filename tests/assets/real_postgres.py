"""A real PostgreSQL server for tests, on a Unix socket alone, and a fresh database for each home that a test makes.

Its files lie in memory where there is room, so that `fsync`, which the product insists on, costs nothing.
"""

from __future__ import annotations

import os
import pwd
import shutil
import signal
import subprocess
import tempfile
import uuid
from pathlib import Path

import psycopg

from casemate.storage import migrate, open_database

TEMPLATE = "casemate_template"  # has this release's tables, since a migration takes half a second
PREFIX = "test_"
_MEMORY = Path("/dev/shm")
_PLACES = ("/usr/lib/postgresql", "/usr/pgsql", "/opt/homebrew/opt")
_CONFIG = {
    "listen_addresses": "''",
    "max_connections": "200",
    "shared_buffers": "64MB",
    "max_wal_size": "256MB",
    "autovacuum": "off",
}


def find_program(name: str = "initdb") -> Path | None:
    """Debian keeps the server's programs off the path."""
    if on_path := shutil.which(name):
        return Path(on_path)
    found = [path for place in _PLACES for path in Path(place).glob(f"*/bin/{name}")]
    return max(found, key=lambda path: path.parts[-3], default=None)


class Postgres:
    """One server, run by a user who is not root; the superuser is `postgres`, and every local user is let in."""

    def __init__(self, place: Path | None = _MEMORY) -> None:
        """Args: place: where its files lie; by default in memory, where that is there."""
        initdb = find_program()
        assert initdb is not None, "PostgreSQL is not installed: apt-get install postgresql"
        self._bin = initdb.resolve().parent
        self.folder = Path(tempfile.mkdtemp(prefix="cm-pg-", dir=place if place and place.is_dir() else None))
        self.folder.chmod(0o755)  # whoever the tests run as reaches the socket
        self._as = {}
        if os.geteuid() == 0:
            who = pwd.getpwnam("postgres")
            os.chown(self.folder, who.pw_uid, who.pw_gid)
            self._as = {"user": who.pw_uid, "group": who.pw_gid, "extra_groups": []}
        self.data = self.folder / "data"
        self._run("initdb", "-D", str(self.data), "-U", "postgres", "-A", "trust", "-E", "UTF8", "--locale=C", "-N")
        with (self.data / "postgresql.conf").open("a") as config:
            config.writelines(f"{name} = {value}\n" for name, value in _CONFIG.items())
            config.write(f"unix_socket_directories = '{self.folder}'\n")
        self.start()
        self.sql(f"CREATE DATABASE {TEMPLATE}")
        engine = open_database(self.url(TEMPLATE))
        migrate(engine)
        engine.dispose()

    def _run(self, name: str, *arguments: str) -> None:
        done = subprocess.run(
            [self._bin / name, *arguments], cwd=self.folder, capture_output=True, text=True, check=False, **self._as
        )
        assert not done.returncode, done.stdout + done.stderr

    def start(self) -> None:
        self._run("pg_ctl", "-D", str(self.data), "-l", str(self.folder / "log"), "-w", "start")

    def stop(self, how: str = "fast") -> None:
        self._run("pg_ctl", "-D", str(self.data), "-m", how, "-w", "stop")

    def restart(self, **config: str) -> None:
        """Args: config: settings for this run and the next ones."""
        with (self.data / "postgresql.conf").open("a") as file:
            file.writelines(f"{name} = {value}\n" for name, value in config.items())
        self.stop()
        self.start()

    def close(self) -> None:
        pid = (
            int((self.data / "postmaster.pid").read_text().split()[0]) if (self.data / "postmaster.pid").exists() else 0
        )
        if pid:
            os.kill(pid, signal.SIGQUIT)
        shutil.rmtree(self.folder, ignore_errors=True)

    def url(self, database: str, user: str = "postgres") -> str:
        return f"postgresql://{user}@/{database}?host={self.folder}"

    def fresh(self, *, empty: bool = False) -> str:
        """The URL of a new database with no rows. Args: empty: no tables either."""
        return fresh_database(str(self.folder), "template0" if empty else TEMPLATE)

    def databases(self) -> set[str]:
        return {name for (name,) in self.sql(f"SELECT datname FROM pg_database WHERE datname LIKE '{PREFIX}%'")}

    def drop(self, databases: set[str]) -> None:
        for name in databases:
            self.sql(f"DROP DATABASE {name} WITH (FORCE)")

    def sql(self, statement: str, database: str = "postgres") -> list[tuple]:
        with psycopg.connect(self.url(database), autocommit=True) as connection:
            found = connection.execute(statement)
            return found.fetchall() if found.description else []


def fresh_database(folder: str, template: str = TEMPLATE) -> str:
    """A new database of the server whose socket lies in `folder`."""
    name = f"{PREFIX}{uuid.uuid4().hex}"
    with psycopg.connect(f"postgresql://postgres@/postgres?host={folder}", autocommit=True) as connection:
        connection.execute(f"CREATE DATABASE {name} TEMPLATE {template}")
    return f"postgresql://postgres@/{name}?host={folder}"
