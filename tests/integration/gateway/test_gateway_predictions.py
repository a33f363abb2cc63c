"""Every guard, through real TLS: its status, problem document, receipt and event."""

from __future__ import annotations

import asyncio
import json

import numpy as np
import pytest
from gateway_door import KEY, answer, close, head, open_door, request, served, world

from casemate.core import Environment, LimitError, Profile, Resource, SandboxError, StorageError
from casemate.gateway import LimitsConfig, Rate, RecorderConfig
from casemate.guardrails import encode_request

BODY = encode_request({"x": np.array([[1, 2, 3]], np.float32)}, request_id="mine")
OUTSIDE = encode_request({"x": np.array([[1, 2, 11]], np.float32)})


def parsed(raw: bytes) -> tuple[int, dict[str, str], dict]:
    """Status, headers and document of one response."""
    top, _, body = raw.partition(b"\r\n\r\n")
    first, *lines = top.decode().split("\r\n")
    headers = dict(line.split(": ", 1) for line in lines)
    return int(first.split()[1]), headers, json.loads(body) if body else {}


def ask(folder, raw: bytes, given=None, **options):
    """One request to a new door. Returns: (status, headers, document), and the events of its record."""

    async def scenario():
        async with open_door(folder, given, **options) as door:
            reply = parsed(await door.raw(raw))
        return reply, door.world.sink.events

    return asyncio.run(scenario())


@pytest.mark.parametrize("path", ["/v2/models/diagnosis/infer", "/v2/models/diagnosis/versions/4/infer"])
def test_an_answer_has_a_receipt_and_an_event(tmp_path, path):
    (status, headers, document), events = ask(tmp_path, request(BODY, path=path))
    assert status == 200
    assert document == {
        "model_name": "diagnosis",
        "model_version": "4",
        "id": "mine",
        "outputs": [
            {"name": "label", "datatype": "INT64", "shape": [1], "data": [0]},
            {"name": "probability", "datatype": "FP32", "shape": [1, 2], "data": [0.8, 0.2]},
        ],
    }
    (event,) = events
    assert headers["casemate-receipt"] == event.id
    assert (event.kind, event.outcome, event.actor) == ("prediction", "done", "prn_")
    assert event.facts["guards"] == "passed"
    assert headers["ratelimit-policy"] == '"key";q=400;w=2'


def test_no_raw_input_or_answer_is_recorded(tmp_path):
    body = encode_request({"x": np.array([[1.2345, 2.3456, 3.4567]] * 3, np.float32)})
    _, (event,) = ask(tmp_path, request(body))
    text = repr(event.facts)
    assert not any(number in text for number in ("1.23", "2.34", "3.45", "0.23"))
    assert event.facts["inputs"]["x"]["shape"] == [3, 3]
    assert event.facts["inputs"]["x"]["digest"].startswith("sha256:")


def test_only_wanted_outputs_come_back(tmp_path):
    raw = json.loads(BODY) | {"outputs": [{"name": "label"}]}
    (_, _, document), _ = ask(tmp_path, request(json.dumps(raw).encode()))
    assert [output["name"] for output in document["outputs"]] == ["label"]


