"""What was settled at an earlier start is not read again; what came since is."""

from __future__ import annotations

from pathlib import Path

from sqlalchemy import text

from casemate.app.keeper import open_keeper
from casemate.app.local import init_home
from casemate.core import Event, new_id
from casemate.settings import load_settings
from casemate.storage import open_home


def event(**parts: str) -> Event:
    values = {"id": new_id("evt"), "at": "2026-01-02T03:04:05.000000Z", "kind": "decision", "project": "default"}
    return Event(**values | {"action": "status:read", "actor": "usr_1", "resource": "r", "outcome": "done"} | parts)


def test_a_start_reads_what_came_since_the_last(tmp_path: Path) -> None:
    settings = load_settings({}, home=tmp_path / "home", keys=tmp_path / "keys")
    init_home(settings)
    home = open_home(settings.home)
    keeper = open_keeper(settings, home)
    assert keeper.keeper.settled() == 0, "a short log is read whole"
    lost = new_id("int")
    keeper.sink.append([event() for _ in range(1000)] + [event(id=lost, kind="intent")])
    keeper.close()
    keeper = open_keeper(settings, home)
    settled = keeper.keeper.settled()
    engine = home.open_database()
    with engine.begin() as connection:
        ends = connection.execute(text("SELECT count(*) FROM entries WHERE kind = 'outcome'")).scalar()
        connection.execute(text("UPDATE entries SET body = '' WHERE seq = 5"))  # for audit verify to find
        assert (ends, settled) == (1, connection.execute(text("SELECT count(*) FROM entries")).scalar())
    keeper.sink.append([event(id=new_id("int"), kind="intent")])
    keeper.close()
    keeper = open_keeper(settings, home)
    with engine.begin() as connection:
        assert connection.execute(text("SELECT count(*) FROM entries WHERE kind = 'outcome'")).scalar() == 2
    assert keeper.keeper.settled() == settled
