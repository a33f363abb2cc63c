"""What the log keeps of a prediction: digests and summary statistics, never an input or an answer.

A digest lets a caller prove later what was asked and answered. Whoever reads the log can test a guess against it,
so it hides nothing that can be guessed whole. Statistics are kept for `MIN_SUMMARY` numbers or more only: the mean
of one number is that number.
"""

from __future__ import annotations

import hashlib
import math
import os
import time
from datetime import datetime
from operator import mul
from typing import Any

import numpy as np

from casemate.core import Event, Principal, prefix_of
from casemate.gateway.interface import Array, Decision, ServedModel

SMALL = 256  # numbers up to which plain Python is faster than numpy's calls
MIN_SUMMARY = 8  # numbers; a mean over fewer says too much about each


def prediction_event(
    *,
    at: datetime,
    principal: Principal,
    served: ServedModel,
    resource: str,
    address: str,
    client: str,
    arrays: dict[str, Array],
    outside: tuple[str, ...],
    answer: bytes,
    verdicts: dict[str, str] | str,
    decision: Decision,
) -> Event:
    """The event of an answered prediction; its id is the receipt's."""
    facts: dict[str, Any] = {
        "version": served.version,
        "model": served.digest,
        "profile": served.profile,
        "address": address,
        "network": prefix_of(address),
        "client": client,
        "inputs": {name: _summary(array) for name, array in arrays.items()},
        "answer": "sha256:" + hashlib.sha256(answer).hexdigest(),
        "guards": verdicts,
        "environment": served.environment,
        "roles": decision.roles,
        "policy": decision.policy,
    }
    if decision.ci:
        facts["ci"] = True
    if outside:
        facts["outside"] = list(outside)
    return Event(
        id=next_event_id(),
        at=at.isoformat(timespec="microseconds").replace("+00:00", "Z"),  # as core.rfc3339, faster
        kind="prediction",
        project=served.project,
        action="deployment:predict",
        actor=principal.id,
        credential=principal.credential,
        resource=resource,
        outcome="done",
        facts=facts,
    )


class _Randomness:
    """Random bytes, drawn from the kernel 4 KiB at a time: a system call per event would cost more than the event."""

    def __init__(self) -> None:
        self._pool, self._place = b"", 0

    def take(self, count: int) -> bytes:
        if self._place + count > len(self._pool):
            self._pool, self._place = os.urandom(4096), 0
        taken = self._pool[self._place : self._place + count]
        self._place += count
        return taken


_RANDOM = _Randomness()


def next_event_id() -> str:
    """As `core.new_id("evt")`: a UUIDv7 (RFC 9562, section 5.7). For the event loop's thread only."""
    milliseconds = time.time_ns() // 1_000_000
    random = int.from_bytes(_RANDOM.take(10))
    high, low = random >> 62 & 0xFFF, random & (1 << 62) - 1
    return f"evt_{milliseconds << 80 | 0x7 << 76 | high << 64 | 0b10 << 62 | low:032x}"


def tensor_digest(array: Array) -> str:
    """SHA-256 over numpy's name of the datatype (`<f4`), shape and values: little-endian bytes in row order, text with its lengths."""
    hasher = hashlib.sha256(f"{array.dtype.str}{array.shape}".encode())
    if array.dtype.kind == "O":
        for text in array.ravel().tolist():
            encoded = text.encode()
            hasher.update(len(encoded).to_bytes(8, "little") + encoded)
    else:
        hasher.update(array.data if array.flags.c_contiguous else np.ascontiguousarray(array).data)
    return "sha256:" + hasher.hexdigest()


def _summary(array: Array) -> dict[str, Any]:
    summary: dict[str, Any] = {"digest": tensor_digest(array), "shape": list(array.shape)}
    if array.dtype.kind == "f" and array.size >= MIN_SUMMARY:
        mean, rms = _mean_and_rms(array)
        if math.isfinite(mean) and math.isfinite(rms):
            summary["mean"], summary["rms"] = float(f"{mean:.3g}"), float(f"{rms:.3g}")
    return summary


def _mean_and_rms(array: Array) -> tuple[float, float]:
    if array.size <= SMALL:
        values = array.ravel().tolist()
        return sum(values) / len(values), math.sqrt(sum(map(mul, values, values)) / len(values))
    flat = array.ravel().astype(np.float64)
    with np.errstate(over="ignore"):  # infinite then, and left out
        return float(np.add.reduce(flat)) / flat.size, math.sqrt(float(np.add.reduce(flat * flat)) / flat.size)
