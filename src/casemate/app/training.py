"""A training run: a script on a dataset version behind the walls, and what it wrote as a version."""

from __future__ import annotations

import re
from collections.abc import Iterator, Mapping
from concurrent.futures import Future
from contextlib import ExitStack
from dataclasses import dataclass
from typing import Any

import msgspec

from casemate.console import Asked, LiveRun, Trained
from casemate.core import (
    Clock,
    Digest,
    Finding,
    InputError,
    Principal,
    Ref,
    SealedFile,
    Verdict,
    canonical,
    digest_of,
    rfc3339,
    seal_bytes,
    verdict_of,
)
from casemate.registry import Datasets, Lineage, Made, Models, Pushed, Screenings, Trainings, check_purpose
from casemate.runtime import (
    Reach,
    TrainingResult,
    asked_limits,
    find_gpus,
    findings_of,
    parse_host,
    run_training,
    told_limits,
)
from casemate.sandbox import ExitReason
from casemate.signing import VersionIdentity

_LOG_SHOWN = 4000  # characters of a training log in an answer
_CHECKPOINTS = "checkpoints/"
_WORD = re.compile(r"[A-Za-z][A-Za-z0-9_./@-]*")  # of the characters that the name of a metric may have


@dataclass(frozen=True, slots=True, kw_only=True)
class Rooms:
    """What a run needs of the house."""

    datasets: Datasets
    screenings: Screenings
    models: Models
    trainings: Trainings
    clock: Clock
    insecure: bool


@dataclass(frozen=True, slots=True, kw_only=True)
class _Run:
    """A run that has ended, and from what it was made. Args: began, ended: RFC 3339. connections: made, by `HOST:PORT`."""

    result: TrainingResult
    dataset: VersionIdentity
    base: VersionIdentity | None
    began: str
    ended: str
    hosts: tuple[str, ...]
    devices: tuple[str, ...]
    connections: dict[str, int]


def train(
    rooms: Rooms,
    name: str,
    script: bytes,
    asked: Asked,
    *,
    live: LiveRun,
    actor: Principal,
    intent: str,
    gone: Future[None],
) -> Trained:
    """Run a script on a dataset version behind the walls; push what it wrote, if nothing speaks against it.

    Raises: InputError `client-gone`: nobody waits for it any more, so it was stopped; `bad-limit`, `bad-duration`, `bad-host`, `no-gpu`.
        PolicyError `purpose-not-allowed`, `data-suspect`, `data-not-screened`. VerificationError `revoked`: the dataset or
        the model that it goes on from was.
    """
    limits = asked_limits(cpu=asked.cpu, memory=asked.memory, time=asked.time)
    devices = find_gpus() if asked.gpu else []
    hosts = sorted({parse_host(host) for host in asked.hosts})
    rooms.datasets.check_trainable(asked.dataset)
    with ExitStack() as opened:
        rows = opened.enter_context(rooms.datasets.open(asked.dataset))
        check_purpose(rows.use, asked.purpose, rows.about)
        rooms.screenings.check_trainable(Ref(rows.about.name, rows.about.number, rows.about.project))
        base = opened.enter_context(rooms.trainings.open_base(asked.base)) if asked.base else None
        if base is not None:
            check_purpose(base.use, asked.purpose, base.about)
        schema = opened.enter_context(seal_bytes([canonical(rows.schema)], name="schema.json"))
        reach = opened.enter_context(Reach(hosts)) if hosts else None
        began = rfc3339(rooms.clock.now())
        result = run_training(
            script,
            {"data.parquet": rows.parquet, "schema.json": schema},
            base=base.files if base else None,
            params=asked.parameters,
            seed=asked.seed,
            reach=reach,
            devices=devices,
            filename=asked.filename,
            limits=limits,
            log=live.log,
            metrics=live.metrics,
            stop=gone,
            insecure=rooms.insecure,
        )
        run = _Run(
            result=result,
            dataset=rows.about,
            base=base.about if base else None,
            began=began,
            ended=rfc3339(rooms.clock.now()),
            hosts=tuple(map(str, hosts)),
            devices=tuple(map(str, devices)),
            connections=dict(reach.made) if reach else {},
        )
    with result:
        if result.exit.reason is ExitReason.KILLED:
            raise InputError("Its client went away, so the run was stopped; nothing was kept.", code="client-gone")
        found = findings_of(result)
        pushed = Pushed(verdict=Verdict.REFUSED, findings=tuple(found), name=name)
        if verdict_of(found) is Verdict.CLEAN:
            pushed = _push(rooms.models, name, script, asked, run, actor=actor, intent=intent, found=found)
        return Trained(
            pushed=pushed,
            blocked=list(result.blocked),
            log=result.log_tail[-_LOG_SHOWN:],
            metrics=dict(result.last),
            seconds=result.seconds,
        )


