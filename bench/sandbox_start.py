"""Seconds from `spawn` to the first answer of a confined process, median of several, libraries on a warm disk.

Prints a JSON list of {"name", "value", "unit"}.
"""

from __future__ import annotations

import importlib
import json
import statistics
import sys
import time
from pathlib import Path

from casemate.sandbox import Need, Walls, spawn
from casemate.sandbox.bubblewrap import why_no_bubblewrap

ROUNDS = 7
HERE = Path(__file__).parent


def ready(channel, args):
    """The confined side: import the library of the worker, then say so (see `main`)."""
    importlib.import_module(args["library"])
    channel.send("ready")


def seconds(library: str, walls: Walls) -> float:
    started = time.perf_counter()
    with spawn("sandbox_start:ready", walls=walls, paths=[HERE], args={"library": library}) as cell:
        cell.channel.recv(timeout=60)
        return time.perf_counter() - started


def hop(walls: Walls) -> float:
    with spawn("sandbox_start:echo", walls=walls, paths=[HERE]) as cell:
        started = time.perf_counter()
        for _ in range(2000):
            cell.channel.send(None)
            cell.channel.recv()
        return (time.perf_counter() - started) / 2000 * 1e6


def echo(channel, _args):
    while True:
        channel.send(channel.recv().message)


def main() -> None:
    floor = Walls(namespaces=Need.NEVER, cgroups=Need.NEVER)
    setups = {"floor": floor, "all walls": Walls()}
    if not why_no_bubblewrap():
        setups["floor + namespaces"] = Walls(namespaces=Need.REQUIRED, cgroups=Need.NEVER)
    rows = []
    for name, walls in setups.items():
        for library in ("json", "onnxruntime", "skops.io"):
            seconds(library, walls)
            value = statistics.median(seconds(library, walls) for _ in range(ROUNDS))
            rows.append({"name": f"cold start, {library}, {name}", "value": round(value, 3), "unit": "s"})
        rows.append({"name": f"round trip of an empty frame, {name}", "value": round(hop(walls), 1), "unit": "us"})
    json.dump(rows, sys.stdout, indent=1)


if __name__ == "__main__":
    main()
