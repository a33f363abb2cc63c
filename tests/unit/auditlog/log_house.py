"""A log on a real home with a real keeper."""

from __future__ import annotations

from dataclasses import dataclass
from datetime import UTC, datetime
from pathlib import Path

from cryptography.hazmat.primitives.serialization import load_pem_public_key
from database_words import in_words_of
from sqlalchemy import Engine

from casemate.auditlog import Log, Report, verify_log
from casemate.core import Event, SystemClock, new_id, rfc3339
from casemate.keys import Keeper, Purpose, init_keys
from casemate.storage import Home, create_home

ORIGIN = "casemate.dev/test"


@dataclass
class LogHouse:
    home: Home
    keeper: Keeper
    engine: Engine
    log: Log

    def reopen(self) -> Log:
        self.log = open_log(self.engine, self.keeper)
        return self.log

    def verify(self, **kept: str) -> Report:
        newest = self.keeper.kept_checkpoint()
        kept = {"beside the keys": newest, **kept} if newest else kept
        return verify_log(self.log.reader, kept=kept)

    def change(self, statement: str, *values: object) -> None:
        """As whoever can write the database. Args: statement: in SQLite's words."""
        with self.engine.begin() as connection:
            connection.exec_driver_sql(in_words_of(self.engine, statement), values)


def open_log(engine: Engine, keeper: Keeper) -> Log:
    public = load_pem_public_key(keeper.public_pem(Purpose.CHECKPOINT))
    return Log(engine, keeper=keeper, origin=ORIGIN, public=public, clock=SystemClock())  # type: ignore[arg-type]


def log_house(folder: Path) -> LogHouse:
    home = create_home(folder / "home", now=datetime.now(UTC))
    init_keys(folder / "keys")
    keeper, engine = Keeper(folder / "keys"), home.open_database()
    return LogHouse(home, keeper, engine, open_log(engine, keeper))


def event(number: int = 0, **parts: object) -> Event:
    about = {"kind": "prediction", "action": "deployment:predict", "actor": "svc_x", "resource": "default/deployment:d"}
    always = {"id": new_id("evt"), "at": rfc3339(datetime.now(UTC)), "facts": {"number": number}}
    return Event(**{**always, **about, **parts})  # type: ignore[arg-type]
