"""A training script behind the walls: data in as sealed memory, files out as sealed memory, nothing else."""

from __future__ import annotations

import json
import platform
import sys
import threading
import time
from collections.abc import Callable, Mapping, Sequence
from concurrent.futures import Future
from contextlib import suppress
from dataclasses import dataclass, field
from functools import cache
from importlib.metadata import distributions
from pathlib import Path
from typing import Any, Self

from casemate.core import InputError, SandboxError, SealedFile, checked_path, seal_bytes
from casemate.runtime.outputs import CHECKPOINTS, Outputs, collect_outputs
from casemate.runtime.reach import Reach
from casemate.runtime.run_output import Log, Metrics, Point
from casemate.runtime.scratch import scratch_folder
from casemate.runtime.startup import printable
from casemate.runtime.training_limits import TRAINING_LIMITS
from casemate.sandbox import Cell, Denial, Exit, ExitReason, Limits, Walls, spawn

MAX_SCRIPT = 4 << 20  # bytes of source
MAX_PARAMETERS = 100_000  # bytes as JSON; one environment variable holds 128 KiB
MOST_SEED = (1 << 32) - 1  # as PYTHONHASHSEED and NumPy take it
_METRICS_FD = 199
_OUT_FDS = (196, 197, 198)  # by which it is let out to hosts
_FIRST_FD = 200  # where the child puts the descriptors of its data; the links are made before it runs
_MAX_DATASET_FILES = 16
_MAX_BASE_FILES = 200
_TIMED_OUT = frozenset({ExitReason.TIMEOUT, ExitReason.CPU})  # what was written by then is whole, or was being written


@dataclass(frozen=True, slots=True, kw_only=True)
class TrainingResult:
    """How it ended and what came out. Closes the files at exit.

    Args:
        exit: `exit.reason` FINISHED means that the script ran to its end.
        files: (path, sealed file) in order of the path; unless it finished, none but the checkpoints of a run that was
            stopped when its time was over.
        refused: What it left behind and was not taken, with the reason.
        blocked: `{"kind", "target", "mode"}` of each attempt that the walls refused, once each, in order.
        log_tail: The last 64 KiB of its output; foreign text without control characters but newlines. log: all that was
            kept of it.
        points, last: Its metrics, in order, and the last value of each. metrics_left_out: lines that were none, or too many.
        environment: `python`, `platform`, `casemate`, and `packages`: the version of each that is installed, by name.
        limits: As it ran under.
    """

    exit: Exit
    files: Sequence[tuple[str, SealedFile]]
    refused: Sequence[str]
    blocked: Sequence[dict[str, str]]
    log_tail: str
    seconds: float
    environment: Mapping[str, Any]
    log: str = ""
    points: Sequence[Point] = ()
    last: Mapping[str, float] = field(default_factory=dict)
    metrics_left_out: int = 0
    limits: Limits = TRAINING_LIMITS

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
    base: Mapping[str, SealedFile] | None = None,
    params: Mapping[str, Any] | None = None,
    seed: int | None = None,
    reach: Reach | None = None,
    devices: Sequence[Path] = (),
    filename: str = "train.py",
    limits: Limits = TRAINING_LIMITS,
    log: Callable[[str], None] | None = None,
    metrics: Callable[[Point], None] | None = None,
    stop: Future[Any] | None = None,
    insecure: bool = False,
    walls: Walls | None = None,
) -> TrainingResult:
    """Run `script` on `dataset`, confined; returns however it ended. Blocks.

    Args:
        dataset: Files by plain name (`data.parquet`, `schema.json`), readable under `CASEMATE_DATASET`.
        base: Files of the model that it goes on from, by path, readable under `CASEMATE_BASE`.
        params: `CASEMATE_PARAMETERS`, as JSON.
        seed: `CASEMATE_SEED`; Python's hashes and its and NumPy's global generators begin with it.
        reach: By whom it is let out to hosts; None: to none.
        devices: Device nodes that it may use, as `find_gpus` gives them.
        filename: The script's name, as tracebacks show it.
        log, metrics: Called from threads of their own with each line of output, printable, and of metrics, as it comes.
        stop: The script is stopped when this is done; `exit.reason` is KILLED then.
    Raises: InputError: `bad-script`, `bad-parameters`, `bad-seed`, `bad-dataset`, `bad-base`. StorageError:
        `no-memory-folder`. SandboxError: the walls cannot be raised. Nothing of the script has run then.
    """
    base = base or {}
    parameters = _checked(script, dataset, base, params or {}, seed)
    start = time.monotonic()
    with scratch_folder() as scratch, seal_bytes([script], name="casemate-script") as source:
        work = _lay_out(scratch, list(dataset), list(base))
        given = [scratch / "dataset", *([scratch / "base"] if base else [])]
        said, measured = Log(log), Metrics(metrics)
        files = [file.fd for file in (*dataset.values(), *base.values())]
        out = reach.fds if reach else []
        with spawn(
            "casemate.runtime.script:run",
            limits=limits,
            walls=walls,
            writable=work,
            paths=given,
            devices=devices,
            hash_seed=seed,
            report=True,
            args={
                "filename": Path(filename).name,
                "environment": _variables(scratch, parameters, seed, based=bool(base)),
                "folder": str(work / "home"),
                "given": [str(folder) for folder in given],
                "seed": seed,
                "numbers": [_METRICS_FD, *range(_FIRST_FD, _FIRST_FD + len(files)), *_OUT_FDS[: len(out)]],
                "out": list(_OUT_FDS[: len(out)]),
            },
            insecure=insecure,
        ) as cell:
            pipes: list[Log | Metrics | Reach] = [said, measured, *([reach] if reach else [])]
            exit_ = _attend(cell, [source.fd, said.writer, measured.writer, *files, *out], pipes, stop)
            denials = cell.denials
        outputs = _collected(work / "output", exit_, limits)
        blocked = [_told(denial) for denial in denials if not _is_own(denial, given)]
        blocked += [{"kind": "connect", "target": host, "mode": ""} for host in (reach.refused if reach else ())]
    return TrainingResult(
        exit=exit_,
        files=sorted(outputs.files.items()),
        refused=outputs.refused,
        blocked=blocked,
        log_tail=said.tail(),
        seconds=time.monotonic() - start,
        environment=environment_facts(),
        log=said.whole(),
        points=tuple(measured.points),
        last=measured.last,
        metrics_left_out=measured.left_out,
        limits=limits,
    )


