"""Work beside the server comes back until it is told to stop, whatever goes wrong."""

import threading

import pytest

from casemate.app.periodically import attempt, repeat
from casemate.core import UpstreamError


def test_it_is_done_again_until_told_to_stop_whatever_goes_wrong(caplog: pytest.LogCaptureFixture) -> None:
    stop, times = threading.Event(), []

    def task() -> list:
        times.append(len(times))
        if len(times) == 1:
            return [UpstreamError("github could not be read.", code="bad-source")]
        if len(times) == 2:
            raise RuntimeError("the database is away")
        stop.set()
        return []

    repeat(task, "the keys were not refreshed", stop, every=0.001)
    assert stop.wait(30)
    assert times == [0, 1, 2]
    assert [one.getMessage() for one in caplog.records] == [
        "the keys were not refreshed: github could not be read. (bad-source)",
        "the keys were not refreshed",
    ]


def test_nothing_is_done_once_it_is_over() -> None:
    stop = threading.Event()
    stop.set()
    repeat(lambda: pytest.fail("it was over"), "never", stop, every=0.001)
    repeat(lambda: pytest.fail("it was over"), "never", stop, every=0.001, at_once=True)
    attempt(list, "nothing")


def test_what_is_to_be_done_at_once_waits_for_no_period() -> None:
    stop, done = threading.Event(), threading.Event()

    def task() -> list:
        done.set()
        return []

    repeat(task, "at once", stop, every=3600, at_once=True)
    assert done.wait(30)
    stop.set()
