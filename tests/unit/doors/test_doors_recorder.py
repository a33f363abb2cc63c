"""No event is dropped: queued, committed in order, kept while the sink fails, refused when there is no room."""

from __future__ import annotations

import asyncio
import threading

import pytest

from casemate.core import ConflictError, Event, LimitError, StorageError, SystemClock
from casemate.doors import Recorder, RecorderConfig
from casemate.doors.refusals import Refusal, RefusalCounter

CLOCK = SystemClock()


def event(number: int) -> Event:
    return Event(id=f"evt_{number}", at="", kind="prediction")


class Sink:
    def __init__(self):
        self.batches: list[list[Event]] = []
        self.error: Exception | None = None
        self.called = threading.Event()
        self.go = threading.Event()
        self.go.set()

    def append(self, events):
        self.called.set()
        assert self.go.wait(30)
        if self.error:
            raise self.error
        self.batches.append(events)

    @property
    def ids(self):
        return [event.id for batch in self.batches for event in batch]


def test_closing_hands_in_everything_in_order():
    sink = Sink()
    with Recorder(sink, RecorderConfig(batch=7), clock=CLOCK) as recorder:
        for number in range(50):
            recorder.put(event(number))
    assert sink.ids == [f"evt_{number}" for number in range(50)]
    assert max(map(len, sink.batches)) <= 7


def test_what_comes_in_during_a_write_waits_for_company():
    class Busy(Sink):
        def append(self, events):
            super().append(events)
            if len(self.batches) == 1:
                recorder.put(event(2))
                written.set()

    sink, written = Busy(), threading.Event()
    with Recorder(sink, RecorderConfig(batch=2, wait=60), clock=CLOCK) as recorder:
        recorder.put(event(0))
        recorder.put(event(1))
        assert written.wait(30)
        recorder.put(event(3))
    assert [len(batch) for batch in sink.batches] == [2, 2]


def test_a_full_queue_refuses_and_drops_nothing():
    sink = Sink()
    sink.go.clear()
    recorder = Recorder(sink, RecorderConfig(queue=5, wait=0.001), clock=CLOCK)

    def flood():
        for number in range(100):
            recorder.put(event(number))

    with pytest.raises(LimitError) as caught:
        flood()
    assert caught.value.code == "record-full"
    sink.go.set()
    recorder.close()
    assert sink.ids == [f"evt_{number}" for number in range(5)]


def test_a_failing_sink_refuses_then_gets_every_event():
    sink = Sink()
    sink.error = StorageError("disk full")
    recorder = Recorder(sink, RecorderConfig(wait=0.001, retry=0.001), clock=CLOCK)
    recorder.put(event(1))

    def until_refused():
        while True:
            recorder.require_room()

    with pytest.raises(LimitError, match="cannot be written") as caught:
        until_refused()
    assert caught.value.code == "record-failed"
    sink.error = None
    recorder.close()
    assert sink.ids == ["evt_1"]


def test_what_could_not_be_written_is_said_at_the_end():
    sink = Sink()
    sink.error = OSError("gone")
    recorder = Recorder(sink, RecorderConfig(wait=0.001, retry=0.001, close=0.01), clock=CLOCK)
    recorder.put(event(1))
    with pytest.raises(StorageError, match="1 events could not be written"):
        recorder.close()


def test_commit_returns_after_the_sink_has_it():
    sink = Sink()
    sink.go.clear()

    async def scenario():
        with Recorder(sink, RecorderConfig(wait=60), clock=CLOCK) as recorder:
            waiting = asyncio.create_task(recorder.commit(event(1)))
            await asyncio.to_thread(sink.called.wait, 30)
            assert not waiting.done()
            sink.go.set()
            await waiting
            assert sink.ids == ["evt_1"]

    asyncio.run(scenario())


def test_commit_fails_with_the_sink():
    sink = Sink()
    sink.error = StorageError("disk full")

    async def scenario():
        recorder = Recorder(sink, RecorderConfig(wait=60, retry=0.001), clock=CLOCK)
        with pytest.raises(StorageError) as caught:
            await recorder.commit(event(1))
        assert caught.value.code == "record-failed"
        sink.error = None
        recorder.close()

    asyncio.run(scenario())
    assert sink.ids == ["evt_1"]


