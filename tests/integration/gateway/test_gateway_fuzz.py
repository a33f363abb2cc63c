"""Raw bytes against a real TLS server: never a 500, never a traceback, and it still serves afterwards."""

from __future__ import annotations

import asyncio
import random
import re

import numpy as np
import pytest
import uvloop
from gateway_door import head, open_door, request

from casemate.doors import WireLimits
from casemate.gateway import LimitsConfig, Rate
from casemate.guardrails import encode_request

BODY = encode_request({"x": np.array([[1, 2, 3]], np.float32)}, request_id="a")
VALID = request(BODY)
WHOLE = [
    VALID,
    head(Transfer_Encoding="chunked", Connection="close") + b"%x\r\n%s\r\n0\r\n\r\n" % (len(BODY), BODY),
    head("GET", "/v2/models/diagnosis", Connection="close"),
    head("GET", "https://localhost/v2/health/ready", Connection="close"),
    request(BODY, path="/v2/models/careful/versions/4/infer"),
]
PIECES = [
    b"\r\n", b"\r\n\r\n", b"\x00", b"\xff", b" ", b":", b"chunked", b"Content-Length: 5\r\n", b"Transfer-Encoding: chunked\r\n",
    b"0\r\n\r\n", b"NaN", b"1e999", b"-0", b"[" * 50, b"{" * 50, b'"', b"\\u0000", b"\\ud800", b"null", b"true", b"9" * 400,
    b"POST ", b"GET /", b"HTTP/1.1", b"Expect: 100-continue\r\n", b"Upgrade: websocket\r\nConnection: upgrade\r\n", b"%00", b"../",
    b'"inputs":', b'"data":[]', b'"shape":[1,3]', b"-1", b"3.5e38", b"\xc3\x28", b"\xf0\x9f\x92\xa9",
]  # fmt: skip
MUTANTS = 600
FORBIDDEN = re.compile(rb"HTTP/1\.1 5|Traceback|File \"|line \d+, in |Error\(|Internal Server Error")


def mutant(chance: random.Random) -> bytes:
    """A valid exchange with a few things wrong; now and then pure noise."""
    if chance.random() < 0.05:
        return chance.randbytes(chance.randrange(1, 400))
    data = bytearray(chance.choice(WHOLE))
    if chance.random() < 0.5:  # keep the framing right, so that the fuzz reaches the guards behind it
        top, _, body = bytes(data).partition(b"\r\n\r\n")
        changed = mutated(bytearray(body), chance)
        top = re.sub(rb"Content-Length: \d+", b"Content-Length: %d" % len(changed), top)
        return top + b"\r\n\r\n" + changed
    return bytes(mutated(data, chance))


def mutated(data: bytearray, chance: random.Random) -> bytearray:
    for _ in range(chance.randrange(1, 5)):
        place = chance.randrange(len(data) + 1)
        match chance.randrange(5):
            case 0 if place < len(data):
                data[place] ^= 1 << chance.randrange(8)
            case 1:
                data[place:place] = chance.choice(PIECES)
            case 2:
                del data[place : place + chance.randrange(1, 20)]
            case 3:
                data[place:place] = data[place : place + chance.randrange(1, 60)]
            case _:
                data[place : place + 1] = chance.choice(PIECES)
    return data


@pytest.mark.parametrize("seed", [1, 2])
def test_no_bytes_bring_it_down(tmp_path, seed):
    chance = random.Random(seed)
    wire = WireLimits(head_seconds=0.05, body_seconds=0.05, idle_seconds=0.05, linger_seconds=0.05)
    limits = LimitsConfig(address_rate=Rate(1e6, 1e6), refusal_rate=Rate(1e6, 1e6))

    async def scenario():
        replies = []
        async with open_door(tmp_path, wire=wire, limits=limits) as door:
            door.world.rate = Rate(1e6, 1e6)
            for _ in range(MUTANTS // 20):
                sent = [mutant(chance) for _ in range(20)]
                replies += zip(sent, await asyncio.gather(*map(door.raw, sent)), strict=True)
            return replies, await door.raw(VALID)

    replies, last = uvloop.run(scenario())
    bad = [(sent, reply) for sent, reply in replies if FORBIDDEN.search(reply)]
    assert not bad
    statuses = {reply[9:12] for _, reply in replies if reply}
    assert {b"200", b"400", b"401", b"404"} <= statuses  # the fuzz reaches every part of the door
    assert last.startswith(b"HTTP/1.1 200 OK")
