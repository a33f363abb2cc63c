"""Requests with a few things wrong, for the doors."""

from __future__ import annotations

import random
import re

PIECES = [
    b"\r\n", b"\r\n\r\n", b"\x00", b"\xff", b" ", b":", b"chunked", b"Content-Length: 5\r\n", b"Transfer-Encoding: chunked\r\n",
    b"0\r\n\r\n", b"NaN", b"1e999", b"-0", b"[" * 50, b"{" * 50, b'"', b"\\u0000", b"\\ud800", b"null", b"true", b"9" * 400,
    b"POST ", b"GET /", b"HTTP/1.1", b"Expect: 100-continue\r\n", b"Upgrade: websocket\r\nConnection: upgrade\r\n", b"%00", b"../",
    b'"inputs":', b'"data":[]', b'"shape":[1,3]', b"-1", b"3.5e38", b"\xc3\x28", b"\xf0\x9f\x92\xa9",
]  # fmt: skip
# What no answer to any bytes may hold.
FORBIDDEN = re.compile(rb"HTTP/1\.1 5|Traceback|File \"|line \d+, in |Error\(|Internal Server Error")


def mutant(valid: list[bytes], chance: random.Random) -> bytes:
    """A valid exchange with a few things wrong; now and then pure noise."""
    if chance.random() < 0.05:
        return chance.randbytes(chance.randrange(1, 400))
    data = bytearray(chance.choice(valid))
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
