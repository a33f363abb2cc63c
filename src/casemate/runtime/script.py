"""Runs a training script as `__main__`, inside the sandbox.

The usual libraries load before the filter of system calls stands: what they probe while loading is not the script's
doing and is not reported as such.
"""

from __future__ import annotations

import linecache
import os
import sys
import tempfile
import traceback
import types
from typing import Any

# No other process can be started in here: joblib need not try, nor ask `lscpu` for the number of cores.
os.environ["JOBLIB_MULTIPROCESSING"] = "0"
os.environ["LOKY_MAX_CPU_COUNT"] = str(len(os.sched_getaffinity(0)))

import onnx  # noqa: E402,F401
import pyarrow.parquet  # noqa: E402,F401
import sklearn.ensemble  # noqa: E402
import sklearn.linear_model  # noqa: E402
import sklearn.model_selection  # noqa: E402
import sklearn.pipeline  # noqa: E402
import sklearn.preprocessing  # noqa: E402,F401
import skl2onnx  # noqa: E402,F401

from casemate.sandbox import Channel  # noqa: E402

FAILED = 1  # exit status of a script that raised


def run(channel: Channel, args: dict[str, Any]) -> None:
    """Take the script and its data, and become it.

    `args`: `filename`, `environment`, `folder` (to work in), `dataset` (the descriptor numbers that the links in the
    dataset's folder name). The one frame brings the descriptors: script, log, then the dataset's files in order.
    """
    script, log, *files = channel.recv().fds
    os.dup2(log, 1)
    os.dup2(log, 2)
    source = _read(script)
    for fd, wanted in zip(files, args["dataset"], strict=True):
        os.dup2(fd, wanted)
    for fd in (script, log, *files):
        os.close(fd)
    channel.close()
    os.environ.update(args["environment"])
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


def _read(fd: int) -> bytes:
    with open(f"/proc/self/fd/{fd}", "rb") as file:  # noqa: PTH123 a descriptor's name
        return file.read()