def _attend(cell: Cell, sent: Sequence[int], pipes: Sequence[Log | Metrics | Reach], stop: Future[Any] | None) -> Exit:
    """Hand the descriptors over, and listen until it has ended."""
    if stop is not None:  # from a thread, since it may be done in one that must not wait
        stop.add_done_callback(lambda _: threading.Thread(target=cell.kill, name="casemate-stop").start())
    with suppress(SandboxError):  # it may end at once; its exit says how
        cell.channel.send({}, fds=list(sent))
    for pipe in pipes:
        pipe.begin()
    exit_ = cell.wait()
    for pipe in pipes:
        pipe.finish()
    return exit_


def _collected(folder: Path, exit_: Exit, limits: Limits) -> Outputs:
    if exit_.code == 0:
        return collect_outputs(folder, max_bytes=limits.file_bytes)
    if exit_.reason in _TIMED_OUT:
        return collect_outputs(folder, max_bytes=limits.file_bytes, only=CHECKPOINTS)
    return Outputs()


def _checked(
    script: bytes,
    dataset: Mapping[str, SealedFile],
    base: Mapping[str, SealedFile],
    params: Mapping[str, Any],
    seed: int | None,
) -> str:
    """The parameters as JSON. Raises: InputError."""
    if not script.strip() or len(script) > MAX_SCRIPT:
        raise InputError(f"A training script has 1 to {MAX_SCRIPT} bytes of source.", code="bad-script")
    if len(dataset) > _MAX_DATASET_FILES or any("/" in name or name in ("", ".", "..") for name in dataset):
        raise InputError(f"A dataset has at most {_MAX_DATASET_FILES} files with plain names.", code="bad-dataset")
    if len([checked_path(path) for path in base]) > _MAX_BASE_FILES:
        raise InputError(f"A model to go on from has at most {_MAX_BASE_FILES} files.", code="bad-base")
    if seed is not None and not 0 <= seed <= MOST_SEED:
        raise InputError(f"A seed is a whole number from 0 to {MOST_SEED}.", code="bad-seed")
    try:
        text = json.dumps(dict(params), allow_nan=False)
    except (TypeError, ValueError) as error:
        raise InputError("The parameters are not plain JSON: use text, finite numbers, lists, objects.",
                         code="bad-parameters") from error  # fmt: skip
    if len(text) > MAX_PARAMETERS:
        raise InputError(f"The parameters are over {MAX_PARAMETERS} bytes: put them into the dataset.",
                         code="bad-parameters")  # fmt: skip
    return text


def _lay_out(scratch: Path, names: Sequence[str], base: Sequence[str]) -> Path:
    """Make the folders: what is given as links to descriptors that only the child will have; the rest is its own."""
    dataset, given, work = scratch / "dataset", scratch / "base", scratch / "work"
    for folder in (dataset, given, work, work / "output", work / "home", work / "tmp"):
        folder.mkdir(mode=0o700)
    links = [*(dataset / name for name in names), *(given / path for path in base)]
    for number, link in enumerate(links, start=_FIRST_FD):
        link.parent.mkdir(mode=0o700, parents=True, exist_ok=True)
        link.symlink_to(f"/proc/self/fd/{number}")
    return work


def _variables(scratch: Path, parameters: str, seed: int | None, *, based: bool) -> dict[str, str]:
    home = str(scratch / "work" / "home")
    return {
        "CASEMATE_DATASET": str(scratch / "dataset"),
        "CASEMATE_OUTPUT": str(scratch / "work" / "output"),
        "CASEMATE_METRICS": f"/proc/self/fd/{_METRICS_FD}",
        "CASEMATE_PARAMETERS": parameters,
        **({"CASEMATE_BASE": str(scratch / "base")} if based else {}),
        **({} if seed is None else {"CASEMATE_SEED": str(seed)}),
        "HOME": home,
        "TMPDIR": str(scratch / "work" / "tmp"),
        "MPLCONFIGDIR": home,
        "XDG_CACHE_HOME": home,
    }


def _is_own(denial: Denial, given: Sequence[Path]) -> bool:
    """Reading what is given is never refused; seen from outside, its links lead nowhere or to descriptors of ours."""
    reads = denial.kind == "open" and denial.mode == "read"
    return reads and any(Path(denial.target).is_relative_to(folder) for folder in given)


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
