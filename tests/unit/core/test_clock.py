"""Wall time that never runs backwards."""

from __future__ import annotations

import threading
from datetime import UTC, datetime, timedelta

import pytest

from casemate.core import InputError, SystemClock, parse_duration, parse_rfc3339, rfc3339
from casemate.core import clock as clock_module


def test_time_never_runs_backwards(monkeypatch: pytest.MonkeyPatch) -> None:
    times = iter([1000.0, 900.0, 1001.0])
    monkeypatch.setattr(clock_module.time, "time", lambda: next(times))
    clock = SystemClock()
    assert [clock.now().timestamp() for _ in range(3)] == [1000.0, 1000.0, 1001.0]


def test_a_restart_does_not_go_behind_what_is_on_record() -> None:
    floor = datetime.now(UTC) + timedelta(days=1)
    assert SystemClock(floor).now() == floor


def test_times_are_of_fixed_width_and_come_back() -> None:
    for at in (datetime(2026, 1, 2, tzinfo=UTC), datetime(2026, 1, 2, 3, 4, 5, 6, tzinfo=UTC)):
        assert len(rfc3339(at)) == 27
        assert parse_rfc3339(rfc3339(at)) == at


@pytest.mark.parametrize("text", ["0s", "000d"])
def test_no_time_at_all_is_refused_for_what_it_is(text: str) -> None:
    with pytest.raises(InputError, match="must be more than 0"):
        parse_duration(text)


def test_a_thread_that_asked_earlier_sets_no_clock_back(monkeypatch: pytest.MonkeyPatch) -> None:
    asked, go_on, times = threading.Event(), threading.Event(), iter([1000.0, 2000.0])

    def slow() -> float:
        found = next(times)
        if found == 1000.0:  # read, and not stored yet
            asked.set()
            go_on.wait(0.2)
        return found

    monkeypatch.setattr(clock_module.time, "time", slow)
    clock = SystemClock()
    first = threading.Thread(target=clock.now)
    first.start()
    asked.wait()
    second = threading.Thread(target=clock.now)
    second.start()
    second.join(0.05)
    go_on.set()
    first.join()
    second.join()
    assert clock._latest == 2000.0
