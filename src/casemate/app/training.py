"""A training run: a script on a dataset version behind the walls, and what it wrote as a version."""

from __future__ import annotations

from concurrent.futures import Future
from typing import Any

import msgspec

from casemate.console import Trained
from casemate.core import InputError, Principal, Ref, Verdict, canonical, digest_of, seal_bytes, verdict_of
from casemate.registry import Datasets, Lineage, Models, Pushed, Screenings, check_purpose
from casemate.runtime import findings_of, run_training
from casemate.sandbox import ExitReason

_LOG_SHOWN = 4000  # characters of a training log in an answer


def train(
    datasets: Datasets,
    screenings: Screenings,
    models: Models,
    name: str,
    script: bytes,
    *,
    dataset: Ref,
    filename: str,
    parameters: dict[str, Any],
    purpose: str = "",
    actor: Principal,
    intent: str,
    gone: Future[None],
    insecure: bool,
) -> Trained:
    """Run a script on a dataset version behind the walls; push what it wrote, if nothing speaks against it.

    Raises: InputError `client-gone`: nobody waits for it any more, so it was stopped. PolicyError `purpose-not-allowed`,
        `data-suspect`, `data-not-screened`. VerificationError `revoked`: the dataset was.
    """
    datasets.check_trainable(dataset)
    with datasets.open(dataset) as rows:
        check_purpose(rows.use, purpose, rows.about)
        screenings.check_trainable(Ref(rows.about.name, rows.about.number, rows.about.project))
        schema = seal_bytes([canonical(rows.schema)], name="schema.json")
        with schema:
            files = {"data.parquet": rows.parquet, "schema.json": schema}
            result = run_training(script, files, params=parameters, filename=filename, stop=gone, insecure=insecure)
        about = rows.about
    with result:
        if result.exit.reason is ExitReason.KILLED:
            raise InputError("Its client went away, so the run was stopped; nothing was kept.", code="client-gone")
        found = findings_of(result)
        pushed = Pushed(verdict=Verdict.REFUSED, findings=tuple(found), name=name)
        if verdict_of(found) is Verdict.CLEAN:
            lineage = Lineage(
                dataset=about,
                script=digest_of(script),
                parameters=parameters,
                environment=digest_of(canonical(result.environment)),
                purpose=purpose,
            )
            contents = ((path, iter([file.read()])) for path, file in result.files)
            pushed = models.push(
                name, contents, actor=actor, intent=intent, lineage=lineage, environment=result.environment
            )
            pushed = msgspec.structs.replace(pushed, findings=(*found, *pushed.findings))
        return Trained(
            pushed=pushed, blocked=list(result.blocked), log=result.log_tail[-_LOG_SHOWN:], seconds=result.seconds
        )
