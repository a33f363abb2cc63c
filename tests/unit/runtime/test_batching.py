from __future__ import annotations

import asyncio
from collections import deque

import numpy as np
import pytest

from casemate.core import SandboxError
from casemate.runtime.batching import Request, join, kind_of, split, take_batch
from casemate.runtime.tensors import Array


def request(loop: asyncio.AbstractEventLoop, rows: int, *, width: int = 2, alone: bool = False) -> Request:
    inputs: dict[str, Array] = {"X": np.full((rows, width), rows, np.float32)}
    kind, count = (None, 0) if alone else kind_of(inputs)
    return Request(inputs=inputs, answer=loop.create_future(), kind=kind, rows=count)


@pytest.fixture
def loop() -> asyncio.AbstractEventLoop:
    loop = asyncio.new_event_loop()
    yield loop
    loop.close()


def test_only_neighbours_of_one_kind_go_together(loop: asyncio.AbstractEventLoop) -> None:
    a, b, other, c = request(loop, 1), request(loop, 2), request(loop, 1, width=3), request(loop, 1)
    queue = deque([a, b, other, c])
    assert take_batch(queue, max_rows=10) == [a, b]
    assert take_batch(queue, max_rows=10) == [other]
    assert take_batch(queue, max_rows=10) == [c]
    assert take_batch(queue, max_rows=10) == []


def test_a_batch_is_bounded_and_one_large_request_still_goes(loop: asyncio.AbstractEventLoop) -> None:
    large, small, more = request(loop, 50), request(loop, 6), request(loop, 6)
    queue = deque([large, small, more])
    assert [take_batch(queue, max_rows=10) for _ in range(3)] == [[large], [small], [more]]


def test_who_must_stay_alone_stays_alone(loop: asyncio.AbstractEventLoop) -> None:
    first, alone, last = request(loop, 1), request(loop, 1, alone=True), request(loop, 1)
    queue = deque([first, alone, last])
    assert [take_batch(queue, max_rows=10) for _ in range(3)] == [[first], [alone], [last]]


def test_who_left_is_dropped(loop: asyncio.AbstractEventLoop) -> None:
    gone, here = request(loop, 1), request(loop, 1)
    gone.answer.cancel()
    assert take_batch(deque([gone, here]), max_rows=10) == [here]


def test_each_gets_its_own_rows_back(loop: asyncio.AbstractEventLoop) -> None:
    batch = [request(loop, rows) for rows in (1, 3, 2)]
    joined = join(batch)
    assert joined["X"].shape == (6, 2)
    answers = split(batch, {"y": joined["X"][:, 0]})
    assert [answer["y"].tolist() for answer in answers] == [[1.0], [3.0] * 3, [2.0] * 2]


def test_another_number_of_rows_is_a_broken_answer(loop: asyncio.AbstractEventLoop) -> None:
    batch = [request(loop, 1), request(loop, 1)]
    for output in (np.zeros(3), np.zeros(1), np.array(0.0)):
        with pytest.raises(SandboxError) as refused:
            split(batch, {"y": output})
        assert refused.value.code == "sandbox-protocol"


def test_inputs_that_disagree_on_rows_have_no_kind() -> None:
    assert kind_of({"a": np.zeros((2, 1)), "b": np.zeros((3, 1))}) == (None, 0)
    assert kind_of({"a": np.array(1.0)}) == (None, 0)
    assert kind_of({"a": np.zeros((0, 1))}) == (None, 0)
    assert kind_of({}) == (None, 0)


def test_the_order_of_inputs_does_not_matter() -> None:
    a, b = np.zeros((2, 1)), np.zeros((2, 4), np.int64)
    assert kind_of({"a": a, "b": b}) == kind_of({"b": b, "a": a})
    assert kind_of({"a": a}) != kind_of({"a": a.astype(np.float32)})
