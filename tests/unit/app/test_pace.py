"""An entry from a clock that is ahead is not written; a home that has one all the same is not lost."""

from __future__ import annotations

from datetime import UTC, datetime, timedelta
from pathlib import Path

import pytest

from casemate.app.ground import LocalKeeper, open_ground
from casemate.app.local import init_home
from casemate.app.pace import Pace
from casemate.core import Event, StorageError, VerificationError, new_id, rfc3339
from casemate.iam import Access
from casemate.settings import Settings, load_settings
from casemate.storage import open_home

START = datetime(2026, 11, 25, 12, tzinfo=UTC)


class Stopped:
    def now(self) -> datetime:
        return START


def event(at: datetime) -> Event:
    return Event(id=new_id("evt"), at=rfc3339(at), kind="decision", outcome="allowed")


def test_time_runs_as_the_machine_ticks_and_no_faster() -> None:
    ticks = [100.0]
    pace = Pace(Stopped(), ticking=lambda: ticks[0])

    def check(*after: float) -> None:
        pace.check(rfc3339(START + timedelta(seconds=one)) for one in after)

    check(0.0, 200.0)
    with pytest.raises(StorageError) as refused:
        check(0.0, 501.0)
    assert refused.value.code == "clock-jumped"
    check(-86400.0)  # what comes late is no jump, and sets nothing back
    check(500.0)
    ticks[0] += 3600.0
    check(500.0 + 3600.0 + 299.0)
    check()


@pytest.fixture
def settings(tmp_path: Path) -> Settings:
    made = load_settings({}, home=tmp_path / "home", keys=tmp_path / "keys")
    init_home(made)
    return made


def test_an_entry_far_ahead_is_refused_and_the_home_still_opens(settings: Settings) -> None:
    home = open_home(settings.home)
    keeper = LocalKeeper(settings, home)
    with pytest.raises(StorageError) as refused:
        keeper.sink.append([event(keeper.clock.now() + timedelta(days=365))])
    assert refused.value.code == "clock-jumped"
    keeper.sink.append([event(keeper.clock.now())])
    keeper.close()
    LocalKeeper(settings, home).close()


def test_a_home_whose_record_ran_ahead_opens_once_its_owner_says_so(settings: Settings) -> None:
    home = open_home(settings.home)
    keeper = LocalKeeper(settings, home)
    ahead = keeper.clock.now() + timedelta(days=365)
    keeper._pen.append([("note", {})], "evt_x", rfc3339(ahead))  # as from a clock that was wrong from the start
    keeper.log.append([event(ahead)])
    keeper.close()
    with pytest.raises(VerificationError, match=f"CASEMATE_ACCEPT_CLOCK={rfc3339(ahead)}") as refused:
        LocalKeeper(settings, home)
    assert refused.value.code == "clock-behind"

    def accepting(at: datetime) -> Settings:
        return load_settings({"CASEMATE_ACCEPT_CLOCK": rfc3339(at)}, home=settings.home, keys=settings.keys)

    with pytest.raises(VerificationError):
        LocalKeeper(accepting(ahead + timedelta(seconds=1)), home)  # of that very entry, or of none
    LocalKeeper(accepting(ahead), home).close()
    again = LocalKeeper(settings, home)  # said once, it holds
    ground = open_ground(settings, again, read_only=False)
    (told,) = ground.log.page(kind="clock").items
    assert told["facts"]["newest"] == rfc3339(ahead)
    access = Access(ground.ledger)
    access.refresh()
    assert access.instant(ground.clock.now()) < ahead  # no key has expired through it
    ground.engine.dispose()


def test_the_way_out_is_not_in_the_home_itself(settings: Settings) -> None:
    (settings.home / "casemate.toml").write_text('accept_clock = "2027-01-01T00:00:00.000000Z"\n')
    with pytest.raises(Exception, match="accept_clock"):
        load_settings({}, home=settings.home)
