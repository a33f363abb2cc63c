"""Wall time that never runs backwards."""

from __future__ import annotations

from datetime import UTC, datetime, timedelta

import pytest

from casemate.core import SystemClock, parse_rfc3339, rfc3339
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
