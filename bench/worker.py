"""A worker behind its walls: cold start (spawn, load, warm), beside an interpreter that only imports the model's library; switch: a deployment replaced, rolled back or revived while a spare worker stands (walls up, libraries loaded, still empty), which is so from a cold start after the last switch on; one row there and back, beside the same session in process and a bare byte to another process and back; rows per second when requests join.

The model is the diagnosis model (30 floats, scaled logistic regression, ONNX).
"""

from __future__ import annotations

import asyncio
import json
import os
import socket
import statistics
import subprocess
import sys
import tempfile
import threading
import time
from pathlib import Path

import numpy as np
import onnxruntime

sys.path.insert(0, str(Path(__file__).parents[1] / "tests" / "integration" / "runtime"))
import models

from casemate.runtime import LiveModel, Pool, PoolConfig, describe

ROUNDS = 5000
CALLERS = 256


def main() -> None:
    model, rows = models.fitted()
    contents = {"model.onnx": models.diagnosis_onnx(model, rows)}
    one = rows[:1].astype(np.float32)
    skops = models.diagnosis_skops(model)
    rows = [*cold_starts(contents, skops), *asyncio.run(switches(contents, {"model.skops": skops}))]
    print(json.dumps([*rows, *asyncio.run(served(contents, one))]))


def cold_starts(contents: dict[str, bytes], skops: bytes) -> list[dict]:
    kinds = {"ONNX": (contents, "onnxruntime"), "skops": ({"model.skops": skops}, "skops.io, sklearn.pipeline")}
    return [
        {
            "name": f"cold start, {kind} (beside: import {library})",
            "value": round(cold_start(files), 3),
            "unit": "s",
            "beside": f"{bare_import(library):.3f} s",
            "aim": "< 1",
        }
        for kind, (files, library) in kinds.items()
    ]


async def switches(*kinds: dict[str, bytes]) -> list[dict]:
    rows = []
    with tempfile.TemporaryDirectory() as folder:
        signer = models.Signer.at(Path(folder) / "keys")
    for contents in kinds:
        pool, seconds = Pool(sink=lambda _: None, config=PoolConfig(linger_seconds=0)), []
        for _ in range(6):
            verified = signer.verified(contents)
            for thread in threading.enumerate():  # those that make a spare; only the first switch finds none
                if thread.name == "casemate-spare":
                    await asyncio.to_thread(thread.join)
            start = time.perf_counter()
            await pool.replace("bench", verified)
            seconds.append(time.perf_counter() - start)
        await pool.drain()
        kind = "skops" if "model.skops" in contents else "ONNX"
        value = round(statistics.median(seconds[1:]), 3)
        rows.append({"name": f"switch to a spare worker, {kind}", "value": value, "unit": "s"})
    return rows


def bare_import(library: str) -> float:
    seconds = []
    for _ in range(5):
        start = time.perf_counter()
        subprocess.run([sys.executable, "-c", f"import {library}"], check=True)
        seconds.append(time.perf_counter() - start)
    return statistics.median(seconds)


def cold_start(contents: dict[str, bytes]) -> float:
    files = {path: models.seal_bytes([data]) for path, data in contents.items()}
    seconds = []
    for _ in range(5):
        start = time.perf_counter()
        describe(files, models.served_of(files))
        seconds.append(time.perf_counter() - start)
    return statistics.median(seconds)


async def served(contents: dict[str, bytes], one: np.ndarray) -> list[dict]:
    with tempfile.TemporaryDirectory() as folder:
        verified = models.Signer.at(Path(folder) / "keys").verified(contents)
    pool = Pool(sink=lambda _: None, config=PoolConfig())
    live = await pool.replace("bench", verified)
    try:
        alone = await single(live, one)
        joined = await batched(live, one)
    finally:
        await pool.drain()
    direct = in_process(contents["model.onnx"], one)
    return [
        {
            "name": "one row, there and back (beside: in process)",
            "value": round(alone * 1e6, 1),
            "unit": "us",
            "beside": f"{direct * 1e6:.1f} us",
        },
        {
            "name": "hop: the difference (beside: a bare byte to another process and back)",
            "value": round((alone - direct) * 1e6, 1),
            "unit": "us",
            "beside": f"{bare_hop() * 1e6:.1f} us",
            "aim": "<= 25",
        },
        {"name": f"rows from {CALLERS} callers, joined", "value": round(joined), "unit": "rows/s"},
    ]


def bare_hop() -> float:
    """What the machine takes for nothing but the switch: blocking sockets, one byte."""
    ours, theirs = socket.socketpair()
    child = os.fork()
    if child == 0:
        ours.close()
        while byte := theirs.recv(1):
            theirs.send(byte)
        os._exit(0)
    theirs.close()
    times = []
    for _ in range(ROUNDS):
        start = time.perf_counter()
        ours.send(b"x")
        ours.recv(1)
        times.append(time.perf_counter() - start)
    ours.close()
    os.waitpid(child, 0)
    return statistics.median(times)


async def single(live: LiveModel, one: np.ndarray) -> float:
    times = []
    for _ in range(ROUNDS):
        start = time.perf_counter()
        await live.infer({"X": one}, batchable=True)
        times.append(time.perf_counter() - start)
    return statistics.median(times)


async def batched(live: LiveModel, one: np.ndarray) -> float:
    async def caller() -> None:
        for _ in range(ROUNDS // 50):
            await live.infer({"X": one}, batchable=True)

    start = time.perf_counter()
    await asyncio.gather(*(caller() for _ in range(CALLERS)))
    return CALLERS * (ROUNDS // 50) / (time.perf_counter() - start)


def in_process(graph: bytes, one: np.ndarray) -> float:
    options = onnxruntime.SessionOptions()
    options.intra_op_num_threads = 1
    session = onnxruntime.InferenceSession(graph, options)
    times = []
    for _ in range(ROUNDS):
        start = time.perf_counter()
        session.run(None, {"X": one})
        times.append(time.perf_counter() - start)
    return statistics.median(times)


if __name__ == "__main__":
    if "--uvloop" in sys.argv:
        import uvloop

        uvloop.install()
    main()
