"""Runs a version's training again and says whether the same model comes out. Nothing of it is kept."""

from __future__ import annotations

from concurrent.futures import Future
from contextlib import ExitStack
from typing import Any

from casemate.app.training import divided
from casemate.core import InputError, Ref, Verdict, VerificationError, canonical, digest_of, seal_bytes
from casemate.registry import Datasets, Lineage, Models, Trainings
from casemate.runtime import findings_of, limits_of, run_training
from casemate.sandbox import ExitReason

_LOG_SHOWN = 4000  # characters of a training log in an answer


def reproduce(
    datasets: Datasets,
    models: Models,
    trainings: Trainings,
    ref: Ref,
    script: bytes,
    *,
    gone: Future[None],
    insecure: bool,
) -> dict[str, Any]:
    """Run `script` on what the version was trained on, with its parameters, and compare what it writes, file by file.

    Returns: verdict: clean where every file is the same to the last byte; files: `{"path", "same"}`, a file that only one
        of both has among them; environment: what differs from the packages of then, as `{name: [then, now]}`.
    Raises: NotFoundError: the version, or its dataset, is gone. InputError `not-trained-here`, `other-script`,
        `trained-online`, `client-gone`. VerificationError: what is stored is not what was signed.
    """
    version = models.find(ref)
    if digest_of(version.manifest) != version.digest:
        raise VerificationError(f"The manifest of {version.about} was altered.", code="manifest-changed")
    manifest = version.read_manifest()
    lineage = manifest.lineage
    if lineage is None or lineage.script is None or lineage.dataset is None:
        raise InputError(f"{version.about} was pushed, and not trained here.", code="not-trained-here")
    if digest_of(script) != lineage.script:
        raise InputError(
            f"This is not the script that {version.about} was trained with: that one has the digest {lineage.script}.",
            code="other-script",
        )
    if lineage.hosts:
        raise InputError(
            f"The script of {version.about} was let out to {', '.join(lineage.hosts)}: what it got there is not known, and "
            "it is not run again.",
            code="trained-online",
        )
    origin = lineage.dataset
    limits = limits_of(trainings.show(ref))
    with ExitStack() as opened:
        rows = opened.enter_context(datasets.open(Ref(origin.name, origin.digest, origin.project)))
        schema = opened.enter_context(seal_bytes([canonical(rows.schema)], name="schema.json"))
        about = lineage.base
        base = (
            opened.enter_context(trainings.open_base(Ref(about.name, about.digest, about.project))) if about else None
        )
        result = run_training(
            script,
            {"data.parquet": rows.parquet, "schema.json": schema},
            base=base.files if base else None,
            params=lineage.parameters,
            seed=lineage.seed,
            limits=limits,
            stop=gone,
            insecure=insecure,
        )
    with result:
        if result.exit.reason is ExitReason.KILLED:
            raise InputError("Its client went away, so the run was stopped.", code="client-gone")
        made = {path: file.digest for path, file in divided(result)[0].items()}
        environment = result.environment
        told = {"blocked": list(result.blocked), "log": result.log_tail[-_LOG_SHOWN:], "seconds": result.seconds}
        findings = list(findings_of(result))
    before = {path: entry.digest for path, entry in manifest.files.items()}
    compared = [{"path": path, "same": before.get(path) == made.get(path)} for path in sorted({*before, *made})]
    same = all(one["same"] for one in compared)
    return {
        "verdict": Verdict.CLEAN if same else Verdict.REFUSED,
        "name": version.about.name,
        "version": version.number,
        "dataset": f"{origin.name}@{origin.number}",
        "files": compared,
        "findings": findings,
        "environment": _changed(lineage, manifest.facts.get("environment"), environment),
        **told,
    }


def _changed(lineage: Lineage, then: Any, now: Any) -> dict[str, list[str]]:
    """What differs between two environments; what was not listed then is told by its digest."""
    if lineage.environment == digest_of(canonical(dict(now))):
        return {}
    if not isinstance(then, dict):
        return {"all": [str(lineage.environment), digest_of(canonical(dict(now)))]}
    old, new = _flat(then), _flat(now)
    return {
        name: [old.get(name, ""), new.get(name, "")] for name in sorted({*old, *new}) if old.get(name) != new.get(name)
    }


def _flat(environment: Any) -> dict[str, str]:
    packages = environment.get("packages")
    told = {name: str(value) for name, value in environment.items() if name != "packages"}
    return told | (packages if isinstance(packages, dict) else {"packages": str(packages)})
