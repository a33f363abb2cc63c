"""A training script behind the walls: data in as sealed memory, files out as sealed memory, nothing else."""

from __future__ import annotations

import json
import os
import platform
import sys
import threading
import time
from collections.abc import Callable, Mapping, Sequence
from concurrent.futures import Future
from contextlib import suppress
from dataclasses import dataclass
from functools import cache
from importlib.metadata import distributions
from pathlib import Path
from typing import Any, Self

from casemate.core import InputError, SandboxError, SealedFile, seal_bytes
from casemate.runtime.outputs import Outputs, collect_outputs
from casemate.runtime.scratch import scratch_folder
from casemate.runtime.startup import printable
from casemate.sandbox import Denial, Exit, Limits, Walls, spawn

TRAINING_LIMITS = Limits(memory=4 << 30, cpu_seconds=1800, wall_seconds=1800, file_bytes=1 << 30, threads=128)

MAX_SCRIPT = 4 << 20  # bytes of source
MAX_PARAMETERS = 100_000  # bytes as JSON; one environment variable holds 128 KiB
_FIRST_FD = 200  # where the child puts the dataset's descriptors; the links are made before it runs
_MAX_DATASET_FILES = 16
_LOG_KEPT = 64 << 10  # bytes
_LINE = 2000  # characters of a line handed to the callback
_LINES = 10_000  # handed to the callback; the tail keeps the last ones all the same


@dataclass(frozen=True, slots=True, kw_only=True)
class TrainingResult:
    """How it ended and what came out. Closes the files at exit.

    Args:
        exit: `exit.reason` FINISHED means that the script ran to its end.
        files: (path, sealed file) in order of the path; empty unless it finished.
        refused: What it left behind and was not taken, with the reason.
        blocked: `{"kind", "target", "mode"}` of each attempt that the walls refused, once each, in order.
        log_tail: The last 64 KiB of its output; foreign text without control characters but newlines.
        environment: `python`, `platform`, `casemate`, and `packages`: the version of each that is installed, by name.
    """

    exit: Exit
    files: Sequence[tuple[str, SealedFile]]
    refused: Sequence[str]
    blocked: Sequence[dict[str, str]]
    log_tail: str
    seconds: float
    environment: Mapping[str, Any]

    def close(self) -> None:
        for _, file in self.files:
            file.close()

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        self.close()


def run_training(
    script: bytes,
    dataset: Mapping[str, SealedFile],
    *,
    params: Mapping[str, Any] | None = None,
    filename: str = "train.py",
    limits: Limits = TRAINING_LIMITS,
    log: Callable[[str], None] | None = None,
    stop: Future[Any] | None = None,
    insecure: bool = False,
    walls: Walls | None = None,
) -> TrainingResult:
    """Run `script` on `dataset`, confined; returns however it ended. Blocks.

    Args:
        dataset: Files by plain name (`data.parquet`, `schema.json`), readable under `CASEMATE_DATASET`.
        params: `CASEMATE_PARAMETERS`, as JSON.
        filename: The script's name, as tracebacks show it.
        log: Called from another thread with each line of output, printable, as it comes.
        stop: The script is stopped when this is done; `exit.reason` is KILLED then.
    Raises: InputError: `bad-script`, `bad-parameters`, `bad-dataset`. StorageError: `no-memory-folder`.
        SandboxError: the walls cannot be raised. Nothing of the script has run then.
    """
    parameters = _checked(script, dataset, params or {})
    start = time.monotonic()
    with scratch_folder() as scratch, seal_bytes([script], name="casemate-script") as source:
        work = _lay_out(scratch, list(dataset))
        with spawn(
            "casemate.runtime.script:run",
            limits=limits,
            walls=walls,
            writable=work,
            paths=[scratch / "dataset"],
            report=True,
            args={
                "filename": Path(filename).name,
                "environment": _variables(scratch, parameters),
                "folder": str(work / "home"),
                "dataset": [_FIRST_FD + index for index in range(len(dataset))],
            },
            insecure=insecure,
        ) as cell:
            if stop is not None:  # from a thread, since it may be done in one that must not wait
                stop.add_done_callback(lambda _: threading.Thread(target=cell.kill, name="casemate-stop").start())
            tail = _Log(log)
            with suppress(SandboxError):  # it may end at once; its exit says how
                cell.channel.send({}, fds=[source.fd, tail.writer, *(file.fd for file in dataset.values())])
            tail.begin()
            exit_ = cell.wait()
            tail.finish()
            denials = cell.denials
        outputs = collect_outputs(work / "output", max_bytes=limits.file_bytes) if exit_.code == 0 else Outputs()
        blocked = [_told(denial) for denial in denials if not _is_own(denial, scratch / "dataset")]
    return TrainingResult(
        exit=exit_,
        files=sorted(outputs.files.items()),
        refused=outputs.refused,
        blocked=blocked,
        log_tail=tail.text(),
        seconds=time.monotonic() - start,
        environment=environment_facts(),
    )


