"""Provenance that an outside trainer signed: whether a push may rest on it, and what the version then says of its origin.

Nothing here is about how good a model is. It says: somebody who is trusted for this model signed that exactly these files
came out of that training, on that dataset version, and nobody has used that word before.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from datetime import datetime, timedelta
from typing import Final, Literal

import msgspec

from casemate.core import Digest, SealedFile, VerificationError, canonical, digest_of, parse_rfc3339, rfc3339
from casemate.registry.signers import ANY_MODEL, Known, Signer, signers_of
from casemate.registry.stores import Pen, Stores, unreadable
from casemate.registry.versions import Manifest, OutsideLineage, Version
from casemate.signing.outside import Named, PublicKeyJudge, Signed, as_bundle, named_in
from casemate.signing.provenance import OutsideTraining, is_bare_statement, read_provenance
from casemate.storage import LedgerEntry

USED: Final = "provenance"
_AHEAD = timedelta(minutes=5)  # that an outside clock may be before ours
_PARQUET = "data.parquet"
_VAGUE = frozenset({"signer-not-trusted", "signature-invalid", "certificate-not-trusted", "signature-malformed"})


class Used(msgspec.Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """A ledger body: this statement stands behind that content of that model, and behind nothing else."""

    statement: Digest
    model: str
    content: Digest  # of the version's manifest
    finished: str
    signer: str
    schema: Literal[1] = 1


@dataclass(frozen=True, slots=True, kw_only=True)
class Brought:
    """What whoever pushes brings. Args: data: a Sigstore bundle or DSSE envelope around SLSA provenance.

    script, environment: what they say that the training was with; None: nothing is compared.
    """

    data: bytes
    script: Digest | None = None
    environment: Digest | None = None


@dataclass(frozen=True, slots=True, kw_only=True)
class Believed:
    """Provenance that holds for these files now. Args: envelope: as it is stored."""

    envelope: bytes
    lineage: OutsideLineage


def check_provenance(
    stores: Stores,
    brought: Brought,
    name: str,
    files: Mapping[str, SealedFile],
    *,
    dataset: Version | None = None,
) -> Believed:
    """Return what may be believed of what was brought.

    Args: name: of the model. files: of the push, as they were sealed. dataset: the version that whoever pushes names.
    Raises: VerificationError: `provenance-unsigned`, `signature-malformed`, `signature-invalid`, `signer-not-trusted`,
        `signer-removed`, `signer-expired`, `signer-not-for-model`, `builder-not-trusted`, `certificate-expired` and the
        others of `certificates.check_chain`, `predicate-mismatch`, `provenance-malformed`, `provenance-incomplete`,
        `provenance-time`, `provenance-other-model`, `provenance-dataset`, `provenance-script`, `provenance-environment`.
    """
    data = brought.data
    if is_bare_statement(data):
        raise VerificationError(
            "Nobody signed this provenance: bring the signed envelope, or name it with --signature.",
            code="provenance-unsigned",
        )
    bundle, now = as_bundle(data), stores.clock.now()
    known = signers_of(stores)
    accepted = _judged(bundle, known, now=now)
    training = read_provenance(accepted[0][1].payload)
    signer, signed = _trusted(accepted, known, training, name, now=now)
    _check_files(training, name, {path: file.digest for path, file in files.items()})
    _check_origin(training, dataset, brought)
    finished = _finished(training, signed, now=now)
    lineage = OutsideLineage(
        statement=digest_of(signed.payload),
        envelope=digest_of(data),
        signer=signer.id,
        signer_name=signer.name,
        method=signed.method,
        signed_by=signed.signer,
        signed_at=rfc3339(signed.at) if signed.at else "",
        finished=finished,
        training=msgspec.structs.replace(training, files={}),  # the manifest has them
    )
    return Believed(envelope=data, lineage=lineage)


def use_provenance(stores: Stores, pen: Pen, believed: Believed, manifest: Manifest, *, intent: str) -> None:
    """Say in the ledger that a statement stands behind this content, for good; nothing where it does already.

    To be asked under `deciding`: a signer may have been removed meanwhile, or the statement used.
    Raises: VerificationError `signer-removed`, `provenance-replayed`; `provenance-older`: it finished before the training
        that another version of this model rests on, so an old model would come back as the newest.
    """
    outside = believed.lineage
    if outside.signer in signers_of(stores).removed:
        raise _removed(outside.signer_name)
    model, content = manifest.name, digest_of(canonical(manifest))
    used = _used_of(stores)
    before = used.get(outside.statement)
    if before is not None and (before.model, before.content) != (model, content):
        raise VerificationError(
            f"This provenance stands behind a version of {before.model} already, and one statement is good for one "
            "version: have the trainer sign another.",
            code="provenance-replayed",
        )
    if before is not None:
        return
    newest = max((one.finished for one in used.values() if one.model == model), default="")
    if outside.finished < newest:
        raise VerificationError(
            f"This training ended at {outside.finished}, before the newest one of {model} with provenance from outside "
            f"({newest}): an older model is not pushed again as the newest. Train it again, or push it under another name.",
            code="provenance-older",
        )
    body = Used(
        statement=outside.statement, model=model, content=content, finished=outside.finished, signer=outside.signer
    )
    pen.commit([(USED, msgspec.to_builtins(body))], intent)


_Accepted = list[tuple[Signer, Signed]]


def _judged(bundle: bytes, known: Known, *, now: datetime) -> _Accepted:
    """The signers that it is of, those that count first, with what was signed: at least one.

    Raises: VerificationError: of nobody that is or was known; the reason that says most.
    """
    named = named_in(bundle)
    accepted: _Accepted = []
    refused: list[tuple[bool, VerificationError]] = []
    for signer in known.all():
        if not _may_be(signer, named):
            continue
        judge = signer.judge()
        try:
            accepted.append((signer, judge.open(bundle, now=now)))
        except VerificationError as error:
            # One who names a key of ours, and did not sign this, has altered it.
            told = isinstance(judge, PublicKeyJudge) and named.hint == judge.keyid
            refused.append((error.code in _VAGUE and not told, error))
    if accepted:
        return accepted
    clear = [error for vague, error in refused if not vague]
    if clear:
        raise clear[0]
    raise VerificationError(
        "Whoever signed this provenance is trusted for nothing here: an owner adds them with casemate signer add.",
        code="signer-not-trusted",
    )


def _may_be(signer: Signer, named: Named) -> bool:
    if signer.method == "keyless":
        return named.certificate and named.logged
    return named.certificate is (signer.method == "certificate")


def _trusted(
    accepted: _Accepted, known: Known, training: OutsideTraining, name: str, *, now: datetime
) -> tuple[Signer, Signed]:
    """The first of them that counts for this. Raises: VerificationError: why the first does not."""
    refusals = []
    for signer, signed in accepted:
        refusal = _removed(signer.name) if signer.id in known.removed else _refusal(signer, training, name, now=now)
        if refusal is None:
            return signer, signed
        refusals.append(refusal)
    raise refusals[0]


def _refusal(signer: Signer, training: OutsideTraining, name: str, *, now: datetime) -> VerificationError | None:
    trust = signer.trust
    if now >= signer.until:
        return VerificationError(
            f"The trust in signer {signer.name} ended on {signer.until:%Y-%m-%d}: an owner removes it and adds it anew.",
            code="signer-expired",
        )
    if ANY_MODEL not in trust.models and name not in trust.models:
        return VerificationError(
            f"The signer {signer.name} is trusted for {', '.join(trust.models)}, and not for {name}.",
            code="signer-not-for-model",
        )
    if trust.builders and training.builder not in trust.builders:
        return VerificationError(
            f"The signer {signer.name} is trusted for trainings by {', '.join(trust.builders)}, and this was by "
            f"{training.builder[:200]!r}.",
            code="builder-not-trusted",
        )
    for kind, wanted in (("script", trust.scripts), ("environment", trust.environments)):
        if wanted and not {one.digest for one in training.of(kind)} & set(wanted):
            return VerificationError(
                f"The signer {signer.name} is trusted for one {kind} alone, and this training had another.",
                code=f"provenance-{kind}",
            )
    return None


def _check_files(training: OutsideTraining, name: str, files: Mapping[str, Digest]) -> None:
    other = sorted(path for path in files.keys() | training.files.keys() if files.get(path) != training.files.get(path))
    if other or (training.model and training.model != name):
        what = f"a model {training.model!r}" if not other else f"other files than these: {other[0]!r} is not the same"
        raise VerificationError(
            f"This provenance is about {what}: bring the statement of this very model.", code="provenance-other-model"
        )


def _check_origin(training: OutsideTraining, dataset: Version | None, brought: Brought) -> None:
    if not training.of("script") and not training.of("repository"):
        raise VerificationError(
            "This provenance names neither a script nor a repository, so nobody can tell what ran.",
            code="provenance-incomplete",
        )
    named = {one.digest for one in training.dependencies if one.digest}
    if dataset is not None and not named & _digests(dataset):
        raise VerificationError(
            f"This provenance does not name {dataset.about.name}@{dataset.number} by its digest: it was trained on other "
            "rows, or they were changed. Name the version that it was trained on.",
            code="provenance-dataset",
        )
    for kind, wanted in (("script", brought.script), ("environment", brought.environment)):
        if wanted is not None and wanted not in {one.digest for one in training.of(kind)}:
            raise VerificationError(
                f"The {kind} that you name is not the one of this training.", code=f"provenance-{kind}"
            )


def _digests(dataset: Version) -> set[Digest]:
    """What a trainer can know a version by: its own digest, and that of its rows as they are pulled."""
    rows = dataset.read_manifest().files.get(_PARQUET)
    return {dataset.digest, *([rows.digest] if rows else [])}


def _finished(training: OutsideTraining, signed: Signed, *, now: datetime) -> str:
    """When it ended, as stated, or else when it is proven to have been signed."""
    finished = parse_rfc3339(training.finished) if training.finished else signed.at
    started = parse_rfc3339(training.started) if training.started else finished
    if finished is None or started is None:
        raise VerificationError(
            "This provenance does not say when the training ended, and no log or authority dates its signature.",
            code="provenance-incomplete",
        )
    if not started <= finished <= now + _AHEAD:
        raise VerificationError(
            "This training ended before it began, or has yet to end: see to the trainer's clock.",
            code="provenance-time",
        )
    return rfc3339(finished)


def _removed(name: str) -> VerificationError:
    return VerificationError(
        f"The signer {name} was removed: nothing that it signs is believed any more.", code="signer-removed"
    )


def _used_of(stores: Stores) -> dict[Digest, Used]:
    start: dict[Digest, Used] = {}
    return stores.folded(USED, start, _fold)


def _fold(last: dict[Digest, Used], entries: list[LedgerEntry]) -> dict[Digest, Used]:
    found = dict(last)
    for entry in entries:
        try:
            body = msgspec.convert(entry.body, Used)
        except msgspec.ValidationError as error:
            raise unreadable(entry.kind, entry.number) from error
        found[body.statement] = body
    return found