class Time:
    now = 0.0

    def __call__(self):
        return self.now


def test_equal_refusals_become_two_events():
    time = Time()
    counter = RefusalCounter(RecorderConfig(window=10), CLOCK, time)
    refusal = Refusal("unknown-key", 401, address="192.0.2.1")
    first_id, first = counter.count(refusal)
    assert first is not None
    assert (first.id, first.reason, first.facts["count"], first.outcome) == (first_id, "unknown-key", 1, "refused")
    later = {counter.count(refusal)[0] for _ in range(500)}
    assert len(later) == 1
    assert counter.due() == []
    time.now = 10
    (summary,) = counter.due()
    assert {summary.id} == later
    assert summary.facts["count"] == 500
    assert counter.seconds_left() is None


def test_a_flood_of_kinds_is_bounded():
    counter = RefusalCounter(RecorderConfig(kinds=8), CLOCK, Time())
    events = [counter.count(Refusal("unknown-key", 401, address=f"192.0.2.{n}"))[1] for n in range(250)]
    assert sum(event is not None for event in events) == 9
    (summary,) = counter.due(everything=True)
    assert summary.facts["count"] == 241
    assert summary.facts["address"] == ""


def test_refusals_are_recorded_even_when_the_queue_is_full():
    sink = Sink()
    sink.go.clear()
    recorder = Recorder(sink, RecorderConfig(queue=1, wait=0.001), clock=CLOCK)
    recorder.put(event(1))
    key = recorder.count_refusal(Refusal("record-full", 503))
    sink.go.set()
    recorder.close()
    assert sink.ids == ["evt_1", key]


def test_an_attempt_that_only_seemed_to_fail_is_not_repeated_for_ever():
    """The sink commits, but its answer gets lost: the retry finds the ids taken."""

    class Forgetful(Sink):
        def append(self, events):
            taken = set(self.ids)
            if taken & {event.id for event in events}:
                raise ConflictError("taken", code="event-repeated")
            super().append(events)
            if not taken:
                raise StorageError("the answer was lost")

    sink = Forgetful()
    recorder = Recorder(sink, RecorderConfig(wait=0.001, retry=0.001), clock=CLOCK)
    recorder.put(event(1))
    sink.called.wait(30)
    while True:
        try:
            recorder.put(event(2))
        except LimitError:
            continue
        break
    recorder.close()
    assert sink.ids == ["evt_1", "evt_2"]


def test_what_a_caller_calls_itself_tells_no_refusals_apart():
    counter = RefusalCounter(RecorderConfig(kinds=8), CLOCK, lambda: 0.0)
    refusal = Refusal("bad-credential", 401, guard="authenticate", address="198.51.100.7")
    events = [counter.count(refusal, f"liar/{number}")[1] for number in range(100)]
    assert [one is not None for one in events] == [True] + [False] * 99
    (rest,) = counter.due(everything=True)
    assert (events[0].facts["client"], rest.facts["client"], rest.facts["count"]) == ("liar/0", "liar/99", 99)
    assert rest.facts["network"] == "198.51.100.0/24"


def test_a_close_between_two_looks_loses_no_refusal(monkeypatch):
    """The count of a running window was lost when the server stopped just after the recorder had looked at it."""
    sink = Sink()
    recorder = Recorder(sink, RecorderConfig(wait=0.001), clock=CLOCK)
    looks, closing = recorder._refusals.due, threading.Thread(target=recorder.close)

    def close_meanwhile(*, everything: bool = False) -> list[Event]:
        found = looks(everything=everything)
        if not everything and closing.ident is None:
            closing.start()
            while not recorder._closing:
                threading.Event().wait(0.001)
        return found

    for _ in range(3):
        recorder._refusals.count(Refusal("expired-credential", 401))
    monkeypatch.setattr(recorder._refusals, "due", close_meanwhile)
    recorder.put(event(1))
    while closing.ident is None:
        threading.Event().wait(0.001)
    closing.join(30)
    counted = [one.facts["count"] for batch in sink.batches for one in batch if one.facts]
    assert counted == [2]  # beside the first, which whoever counts hands in