def _push(
    models: Models,
    name: str,
    script: bytes,
    asked: Asked,
    run: _Run,
    *,
    actor: Principal,
    intent: str,
    found: list[Finding],
) -> Pushed:
    lineage = Lineage(
        dataset=run.dataset,
        base=run.base,
        script=digest_of(script),
        parameters=asked.parameters,
        environment=environment_digest(run.result),
        purpose=asked.purpose,
        seed=asked.seed,
        hosts=run.hosts,
    )
    files, kept = divided(run.result)
    pushed = models.push(
        name,
        _streams(files),
        Made(
            lineage=lineage,
            environment=run.result.environment,
            kept=[*_written(run.result), *_streams(kept)],
            run=_told(script, asked, run),
        ),
        actor=actor,
        intent=intent,
    )
    return msgspec.structs.replace(pushed, findings=(*found, *pushed.findings))


def named_metrics(script: bytes, parameters: Mapping[str, Any], last: Mapping[str, float]) -> dict[str, float]:
    """Those whose names stand in the script or its parameters, as whole words: what a run makes up as it goes can be a row.

    The others are kept with all metrics, which only who may take out the weights reads.
    """
    known = {*_WORD.findall(script.decode(errors="replace")), *_WORD.findall(canonical(parameters).decode())}
    return {name: value for name, value in last.items() if name in known}


def environment_digest(result: TrainingResult) -> Digest:
    """Of Python, the platform and every package that was there."""
    return digest_of(canonical(result.environment))


def divided(result: TrainingResult) -> tuple[dict[str, SealedFile], dict[str, SealedFile]]:
    """The files of the version, and the checkpoints beside it; a run that wrote only checkpoints has those as its files."""
    files = {path: file for path, file in result.files if not path.startswith(_CHECKPOINTS)}
    kept = {path: file for path, file in result.files if path.startswith(_CHECKPOINTS)}
    return (files, kept) if files else (kept, {})


def _streams(files: dict[str, SealedFile]) -> Iterator[tuple[str, Iterator[bytes]]]:
    return ((path, iter([file.read()])) for path, file in files.items())


def _written(result: TrainingResult) -> list[tuple[str, list[bytes]]]:
    """The log and the metrics, where there are any."""
    lines = b"".join(canonical(point) + b"\n" for point in result.points)
    files = {"log": result.log.encode(), "metrics": lines}
    return [(path, [data]) for path, data in files.items() if data]


def _told(script: bytes, asked: Asked, run: _Run) -> dict[str, Any]:
    """What is signed of the run itself: it differs from run to run and makes no other version."""
    metrics = named_metrics(script, asked.parameters, run.result.last)
    return {
        "began": run.began,
        "ended": run.ended,
        "filename": asked.filename[:200],
        "limits": told_limits(run.result.limits),
        "metrics": metrics,
        **({"metrics_left_out": left_out} if (left_out := len(run.result.last) - len(metrics)) else {}),
        **({"devices": list(run.devices)} if run.devices else {}),
        **({"connections": run.connections} if run.hosts else {}),
        **({"repository": asked.repository} if asked.repository else {}),
    }
