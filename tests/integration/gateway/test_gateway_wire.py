"""The wire: framing that has one reading, bounds, slow clients, TLS 1.3 only, draining."""

from __future__ import annotations

import asyncio
import ssl

import numpy as np
import pytest
from gateway_door import KEY, answer, close, head, make_certificate, open_door, request, served, world
from test_gateway_predictions import parsed

from casemate.core import StorageError
from casemate.doors import TlsFiles, WireLimits, reload_certificates
from casemate.gateway import RecorderConfig
from casemate.guardrails import encode_request

BODY = encode_request({"x": np.array([[1, 2, 3]], np.float32)})
LENGTH = str(len(BODY))
CHUNKED = b"%x\r\n%s\r\n0\r\n\r\n" % (len(BODY), BODY)
LIVE = b"GET /v2/health/live HTTP/1.1\r\nHost: localhost\r\n"


def exchange(folder, raw: bytes, **options) -> bytes:
    async def scenario():
        async with open_door(folder, **options) as door:
            return await door.raw(raw)

    return asyncio.run(scenario())


FRAMING = {
    "both lengths": (head(Content_Length=LENGTH, Transfer_Encoding="chunked") + CHUNKED, 400),
    "both, other way": (head(Transfer_Encoding="chunked", Content_Length=LENGTH) + CHUNKED, 400),
    "two lengths": (head(Content_Length=LENGTH).replace(b"\r\n\r\n", b"\r\nContent-Length: 5\r\n\r\n") + BODY, 400),
    "length list": (head(Content_Length=f"{LENGTH}, {LENGTH}") + BODY, 400),
    "length with plus": (head(Content_Length="+" + LENGTH) + BODY, 400),
    "negative length": (head(Content_Length="-1") + BODY, 400),
    "hex length": (head(Content_Length="0x10") + BODY, 400),
    "huge length": (head(Content_Length="9" * 40) + BODY, 400),
    "gzip, chunked": (head(Transfer_Encoding="gzip, chunked") + CHUNKED, 400),
    "xchunked": (head(Transfer_Encoding="xchunked") + CHUNKED, 400),
    "chunked twice": (head(Transfer_Encoding="chunked, chunked") + CHUNKED, 400),
    "identity": (head(Transfer_Encoding="identity") + BODY, 400),
    "bad chunk size": (head(Transfer_Encoding="chunked") + b"zz\r\n", 400),
    "negative chunk": (head(Transfer_Encoding="chunked") + b"-5\r\nhello\r\n", 400),
    "space before colon": (head().replace(b"Host:", b"Host :"), 400),
    "folded header": (head().replace(b"Host: localhost", b"Host: localhost\r\n folded"), 400),
    "bare line feeds": (LIVE.replace(b"\r\n", b"\n") + b"\n", 400),
    "NUL in a header": (head().replace(b"localhost", b"local\0host"), 400),
    "no host": (b"GET /v2/health/live HTTP/1.1\r\n\r\n", 400),
    "two hosts": (LIVE + b"Host: other\r\n\r\n", 400),
    "two keys": (head("GET", "/v2", Connection="close").replace(b"\r\n\r\n", b"\r\nAuthorization: x\r\n\r\n"), 400),
    "gzip body": (request(BODY, Content_Encoding="gzip"), 400),
    "binary tensors": (request(BODY, Inference_Header_Content_Length="10"), 400),
    "websocket": (LIVE + b"Connection: upgrade\r\nUpgrade: websocket\r\n\r\n", 400),
    "h2c": (LIVE + b"Connection: upgrade, http2-settings\r\nUpgrade: h2c\r\n\r\n", 400),
    "HTTP/2 preface": (b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n", 400),
    "HTTP/3.0": (b"GET /v2/health/live HTTP/3.0\r\nHost: a\r\n\r\n", 400),
    "asterisk": (b"OPTIONS * HTTP/1.1\r\nHost: a\r\nConnection: close\r\n\r\n", 404),
    "connect": (b"CONNECT localhost:443 HTTP/1.1\r\nHost: a\r\n\r\n", 400),
    "bytes in target": (b"GET /v2/\xff HTTP/1.1\r\nHost: a\r\n\r\n", 400),
    "no method": (b" / HTTP/1.1\r\n\r\n", 400),
    "noise": (b"\x00\x01\x02\x03\r\n\r\n", 400),
    "many fields": (LIVE + b"".join(b"X-%d: 1\r\n" % n for n in range(70)) + b"\r\n", 431),
    "long field": (LIVE + b"X: " + b"a" * 20_000 + b"\r\n\r\n", 431),
    "endless field": (LIVE + b"X: " + b"a" * 20_000, 431),
    "long target": (b"GET /" + b"a" * 20_000 + b" HTTP/1.1\r\nHost: a\r\n\r\n", 431),
}


@pytest.mark.parametrize("first", [LIVE + b"\r\n", head(Content_Length=LENGTH) + BODY], ids=["a head", "a body"])
@pytest.mark.parametrize("name", ["many fields", "long field", "long target"])
def test_a_head_sent_ahead_is_bounded_too(tmp_path, first, name):
    reply = exchange(tmp_path, first + FRAMING[name][0])
    assert reply.count(b"HTTP/1.1 ") == 1  # the first is answered, then the connection ends
    assert reply.startswith(b"HTTP/1.1 200 ")


@pytest.mark.parametrize(("raw", "status"), FRAMING.values(), ids=FRAMING.keys())
def test_one_reading_or_none(tmp_path, raw, status):
    reply = exchange(tmp_path, raw)
    assert reply.count(b"HTTP/1.1 ") == 1
    got, headers, document = parsed(reply)
    assert got == status
    assert headers["content-type"] == "application/problem+json"
    assert document["error"]


def test_chunked_bodies_are_read(tmp_path):
    assert parsed(exchange(tmp_path, head(Transfer_Encoding="chunked", Connection="close") + CHUNKED))[0] == 200


def test_an_oversized_chunked_body_is_413(tmp_path):
    piece = b"10000\r\n" + b" " * 0x10000 + b"\r\n"
    reply = exchange(tmp_path, head(Transfer_Encoding="chunked") + piece * 80, wire=WireLimits(linger_seconds=0.05))
    status, _, document = parsed(reply)
    assert (status, document["code"]) == (413, "body-too-large")


@pytest.mark.parametrize(
    "endless", [b"1;" + b"a" * 300_000, b"0\r\n" + b"x: y\r\n" * 50_000], ids=["extension", "trailer"]
)
def test_a_chunked_body_that_is_nearly_all_framing_is_refused(tmp_path, endless):
    reply = exchange(tmp_path, head(Transfer_Encoding="chunked") + endless, wire=WireLimits(linger_seconds=0.05))
    status, _, document = parsed(reply)
    assert (status, document["code"]) == (400, "bad-framing")


def test_after_an_early_refusal_the_rest_is_read_so_that_the_answer_arrives(tmp_path):
    async def scenario():
        async with open_door(tmp_path) as door:
            reader, writer = await door.connect()
            writer.write(head(key=None, Content_Length=LENGTH))
            first = await reader.readuntil(b"}")
            writer.write(BODY + request(BODY))
            second = await reader.read()
            await close(writer)
            return first, second

    first, second = asyncio.run(scenario())
    assert parsed(first)[0] == 401
    assert parsed(second)[0] == 200


def test_expect_continue(tmp_path):
    async def scenario():
        async with open_door(tmp_path) as door:
            reader, writer = await door.connect()
            writer.write(head(Content_Length=LENGTH, Expect="100-continue", Connection="close"))
            interim = await reader.readuntil(b"\r\n\r\n")
            writer.write(BODY)
            final = await reader.read()
            await close(writer)
            refused = await door.raw(head(key=None, Content_Length=LENGTH, Expect="100-continue", Connection="close"))
            return interim, final, refused

    interim, final, refused = asyncio.run(scenario())
    assert interim == b"HTTP/1.1 100 Continue\r\n\r\n"
    assert parsed(final)[0] == 200
    assert parsed(refused)[0] == 401


def test_requests_sent_ahead_are_answered_in_turn(tmp_path):
    ahead = head(Content_Length=LENGTH) + BODY
    reply = exchange(tmp_path, ahead * 3 + head("GET", "/v2/health/live", Connection="close"))
    assert reply.count(b"HTTP/1.1 200 OK") == 4
    assert reply.endswith(b'{"live":true}')


def test_noise_after_a_request_does_not_overtake_its_answer(tmp_path):
    async def scenario():
        hold, entered = asyncio.Event(), asyncio.Event()

        async def slow(inputs, batchable):
            entered.set()
            await hold.wait()
            return await answer(inputs, batchable)

        given = world()
        given.models["diagnosis"] = served(infer=slow)
        async with open_door(tmp_path, given) as door:
            reader, writer = await door.connect()
            writer.write(head(Content_Length=LENGTH) + BODY)
            await entered.wait()
            writer.write(b"\x00 noise\r\n\r\n")
            while not any(event.reason == "bad-http" for event in given.sink.events):  # noqa: ASYNC110 a thread writes
                await asyncio.sleep(0.001)
            hold.set()
            reply = await reader.read()
            await close(writer)
            return reply

    reply = asyncio.run(scenario())
    assert reply.startswith(b"HTTP/1.1 200 OK")
    assert reply.count(b"HTTP/1.1 ") == 1


def test_too_many_sent_ahead_are_cut_off(tmp_path):
    ahead = head(Content_Length=LENGTH) + BODY
    reply = exchange(tmp_path, ahead * 100, wire=WireLimits(pipelined=4))
    assert 1 <= reply.count(b"HTTP/1.1 200 OK") <= 6


SLOW = {
    "silent from the start": (b"", WireLimits(head_seconds=0.02), b"408"),
    "half a request line": (b"GET /v2/he", WireLimits(head_seconds=0.02), b"408"),
    "HTTP/0.9": (b"GET /v2/health/live\r\n", WireLimits(head_seconds=0.02), b"408"),
    "half the headers": (LIVE, WireLimits(head_seconds=0.02), b"408"),
    "half a body": (head(Content_Length=LENGTH) + BODY[:10], WireLimits(body_seconds=0.02), b"408"),
    "half a chunk": (head(Transfer_Encoding="chunked") + CHUNKED[:10], WireLimits(body_seconds=0.02), b"408"),
    "idle after an answer": (LIVE + b"\r\n", WireLimits(idle_seconds=0.02), b"200"),
    "never the body": (head(key=None, Content_Length=LENGTH), WireLimits(linger_seconds=0.02), b"401"),
}


@pytest.mark.parametrize(("raw", "limits", "status"), SLOW.values(), ids=SLOW.keys())
def test_slow_clients_are_cut_off(tmp_path, raw, limits, status):
    """`raw` returns only when the server has closed; a server that waits runs into the test's own time limit."""
    reply = exchange(tmp_path, raw, wire=limits)
    assert reply.startswith(b"HTTP/1.1 " + status)
    assert reply.count(b"HTTP/1.1 ") == 1


def test_a_header_a_moment_does_not_stretch_the_deadline(tmp_path):
    async def scenario():
        async with open_door(tmp_path, wire=WireLimits(head_seconds=0.05)) as door:
            reader, writer = await door.connect()
            writer.write(LIVE)
            reply = asyncio.create_task(reader.read())
            number = 0
            while not reply.done():
                number += 1
                writer.write(b"X-%d: 1\r\n" % (number % 10))
                await asyncio.sleep(0.005)
            await close(writer)
            return await reply

    assert asyncio.run(scenario()).startswith(b"HTTP/1.1 408")


def test_connections_are_bounded_and_come_back(tmp_path):
    async def scenario():
        async with open_door(tmp_path, wire=WireLimits(connections_per_address=2)) as door:
            held = [await door.connect() for _ in range(2)]
            refused = await door.raw(LIVE + b"\r\n")
            for _, writer in held:
                await close(writer)
            while (reply := await door.raw(LIVE + b"Connection: close\r\n\r\n")).startswith(b"HTTP/1.1 503"):  # noqa: ASYNC110 the server's
                await asyncio.sleep(0.001)
            return refused, reply

    refused, reply = asyncio.run(scenario())
    assert parsed(refused)[2]["code"] == "too-many-connections"
    assert parsed(reply)[0] == 200


def test_refusals_on_the_wire_are_recorded(tmp_path):
    async def scenario():
        async with open_door(tmp_path, record=RecorderConfig(wait=0.001, window=60)) as door:
            for _ in range(5):
                await door.raw(b"\x00\r\n\r\n")
        return door.world.sink.events

    first, rest = asyncio.run(scenario())
    assert (first.reason, first.facts["count"], first.facts["address"]) == ("bad-http", 1, "127.0.0.1")
    assert rest.facts["count"] == 4


@pytest.mark.parametrize("version", [ssl.TLSVersion.TLSv1_2])
def test_older_tls_is_refused(tmp_path, version):
    async def scenario():
        async with open_door(tmp_path) as door:
            context = door.client_context()
            context.maximum_version = version
            with pytest.raises((ssl.SSLError, ConnectionError)):
                await asyncio.open_connection("127.0.0.1", door.port, ssl=context, server_hostname="localhost")
            _, writer = await door.connect()
            spoken = writer.get_extra_info("ssl_object").version()
            await close(writer)
            return spoken

    assert asyncio.run(scenario()) == "TLSv1.3"


def test_plain_http_gets_no_answer(tmp_path):
    async def scenario():
        async with open_door(tmp_path) as door:
            reader, writer = await asyncio.open_connection("127.0.0.1", door.port)
            writer.write(LIVE + b"\r\n")
            try:
                return await reader.read()
            except ConnectionError:
                return b""
            finally:
                await close(writer)

    assert b"HTTP" not in asyncio.run(scenario())


def test_a_handshake_that_never_ends_is_cut_off(tmp_path):
    async def scenario():
        async with open_door(tmp_path, wire=WireLimits(handshake_seconds=0.05)) as door:
            reader, writer = await asyncio.open_connection("127.0.0.1", door.port)
            try:
                return await reader.read()
            except ConnectionError:
                return b""
            finally:
                await close(writer)

    assert b"HTTP" not in asyncio.run(scenario())


def test_certificates_are_reloaded_for_new_connections(tmp_path):
    async def seen(door) -> bytes:
        context = ssl.create_default_context()
        context.check_hostname, context.verify_mode = False, ssl.CERT_NONE
        _, writer = await asyncio.open_connection("127.0.0.1", door.port, ssl=context)
        certificate = writer.get_extra_info("ssl_object").getpeercert(binary_form=True)
        await close(writer)
        return certificate

    async def scenario():
        async with open_door(tmp_path / "old") as door:
            before = await seen(door)
            new = make_certificate(tmp_path / "new")
            with pytest.raises(StorageError, match="cannot be used together"):
                reload_certificates(door.context, TlsFiles(new.certificate, door.files.key))
            assert await seen(door) == before
            reload_certificates(door.context, new)
            return before, await seen(door)

    before, after = asyncio.run(scenario())
    assert before != after


def test_stopping_answers_what_is_in_flight(tmp_path):
    async def scenario():
        hold, entered = asyncio.Event(), asyncio.Event()

        async def slow(inputs, batchable):
            entered.set()
            await hold.wait()
            return await answer(inputs, batchable)

        given = world()
        given.models["diagnosis"] = served(infer=slow)
        async with open_door(tmp_path, given) as door:
            port = door.port
            reader, writer = await door.connect()
            writer.write(head(Content_Length=LENGTH) + BODY)
            await entered.wait()
            asyncio.get_running_loop().call_later(0.05, hold.set)
        reply = await reader.read()
        await close(writer)
        with pytest.raises(OSError, match="onnect"):
            await asyncio.open_connection("127.0.0.1", port)
        return reply, given.sink.events

    reply, events = asyncio.run(scenario())
    status, headers, _ = parsed(reply)
    assert status == 200
    assert headers["connection"] == "close"
    assert [event.id for event in events] == [headers["casemate-receipt"]]


def test_draining_ends_although_a_model_never_answers(tmp_path):
    async def scenario():
        entered = asyncio.Event()

        async def never(inputs, batchable):
            entered.set()
            await asyncio.Event().wait()

        given = world()
        given.models["diagnosis"] = served(infer=never)
        async with open_door(tmp_path, given, drain_seconds=0.05) as door:
            _, writer = await door.connect()
            writer.write(head(Content_Length=LENGTH) + BODY)
            await entered.wait()
        await close(writer)
        return True

    assert asyncio.run(scenario())


def test_the_key_is_not_echoed(tmp_path):
    secret = "cm_very-secret-" + KEY
    assert b"very-secret" not in exchange(tmp_path, request(BODY, key=secret))
