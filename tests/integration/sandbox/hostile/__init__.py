"""Hostile code for the escape tests: each probe returns evidence when it got out, and raises when it was stopped.

Runs inside a cell, and (as a control, without walls) outside of one: a probe that gets out does no harm to anybody but
the test's own folders. Standard library only.
"""

from __future__ import annotations

import errno
import subprocess

from hostile import bounds, files, kernel, network, processes

PROBES = {
    name: probe
    for wall in (bounds, files, kernel, network, processes)
    for name, probe in vars(wall).items()
    if getattr(probe, "__module__", "") == wall.__name__ and not name.startswith("_")
}


def attempt(given):
    """`escaped`: the evidence; or `errno` and `stopped`: what stopped it."""
    try:
        return {"escaped": PROBES[given["probe"]](given)}
    except (OSError, ValueError, MemoryError, subprocess.SubprocessError) as error:
        number = getattr(error, "errno", None)
        name = errno.errorcode.get(number, type(error).__name__)
        return {"escaped": "", "errno": name, "stopped": f"{type(error).__name__}: {error}"}


def run(channel, args):
    channel.send(attempt({**args, "sock": channel.socket.fileno()}))
