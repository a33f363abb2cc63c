"""A conversion that the home does: a pickle that was sent is loaded behind the walls, and what it became is pushed."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import ExitStack
from dataclasses import dataclass

import msgspec

from casemate.console import AskedConversion, Converted
from casemate.core import Clock, Principal, Ref, Verdict, checked_name, rfc3339, seal_bytes
from casemate.registry import Datasets, Lineage, Made, Models
from casemate.runtime.conversion import checked_target, convert_model
from casemate.runtime.conversion_rows import read_rows, read_sample
from casemate.runtime.tensors import Array
from casemate.signing import VersionIdentity
from casemate.storage import Upload

_CHUNK = 1 << 20  # bytes read at a time


@dataclass(frozen=True, slots=True, kw_only=True)
class _Rows:
    """What both models predict. Args: sample: None: rows that are made up. of: the version of a dataset that they are of."""

    sample: Array | None = None
    of: VersionIdentity | None = None


def convert(
    datasets: Datasets,
    models: Models,
    name: str,
    upload: Upload,
    asked: AskedConversion,
    *,
    actor: Principal,
    intent: str,
    clock: Clock,
    insecure: bool,
) -> Converted:
    """Convert an uploaded pickle, and push what it became with a signed statement of what was done. The pickle is not kept.

    Raises: as `convert_model` and `Models.push`; NotFoundError: a dataset that is named.
    """
    checked_name(name)
    target = checked_target(asked.to)
    about = datasets.find(asked.dataset).about if asked.dataset else None
    began = rfc3339(clock.now())
    with ExitStack() as closing:
        rows = _rows(datasets, asked, insecure=insecure)
        source = closing.enter_context(seal_bytes(_pieces(upload), name="pickle"))
        converted = closing.enter_context(
            convert_model(
                source,
                asked.filename,
                to=target,
                sample=rows.sample,
                rows_of=rows.of,
                despite_findings=asked.despite_findings,
                insecure=insecure,
            )
        )
        run = {"began": began, "ended": rfc3339(clock.now()), **({"reason": asked.reason} if asked.reason else {})}
        pushed = models.push(
            name,
            [(converted.path, converted.file.chunks())],
            Made(lineage=Lineage(dataset=about) if about else None, conversion=converted.conversion, run=run),
            actor=actor,
            intent=intent,
        )
        done = pushed.verdict is Verdict.CLEAN
        return Converted(
            pushed=pushed,
            conversion={**run, "by": actor.id, **msgspec.to_builtins(converted.conversion)} if done else None,
        )


def _rows(datasets: Datasets, asked: AskedConversion, *, insecure: bool) -> _Rows:
    """Raises: NotFoundError; VerificationError; InputError `convert-sample`, and as `read_sample`."""
    if asked.sample_dataset is not None:
        with datasets.open(asked.sample_dataset) as version:
            datasets.check_trainable(Ref(version.about.name, version.about.number, version.about.project))
            features = [column["name"] for column in version.schema["columns"] if column["role"] != "target"]
            return _Rows(sample=read_rows(version.parquet, features, insecure=insecure), of=version.about)
    if asked.sample:
        with seal_bytes([asked.sample], name="sample") as file:
            return _Rows(sample=read_sample(file, asked.sample_name, insecure=insecure))
    return _Rows()


def _pieces(upload: Upload) -> Iterator[bytes]:
    for start in range(0, upload.size, _CHUNK):
        yield upload.read_at(start, _CHUNK)