REFUSALS = {
    "no key": (request(BODY, key=None), 401, "no-credential", "authenticate"),
    "unknown key": (request(BODY, key="cm_bad"), 401, "unknown-key", "authenticate"),
    "expired key": (request(BODY, key="cm_expired"), 401, "expired-key", "authenticate"),
    "basic": (request(BODY, key=None, Authorization="Basic abc"), 401, "no-credential", "authenticate"),
    "no grant": (request(BODY, key=KEY + "-stranger"), 403, "forbidden", "authorise"),
    "other deployment": (request(BODY, path="/v2/models/forbidden/infer"), 403, "forbidden", "authorise"),
    "no deployment": (request(BODY, path="/v2/models/nothing/infer"), 404, "deployment-not-found", "authorise"),
    "old version": (
        request(BODY, path="/v2/models/diagnosis/versions/3/infer"), 404, "version-not-served", "authorise",
    ),
    "not JSON": (request(b"{"), 400, "malformed-json", "decode"),
    "NaN": (request(BODY.replace(b"2.0", b"NaN")), 400, "malformed-json", "decode"),
    "wrong shape": (request(BODY.replace(b"[1,3]", b"[3,1]")), 400, "wrong-shape", "validate"),
    "wrong type": (request(BODY.replace(b"FP32", b"FP64")), 400, "wrong-datatype", "validate"),
    "outside, strict": (request(OUTSIDE, path="/v2/models/careful/infer"), 400, "outside-training-range", "screen"),
    "too large": (head(Content_Length="4194305", Connection="close"), 413, "body-too-large", "decode"),
    "no honest length": (head(Content_Length="9" * 18, Connection="close"), 413, "body-too-large", "decode"),
}  # fmt: skip


@pytest.mark.parametrize(("raw", "status", "code", "guard"), REFUSALS.values(), ids=REFUSALS.keys())
def test_refusals(tmp_path, raw, status, code, guard):
    (got, headers, document), (event,) = ask(tmp_path, raw)
    assert (got, document["status"], document["code"]) == (status, status, code)
    assert headers["content-type"] == "application/problem+json"
    assert document["error"] == document["detail"]
    assert headers["casemate-receipt"] == event.id
    assert (event.outcome, event.reason, event.facts["guard"]) == ("refused", code, guard)
    assert ("www-authenticate" in headers) is (status == 401)


def test_values_outside_the_range_are_answered_and_flagged_in_standard(tmp_path):
    (status, _, document), (event,) = ask(tmp_path, request(OUTSIDE))
    assert status == 200
    assert "area" not in json.dumps(document)
    assert event.facts["outside"] == ["area"]
    assert event.facts["guards"]["screen"] == "flagged: outside the training range: area"


def test_strict_answers_after_its_event_is_committed(tmp_path):
    async def scenario():
        async with open_door(tmp_path) as door:
            door.world.sink.gate.clear()
            waiting = asyncio.create_task(door.raw(request(BODY, path="/v2/models/careful/infer")))
            while not door.world.sink.calls:  # noqa: ASYNC110 a thread counts
                await asyncio.sleep(0.001)
            assert not waiting.done()
            door.world.sink.gate.set()
            return parsed(await waiting)

    assert asyncio.run(scenario())[0] == 200


@pytest.mark.parametrize("path", ["/v2/models/diagnosis/infer", "/v2/models/careful/infer"])
def test_nothing_is_served_that_cannot_be_recorded(tmp_path, path):
    calls = []

    async def counted(inputs, batchable):
        calls.append(1)
        return await answer(inputs, batchable)

    async def scenario():
        given = world()
        given.models = {name: served(name, model.profile, infer=counted) for name, model in given.models.items()}
        given.sink.error = StorageError("disk full")
        async with open_door(tmp_path, given, record=RecorderConfig(wait=0.001, retry=0.001)) as door:
            first = parsed(await door.raw(request(BODY, path=path)))
            while given.sink.calls < 2:  # noqa: ASYNC110 a thread counts
                await asyncio.sleep(0.001)
            done = len(calls)
            return first, parsed(await door.raw(request(BODY, path=path))), len(calls) - done

    first, second, more_calls = asyncio.run(scenario())
    assert first[0] == (503 if "careful" in path else 200)
    assert (second[0], second[2]["code"]) == (503, "record-failed")
    assert "retry-after" in second[1]
    assert more_calls == 0


def test_429_tells_when_to_come_back(tmp_path):
    given = world()
    given.rate = Rate(0.5, 1)

    async def scenario():
        async with open_door(tmp_path, given) as door:
            return [parsed(await door.raw(request(BODY))) for _ in range(3)]

    first, second, third = asyncio.run(scenario())
    assert first[0] == 200
    for status, headers, document in (second, third):
        assert (status, document["code"], headers["retry-after"]) == (429, "rate-limited", "2")
    refused = [event for event in given.sink.events if event.outcome == "refused"]
    assert sum(event.facts["count"] for event in refused) == 2
    assert {event.id for event in refused} == {second[1]["casemate-receipt"], third[1]["casemate-receipt"]}


