from __future__ import annotations

import os

import pytest

from casemate.core import InputError
from casemate.runtime.run_output import LOG_TAIL, MAX_LOG, MAX_NAMES, MAX_POINTS, Log, Metrics, read_point
from casemate.runtime.training_limits import TRAINING_LIMITS, asked_limits, hit, limits_of, told_limits
from casemate.sandbox import Exit, ExitReason


@pytest.mark.parametrize(
    "line",
    [
        b"loss 0.5",
        b"[1, 2]",
        b'"loss"',
        b"{}",
        b'{"step": 1}',
        b'{"loss": "0.5"}',
        b'{"loss": true}',
        b'{"loss": NaN}',
        b'{"loss": Infinity}',
        b'{"loss": 1e999}',
        b'{"loss": [0.5]}',
        b'{"loss": 1, "loss": 2}',
        b'{"": 1}',
        b'{"a b": 1}',
        b'{"\xff": 1}',
        b'{"loss": 1, "step": -1}',
        b'{"loss": 1, "step": 1.5}',
        b'{"loss": ' + b"9" * 400 + b"}",
        b'{"loss": 1}' + b" " * 5000,
        b"[" * 4000,
    ],
)
def test_what_is_no_line_of_metrics_is_none(line: bytes) -> None:
    assert read_point(line) is None


def test_a_line_of_metrics_is_numbers_by_name() -> None:
    assert read_point(b'{"step": 3, "loss": 0.25, "val/accuracy": 1}\r') == {"step": 3, "loss": 0.25, "val/accuracy": 1}


def written(pipe: Log | Metrics, *pieces: bytes) -> None:
    """What a script does that has the other end."""
    other = os.dup(pipe.writer)
    pipe.begin()
    for piece in pieces:
        data = piece
        while data:
            data = data[os.write(other, data) :]
    os.close(other)
    pipe.finish()


def test_metrics_are_bounded_and_what_is_left_out_is_counted() -> None:
    told: list[dict[str, float | int]] = []
    metrics = Metrics(told.append)
    many = b"".join(b'{"m%d": %d}\n' % (number, number) for number in range(MAX_NAMES + 5))
    written(metrics, b'{"m0": 0.1234567891}\nwhat\n', many, b'{"m1": 3}\n' * MAX_POINTS, b'{"m2":', b" 4}")
    assert len(metrics.points) == MAX_POINTS == len(told)
    assert metrics.left_out == 1 + 5 + 1 + MAX_NAMES + 1
    assert metrics.last["m1"] == 3.0
    assert len(metrics.last) == MAX_NAMES


def test_the_last_value_of_a_metric_has_six_digits() -> None:
    metrics = Metrics(None)
    written(metrics, b'{"loss": 0.1234567891}\n')
    assert metrics.last == {"loss": 0.123457}
    assert metrics.points == [{"loss": 0.1234567891}]


def test_a_long_log_keeps_its_beginning_and_its_end() -> None:
    log = Log(None)
    written(log, b"first\n", b"x" * (2 * MAX_LOG), b"\nlast\n")
    whole = log.whole()
    assert whole.startswith("first\n")
    assert whole.endswith("\nlast\n")
    assert "bytes left out]" in whole
    assert len(whole) < MAX_LOG + 100
    assert len(log.tail()) == LOG_TAIL


def test_a_short_log_is_whole() -> None:
    log = Log(None)
    written(log, b"a\tb\x1b\n")
    assert log.whole() == log.tail() == "a    b?\n"


def test_limits_are_asked_for_in_words() -> None:
    assert asked_limits() == TRAINING_LIMITS
    asked = asked_limits(cpu="3h", memory="600M", time="2h")
    assert (asked.cpu_seconds, asked.memory, asked.wall_seconds) == (10800, 600 << 20, 7200)
    assert asked_limits(time="2h").cpu_seconds == 7200
    assert limits_of({"run": {"limits": told_limits(asked)}}) == asked
    assert limits_of({}) == TRAINING_LIMITS


@pytest.mark.parametrize("memory", ["", "1", "4T", "-1G", "1M", "9999999G", "4GB"])
def test_a_memory_that_cannot_be_is_refused(memory: str) -> None:
    if not memory:
        return
    with pytest.raises(InputError) as refused:
        asked_limits(memory=memory)
    assert refused.value.code == "bad-limit"


def test_what_was_hit_is_one_clause() -> None:
    limits = asked_limits(time="90s", cpu="30m", memory="1G")
    assert hit(Exit(None, 9, ExitReason.TIMEOUT), limits) == "it ran for its 90 seconds (--time)"
    assert hit(Exit(None, 9, ExitReason.CPU), limits) == "it used its 30 minutes of processor time (--cpu)"
    assert hit(Exit(71, None, ExitReason.MEMORY), limits) == "it used its 1024 MiB of memory (--memory)"
    assert hit(Exit(1, None, ExitReason.FAILED), limits) == ""
