"""What is on record of how models do: what an evaluation found, the gates that a version must meet, and who was excepted."""

from __future__ import annotations

from enum import StrEnum
from typing import Any, Literal

import msgspec

from casemate.core import Digest, PolicyError, Principal, Ref, rfc3339
from casemate.evaluation.gates import Gate, GateResult, has_passed, in_force, judged
from casemate.registry.sealed_statements import open_sealed
from casemate.registry.stores import Stores, T, unreadable
from casemate.registry.versions import Version
from casemate.signing import Predicate, VersionIdentity
from casemate.storage import LedgerEntry

EVALUATED, GATES, EXCEPTED = "evaluated", "model-gates", "gate-exception"


class EvaluationState(StrEnum):
    """Of one version, by the gates of now."""

    NOT_EVALUATED = "not-evaluated"
    PASSED = "passed"
    FAILED = "failed"
    EXCEPTED = "excepted"  # an owner let it pass, whatever the gates say


class EvaluationRecord(msgspec.Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """A ledger body: the figures of an evaluation. Args: statement: digest of the signed statement that says all. on: the
    dataset version with the rows; members: that with the training rows, None where none is known."""

    about: VersionIdentity
    statement: Digest
    task: str
    on: VersionIdentity
    members: VersionIdentity | None
    label: str
    rows: int
    figures: dict[str, float]
    by: str
    at: str
    schema: Literal[1] = 1


class GatesRecord(msgspec.Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """A ledger body: from here on, versions of this model must meet these. Args: on, label: the dataset and its column that
    they are evaluated on; empty: whichever."""

    project: str
    name: str
    gates: tuple[Gate, ...]
    on: str
    label: str
    by: str
    reason: str
    at: str
    schema: Literal[1] = 1


class ExceptionRecord(msgspec.Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """A ledger body: this version may be promoted whatever the gates say; `ended`: it may not any more."""

    about: VersionIdentity
    reason: str
    by: str
    at: str
    ended: bool = False
    schema: Literal[1] = 1


class Standing(msgspec.Struct, frozen=True, kw_only=True):
    """How a version stands. Args: evaluations: how many there were. elsewhere: why the last does not count; empty: it does."""

    state: EvaluationState
    evaluation: EvaluationRecord | None = None
    evaluations: int = 0
    results: tuple[GateResult, ...] = ()
    elsewhere: str = ""
    exception: ExceptionRecord | None = None

    def summary(self) -> dict[str, Any]:
        """What `model show` and the card tell: no value of a slice or group."""
        told: dict[str, Any] = {"state": self.state.value}
        if self.evaluation is not None:
            one = self.evaluation
            told |= {"on": _named(one.on), "members": one.members and _named(one.members), "label": one.label}
            told |= {"task": one.task, "rows": one.rows, "figures": dict(one.figures), "by": one.by, "at": one.at}
            told |= {"evaluations": self.evaluations, "gates": msgspec.to_builtins(self.results)}
        if self.elsewhere:
            told["elsewhere"] = self.elsewhere
        if self.exception is not None:
            told["exception"] = {"reason": self.exception.reason, "by": self.exception.by, "at": self.exception.at}
        return told


_Evaluated = dict[VersionIdentity, tuple[int, EvaluationRecord]]  # how many, and the last
_Gates = dict[tuple[str, str], GatesRecord]
_Excepted = dict[VersionIdentity, ExceptionRecord]


def gates_of(stores: Stores, name: str) -> GatesRecord | None:
    """What was set for a model; None: the defaults alone. Raises: VerificationError."""
    found: _Gates = stores.folded(GATES, {}, _fold_gates)
    return found.get((stores.project, name))


def evaluation_of(stores: Stores, version: Version) -> EvaluationRecord | None:
    """The last. Raises: VerificationError."""
    evaluated: _Evaluated = stores.folded(EVALUATED, {}, _fold_evaluated)
    found = evaluated.get(version.about)
    return found and found[1]


def evaluation_standing(stores: Stores, version: Version) -> Standing:
    """How a version stands by the gates of now. Raises: VerificationError."""
    evaluated: _Evaluated = stores.folded(EVALUATED, {}, _fold_evaluated)
    excepted: _Excepted = stores.folded(EXCEPTED, {}, _fold_excepted)
    number, last = evaluated.get(version.about, (0, None))
    kept = gates_of(stores, version.about.name)
    exception = excepted.get(version.about)
    results = judged(last.figures, in_force(kept.gates if kept else ())) if last else ()
    elsewhere = _elsewhere(last, kept) if last and kept else ""
    state = EvaluationState.NOT_EVALUATED
    if exception is not None:
        state = EvaluationState.EXCEPTED
    elif last is not None:
        state = EvaluationState.PASSED if has_passed(results) and not elsewhere else EvaluationState.FAILED
    return Standing(
        state=state, evaluation=last, evaluations=number, results=results, elsewhere=elsewhere, exception=exception
    )


def is_evaluated(stores: Stores, version: Version) -> bool:
    """Whether its gates let it pass, or an owner did. Raises: VerificationError."""
    return evaluation_standing(stores, version).state in (EvaluationState.PASSED, EvaluationState.EXCEPTED)


def check_promotable(stores: Stores, version: Version) -> None:
    """Return when a version may be promoted under `strict`, as far as its evaluation goes.

    Raises: PolicyError `not-evaluated`, `evaluation-failed`; VerificationError `evaluation-missing`, `evaluation-altered`.
    """
    standing, name = evaluation_standing(stores, version), f"{version.about.name}@{version.number}"
    if standing.state is EvaluationState.EXCEPTED:
        return
    if standing.evaluation is None:
        raise PolicyError(
            f"strict serves only what was evaluated, and {name} was not: casemate model evaluate {name} --on DATASET "
            f"--label COLUMN. Or an owner lets it pass: casemate model except {name} --reason WHY.",
            code="not-evaluated",
        )
    open_evaluation(stores, version, standing.evaluation)
    if standing.state is EvaluationState.FAILED:
        failed = [f"{one.gate} ({_figure(one.found)})" for one in standing.results if one.passed is False]
        raise PolicyError(
            f"The evaluation of {name} does not pass: {', '.join(failed) or standing.elsewhere}. See casemate model "
            f"evaluation {name}; deploy another version, change the gates (casemate model gates {version.about.name}), or let an "
            f"owner except it: casemate model except {name} --reason WHY.",
            code="evaluation-failed",
        )


def open_evaluation(stores: Stores, version: Version, record: EvaluationRecord) -> dict[str, Any]:
    """What the signed statement of an evaluation says. Raises: VerificationError `evaluation-missing`, `evaluation-altered`."""
    again = f"casemate model evaluate {version.about.name}@{version.number}"
    return open_sealed(stores, version, Predicate.EVALUATION, record.statement, what="evaluation", again=again)


def gates_entry(
    stores: Stores, name: str, gates: tuple[Gate, ...], *, on: str, label: str, reason: str, actor: Principal
) -> tuple[str, dict[str, Any]]:
    """The ledger entry that sets a model's gates."""
    record = GatesRecord(
        project=stores.project, name=name, gates=gates, on=on, label=label, by=actor.id, reason=reason, at=_now(stores)
    )
    return GATES, msgspec.to_builtins(record)


def exception_entry(
    stores: Stores, version: Version, *, reason: str, ended: bool, actor: Principal
) -> tuple[str, dict[str, Any]]:
    """The ledger entry that lets a version pass, or does so no more."""
    record = ExceptionRecord(about=version.about, reason=reason, by=actor.id, at=_now(stores), ended=ended)
    return EXCEPTED, msgspec.to_builtins(record)


def dataset_ref(about: VersionIdentity) -> Ref:
    """Exactly this version."""
    return Ref(about.name, about.digest, about.project)


def _elsewhere(last: EvaluationRecord, kept: GatesRecord) -> str:
    """Why an evaluation does not count for these gates; empty: it does."""
    if kept.on and last.on.name != kept.on:
        return f"it was evaluated on {last.on.name}, and the gates ask for {kept.on}"
    if kept.label and last.label != kept.label:
        return f"it was evaluated on the column {last.label}, and the gates ask for {kept.label}"
    return ""


def _figure(found: float | None) -> str:
    return "not measured" if found is None else f"{found:.4g}"


def _named(about: VersionIdentity) -> str:
    return f"{about.name}@{about.number}"


def _now(stores: Stores) -> str:
    return rfc3339(stores.clock.now())


def _fold_evaluated(last: _Evaluated, entries: list[LedgerEntry]) -> _Evaluated:
    found = dict(last)
    for entry in entries:
        one = _read(entry, EvaluationRecord)
        found[one.about] = (found.get(one.about, (0,))[0] + 1, msgspec.structs.replace(one, at=entry.at))
    return found


def _fold_gates(last: _Gates, entries: list[LedgerEntry]) -> _Gates:
    records = [_read(entry, GatesRecord) for entry in entries]
    return last | {(one.project, one.name): one for one in records}


def _fold_excepted(last: _Excepted, entries: list[LedgerEntry]) -> _Excepted:
    found = dict(last)
    for entry in entries:
        one = _read(entry, ExceptionRecord)
        if one.ended:
            found.pop(one.about, None)
        else:
            found[one.about] = msgspec.structs.replace(one, at=entry.at)
    return found


def _read(entry: LedgerEntry, shape: type[T]) -> T:
    try:
        return msgspec.convert(entry.body, shape)
    except msgspec.ValidationError as error:
        raise unreadable(entry.kind, entry.number) from error
