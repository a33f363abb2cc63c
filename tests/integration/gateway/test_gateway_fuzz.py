"""Raw bytes against a real TLS server: never a 500, never a traceback, and it still serves afterwards."""

from __future__ import annotations

import asyncio
import random

import numpy as np
import pytest
import uvloop
from gateway_door import head, open_door, request
from mutants import FORBIDDEN, mutant

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
MUTANTS = 600


@pytest.mark.parametrize("seed", [1, pytest.param(2, marks=pytest.mark.slow)])
def test_no_bytes_bring_it_down(tmp_path, seed):
    chance = random.Random(seed)
    wire = WireLimits(head_seconds=0.05, body_seconds=0.05, idle_seconds=0.05, linger_seconds=0.05)
    limits = LimitsConfig(address_rate=Rate(1e6, 1e6), refusal_rate=Rate(1e6, 1e6))

    async def scenario():
        replies = []
        async with open_door(tmp_path, wire=wire, limits=limits) as door:
            door.world.rate = Rate(1e6, 1e6)
            for _ in range(MUTANTS // 20):
                sent = [mutant(WHOLE, chance) for _ in range(20)]
                replies += zip(sent, await asyncio.gather(*map(door.raw, sent)), strict=True)
            return replies, await door.raw(VALID)

    replies, last = uvloop.run(scenario())
    bad = [(sent, reply) for sent, reply in replies if FORBIDDEN.search(reply)]
    assert not bad
    statuses = {reply[9:12] for _, reply in replies if reply}
    assert {b"200", b"400", b"401", b"404"} <= statuses  # the fuzz reaches every part of the door
    assert last.startswith(b"HTTP/1.1 200 OK")