def test_guessing_keys_turns_into_429(tmp_path):
    async def scenario():
        async with open_door(tmp_path, limits=LimitsConfig(refusal_rate=Rate(0.01, 3))) as door:
            guesses = [parsed(await door.raw(request(BODY, key=f"cm_{n}"))) for n in range(5)]
            return guesses, parsed(await door.raw(request(BODY)))

    guesses, honest = asyncio.run(scenario())
    assert [guess[0] for guess in guesses] == [401, 401, 401, 429, 429]
    assert honest[0] == 200


def test_asking_for_what_one_may_not_turns_into_429(tmp_path):
    async def scenario(given, limits=None):
        async with open_door(tmp_path, given, limits=limits) as door:
            paths = ["/v2/models/forbidden/infer", "/v2/models/unknown/infer", "/v2/models/forbidden/infer"]
            return [
                parsed(await door.raw(request(BODY, path=path)))[0] for path in (*paths, "/v2/models/diagnosis/infer")
            ]

    limited = world()
    limited.rate = Rate(0.01, 2)  # of the key itself, which then may ask for nothing else either
    assert asyncio.run(scenario(limited)) == [403, 404, 429, 429]
    denied = LimitsConfig(unserved_rate=Rate(0.01, 2))
    assert asyncio.run(scenario(world(), denied)) == [403, 404, 429, 200]
    crowded = LimitsConfig(address_rate=Rate(0.01, 2))
    assert asyncio.run(scenario(world(), crowded)) == [403, 404, 429, 429]


def test_what_is_on_record_and_not_loaded_is_503_to_who_may_ask(tmp_path):
    given = world()
    given.waiting = {name: Resource("deployment", name, environment=Environment.DEV) for name in ("late", "forbidden")}

    async def scenario():
        async with open_door(tmp_path, given) as door:
            return [parsed(await door.raw(request(BODY, path=f"/v2/models/{name}/infer"))) for name in given.waiting]

    late, forbidden = asyncio.run(scenario())
    assert (late[0], late[1]["retry-after"], late[2]["code"]) == (503, "5", "deployment-not-loaded")
    assert "casemate deployment list" in late[2]["detail"]
    assert forbidden[0] == 403


def test_a_key_that_asks_for_nothing_much_is_limited_too(tmp_path):
    given = world()
    given.rate = Rate(0.01, 1)

    async def scenario():
        async with open_door(tmp_path, given) as door:
            return [parsed(await door.raw(head("GET", "/v2", Connection="close")))[0] for _ in range(2)]

    assert asyncio.run(scenario()) == [200, 429]


@pytest.mark.parametrize("broken", ["authenticate", "authorize", "authorize answers nothing", "deployments"])
def test_a_guard_that_errors_refuses_without_detail(tmp_path, broken):
    given = world()
    given.broken = broken
    (status, _, document), (event,) = ask(tmp_path, request(BODY), given)
    assert (status, document["code"]) == (500, "internal")
    assert "secret" not in json.dumps(document)
    assert event.outcome == "failed"


FAILURES = {
    "restarting": (LimitError("Restarting.", retry_after=3, code="worker-restarting"), 503, "worker-restarting"),
    "crashed": (SandboxError("secret detail", code="sandbox-crashed"), 503, "sandbox-crashed"),
    "failed on this input": (SandboxError("The model failed.", code="model-failed"), 400, "model-failed"),
    "broken": (RuntimeError("secret detail"), 500, "internal"),
}


