"""What the log keeps of a prediction: digests and summary statistics, never an input or an answer.

A digest lets a caller prove later what was asked and answered. Whoever reads the log can test a guess against it,
so it hides nothing that can be guessed whole. Statistics are kept for `MIN_SUMMARY` numbers or more only: the mean
of one number is that number.
"""

from __future__ import annotations

import hashlib
import math
from datetime import datetime
from typing import Any

import numpy as np

from casemate.core import Event, Principal, new_id, rfc3339
from casemate.gateway.interface import Array, ServedModel

MIN_SUMMARY = 8  # numbers; a mean over fewer says too much about each


def prediction_event(
    *,
    at: datetime,
    principal: Principal,
    served: ServedModel,
    resource: str,
    address: str,
    arrays: dict[str, Array],
    outside: tuple[str, ...],
    answer: bytes,
    verdicts: dict[str, str],
) -> Event:
    """The event of an answered prediction; its id is the receipt's."""
    facts: dict[str, Any] = {
        "version": served.version,
        "model": served.digest,
        "profile": served.profile,
        "address": address,
        "inputs": {name: _summary(array) for name, array in arrays.items()},
        "answer": "sha256:" + hashlib.sha256(answer).hexdigest(),
        "guards": verdicts,
    }
    if outside:
        facts["outside"] = list(outside)
    return Event(
        id=new_id("evt"),
        at=rfc3339(at),
        kind="prediction",
        project=served.project,
        action="deployment:predict",
        actor=principal.id,
        credential=principal.credential,
        resource=resource,
        outcome="done",
        facts=facts,
    )


def tensor_digest(array: Array) -> str:
    """SHA-256 over datatype, shape and values: little-endian bytes in row order, text with its lengths."""
    hasher = hashlib.sha256(f"{array.dtype.name}{list(array.shape)}".encode())
    if array.dtype.kind == "O":
        for text in array.ravel().tolist():
            encoded = text.encode()
            hasher.update(len(encoded).to_bytes(8, "little") + encoded)
    else:
        hasher.update(np.ascontiguousarray(array).data)
    return "sha256:" + hasher.hexdigest()


def _summary(array: Array) -> dict[str, Any]:
    summary: dict[str, Any] = {"digest": tensor_digest(array), "shape": list(array.shape)}
    if array.dtype.kind == "f" and array.size >= MIN_SUMMARY:
        flat = array.ravel().astype(np.float64)
        mean, rms = float(flat.sum()) / flat.size, math.sqrt(float(flat @ flat) / flat.size)
        if math.isfinite(mean) and math.isfinite(rms):
            summary |= {"mean": float(f"{mean:.3g}"), "rms": float(f"{rms:.3g}")}
    return summary
