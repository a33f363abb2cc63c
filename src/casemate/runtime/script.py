"""Runs a training script as `__main__`, inside the sandbox.

The usual libraries load before the filter of system calls stands: what they probe while loading is not the script's
doing and is not reported as such.
"""

from __future__ import annotations

import gc
import io
import linecache
import os
import platform
import random
import sys
import tempfile
import traceback
import types
from contextlib import suppress
from typing import Any

# No other process can be started in here: joblib need not try, nor ask `lscpu` for the number of cores.
os.environ["JOBLIB_MULTIPROCESSING"] = "0"
os.environ["LOKY_MAX_CPU_COUNT"] = str(len(os.sched_getaffinity(0)))
os.environ["ORT_DISABLE_TELEMETRY"] = "1"

import numpy as np
import onnx  # noqa: F401
import pyarrow.parquet  # noqa: F401
import skl2onnx  # noqa: F401
import sklearn.ensemble
import sklearn.linear_model
import sklearn.model_selection
import sklearn.pipeline
import sklearn.preprocessing  # noqa: F401

from casemate.runtime.let_out import install
from casemate.sandbox import Channel

FAILED = 1  # exit status of a script that raised


def _is_listable(folder: str) -> bool:
    try:
        os.listdir(folder)  # noqa: PTH208 listing is the question
    except OSError:
        return False
    return True


# The import system lists these folders for each module that it looks for; one behind the walls would be reported.
sys.path[:] = filter(_is_listable, sys.path)
platform.processor()  # would start `uname`; the answer is kept, so a script that asks again starts nothing


def run(channel: Channel, args: dict[str, Any]) -> None:
    """Take the script and its data, and become it.

    `args`: `filename`, `environment`, `folder` (to work in), `given` (folders of data), `seed`, `numbers`: of the metrics
    and of the files, as the environment and the links in the folders name them; `out`: the numbers of what it is let out by,
    last among these. The one frame brings the descriptors: script, log, metrics, the files in order, then these.
    """
    script, log, *files = channel.recv().fds
    os.dup2(log, 1)
    os.dup2(log, 2)
    source = _read(script)
    for fd, wanted in zip(files, args["numbers"], strict=True):
        os.dup2(fd, wanted)
    for fd in (script, log, *files):
        os.close(fd)
    channel.close()
    os.environ.update(args["environment"])
    sys.path[:] = [path for path in sys.path if path not in args["given"]]  # data, never modules
    if args["seed"] is not None:
        random.seed(args["seed"])
        np.random.seed(args["seed"])  # noqa: NPY002 what a script that asks no generator of its own draws from
    if args["out"]:
        install(*args["out"])
    os.chdir(args["folder"])
    tempfile.tempdir = None  # a library may have asked for it before TMPDIR was set
    _become(source, args["filename"])


def _become(source: bytes, filename: str) -> None:
    main = types.ModuleType("__main__")
    main.__file__ = filename
    sys.modules["__main__"] = main
    sys.argv = [filename]
    sys.stdout.reconfigure(line_buffering=True)  # type: ignore[union-attr]
    lines = source.decode(errors="replace").splitlines(keepends=True)
    linecache.cache[filename] = (len(source), None, lines, filename)  # so that tracebacks show its lines
    try:
        exec(compile(source, filename, "exec"), main.__dict__)  # noqa: S102 that is what this process is for
    except MemoryError:
        raise
    except Exception as error:  # noqa: BLE001 whatever a script raises is its own traceback, without our frames
        inner = error.__traceback__.tb_next if error.__traceback__ else None
        traceback.print_exception(error.with_traceback(inner))
        sys.exit(FAILED)
    finally:
        _flush_files()


def _flush_files() -> None:
    """Write out what the script left in files that it never closed, as Python does at its end; texts first, which lie above."""
    held = gc.get_objects()
    for kind in (io.TextIOWrapper, io.BufferedWriter, io.BufferedRandom):
        for one in held:
            if issubclass(type(one), kind):
                with suppress(Exception):
                    kind.flush(one)


def _read(fd: int) -> bytes:
    with open(f"/proc/self/fd/{fd}", "rb") as file:  # noqa: PTH123 a descriptor's name
        return file.read()
