"""The confined side of comparing bare weights: a linear model computed from its file, in a process that has never seen the pickle."""

from __future__ import annotations

import json

import numpy as np

from casemate.core.wire import Frame


def main(frame: Frame) -> Frame:
    """fds: a safetensors file that the scan found whole; buffers: the rows' float64 bytes. Answers {"rows", "outputs"} and float64
    bytes: the rows times `coef`, and `intercept`."""
    with open(f"/proc/self/fd/{frame.fds[0]}", "rb") as file:  # noqa: PTH123 a descriptor, not a path
        size = int.from_bytes(file.read(8), "little")
        header = json.loads(file.read(size))
        data = file.read()
    coef, intercept = (_tensor(header[name], data) for name in ("coef", "intercept"))
    rows = np.frombuffer(frame.buffers[0]).reshape(-1, coef.shape[1])
    scores = np.ascontiguousarray(rows @ coef.T + intercept)
    return Frame({"rows": scores.shape[0], "outputs": scores.shape[1]}, [bytearray(scores.tobytes())])


def _tensor(entry: dict[str, list[int]], data: bytes) -> np.ndarray[tuple[int, ...], np.dtype[np.float64]]:
    start, end = entry["data_offsets"]
    return np.frombuffer(data[start:end], np.float64).reshape(entry["shape"])