def _checked(script: bytes, dataset: Mapping[str, SealedFile], params: Mapping[str, Any]) -> str:
    """The parameters as JSON. Raises: InputError."""
    if not script.strip() or len(script) > MAX_SCRIPT:
        raise InputError(f"A training script has 1 to {MAX_SCRIPT} bytes of source.", code="bad-script")
    if len(dataset) > _MAX_DATASET_FILES or any("/" in name or name in ("", ".", "..") for name in dataset):
        raise InputError(f"A dataset has at most {_MAX_DATASET_FILES} files with plain names.", code="bad-dataset")
    try:
        text = json.dumps(dict(params), allow_nan=False)
    except (TypeError, ValueError) as error:
        raise InputError("The parameters are not plain JSON: use text, finite numbers, lists, objects.",
                         code="bad-parameters") from error  # fmt: skip
    if len(text) > MAX_PARAMETERS:
        raise InputError(f"The parameters are over {MAX_PARAMETERS} bytes: put them into the dataset.",
                         code="bad-parameters")  # fmt: skip
    return text


def _lay_out(scratch: Path, names: Sequence[str]) -> Path:
    """Make the folders: the dataset as links to descriptors that only the child will have; the rest is its own."""
    dataset, work = scratch / "dataset", scratch / "work"
    for folder in (dataset, work, work / "output", work / "home", work / "tmp"):
        folder.mkdir(mode=0o700)
    for index, name in enumerate(names):
        (dataset / name).symlink_to(f"/proc/self/fd/{_FIRST_FD + index}")
    return work


def _variables(scratch: Path, parameters: str) -> dict[str, str]:
    home = str(scratch / "work" / "home")
    return {
        "CASEMATE_DATASET": str(scratch / "dataset"),
        "CASEMATE_OUTPUT": str(scratch / "work" / "output"),
        "CASEMATE_PARAMETERS": parameters,
        "HOME": home,
        "TMPDIR": str(scratch / "work" / "tmp"),
        "MPLCONFIGDIR": home,
        "XDG_CACHE_HOME": home,
    }


def _is_own(denial: Denial, dataset: Path) -> bool:
    """Reading the dataset is never refused; seen from outside, its links lead nowhere or to descriptors of ours."""
    return denial.kind == "open" and denial.mode == "read" and Path(denial.target).parent == dataset


def _told(denial: Denial) -> dict[str, str]:
    return {"kind": denial.kind, "target": printable(denial.target, 1000), "mode": denial.mode}


@cache
def environment_facts() -> dict[str, Any]:
    """What a training ran with; two equal digests mean the same packages in the same versions."""
    packages = {dist.name: dist.version for dist in distributions() if dist.name}
    return {
        "python": platform.python_version(),
        "platform": f"{sys.platform}-{platform.machine()}",
        "casemate": packages.get("casemate", ""),
        "packages": dict(sorted(packages.items())),
    }


class _Log:
    """The script's stdout and stderr: a pipe that is read until its last writer is gone."""

    def __init__(self, callback: Callable[[str], None] | None) -> None:
        self._reader, self.writer = os.pipe2(os.O_CLOEXEC)
        self._callback = callback
        self._kept = bytearray()
        self._line = b""
        self._lines = 0
        self._thread = threading.Thread(target=self._read, name="casemate-log", daemon=True)

    def begin(self) -> None:
        os.close(self.writer)
        self._thread.start()

    def finish(self) -> None:
        """Wait for the last words; started insecurely, a grandchild may hold the pipe, and is not waited for."""
        self._thread.join(timeout=5.0)

    def text(self) -> str:
        text = bytes(self._kept).decode(errors="replace")
        return "".join(c if c.isprintable() or c == "\n" else "?" for c in text.replace("\t", "    "))

    def _read(self) -> None:
        with open(self._reader, "rb", buffering=0) as pipe:  # noqa: PTH123 a descriptor
            while piece := pipe.read(_LOG_KEPT):
                self._kept += piece
                del self._kept[:-_LOG_KEPT]
                self._hand_on(piece)
        if self._line:
            self._hand_on(b"\n")

    def _hand_on(self, piece: bytes) -> None:
        if self._callback is None or self._lines >= _LINES:
            return
        *whole, self._line = (self._line + piece).split(b"\n")
        self._line = self._line[:_LINE]
        for line in whole[: _LINES - self._lines]:
            self._callback(printable(line.decode(errors="replace"), _LINE))
        self._lines += len(whole)