@pytest.mark.parametrize(("error", "status", "code"), FAILURES.values(), ids=FAILURES.keys())
def test_a_worker_that_fails(tmp_path, error, status, code):
    async def failing(inputs, batchable):
        raise error

    given = world()
    given.models["diagnosis"] = served(infer=failing)
    (got, headers, document), (event,) = ask(tmp_path, request(BODY), given)
    assert (got, document["code"], event.facts["guard"]) == (status, code, "infer")
    assert "secret" not in json.dumps(document)
    assert ("retry-after" in headers) is (status == 503)


async def widened(inputs, batchable):
    return {**await answer(inputs, batchable), "hidden": np.zeros(1)}


def test_an_answer_off_the_signature_does_not_leave(tmp_path):
    given = world()
    given.models["diagnosis"] = served(infer=widened)
    (status, _, document), (event,) = ask(tmp_path, request(BODY), given)
    assert (status, document["code"], event.facts["guard"]) == (500, "wrong-output", "harden")


def test_paused_and_open_outside_dev_are_refused(tmp_path):
    given = world()
    given.models["paused"] = served("paused", paused=True)
    given.models["wide"] = served("wide", Profile.OPEN, environment=Environment.PRODUCTION)
    (status, headers, document), _ = ask(tmp_path / "a", request(BODY, path="/v2/models/paused/infer"), given)
    assert (status, document["code"], headers["retry-after"]) == (503, "deployment-paused", "30")
    (status, _, document), _ = ask(tmp_path / "b", request(BODY, path="/v2/models/wide/infer"), given)
    assert (status, document["code"]) == (503, "profile-not-allowed")


def test_a_new_version_is_served_with_its_own_guards(tmp_path):
    async def scenario():
        given = world()
        async with open_door(tmp_path, given) as door:
            before = parsed(await door.raw(request(OUTSIDE)))
            given.models["diagnosis"] = served(version=5, profile=Profile.STRICT)
            return before, parsed(await door.raw(request(OUTSIDE)))

    before, after = asyncio.run(scenario())
    assert (before[0], after[0]) == (200, 400)


def test_large_bodies_are_decoded_too(tmp_path):
    rows = np.ones((4000, 3), np.float32)
    (status, _, document), _ = ask(tmp_path, request(encode_request({"x": rows})))
    assert status == 200
    assert document["outputs"][0]["shape"] == [4000]


def test_too_many_at_once_is_503(tmp_path):
    async def scenario():
        hold, entered = asyncio.Event(), asyncio.Event()

        async def slow(inputs, batchable):
            entered.set()
            await hold.wait()
            return await answer(inputs, batchable)

        given = world()
        given.models["diagnosis"] = served(infer=slow)
        async with open_door(tmp_path, given, limits=LimitsConfig(max_in_flight=1)) as door:
            first = asyncio.create_task(door.raw(request(BODY)))
            await entered.wait()
            second = parsed(await door.raw(request(BODY)))
            hold.set()
            return parsed(await first), second

    first, second = asyncio.run(scenario())
    assert first[0] == 200
    assert (second[0], second[2]["code"]) == (503, "too-busy")


def test_slow_senders_take_no_place_and_their_bytes_are_bounded(tmp_path):
    async def scenario():
        limits = LimitsConfig(max_in_flight=1, max_body_bytes=2000)
        async with open_door(tmp_path, limits=limits) as door:
            held = [await door.connect() for _ in range(2)]
            for _, writer in held:
                writer.write(head(Content_Length="1500") + b" " * 900)
                await writer.drain()
            while (refused := parsed(await door.raw(request(BODY + b" " * 300))))[0] == 200:  # noqa: ASYNC110 the kernel's
                await asyncio.sleep(0.001)
            small = parsed(await door.raw(request(BODY)))
            for _, writer in held:
                await close(writer)
            while (again := parsed(await door.raw(request(BODY + b" " * 300))))[0] == 503:  # noqa: ASYNC110 the server's
                await asyncio.sleep(0.001)
            return refused, small, again

    refused, small, again = asyncio.run(scenario())
    assert (refused[0], refused[2]["code"]) == (503, "too-busy")
    assert (small[0], again[0]) == (200, 200)
