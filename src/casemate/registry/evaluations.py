"""Evaluating versions of models: what is found is signed, judged by gates that an owner sets, and asked for before promotion."""

from __future__ import annotations

from collections.abc import Sequence
from contextlib import ExitStack
from typing import Any, Protocol

import msgspec

from casemate.core import (
    InputError,
    NotFoundError,
    Principal,
    Ref,
    SealedFile,
    checked_name,
    digest_of,
    rfc3339,
)
from casemate.evaluation import Columns, EvaluationConfig, EvaluationReport
from casemate.evaluation.gates import in_force, parse_gate
from casemate.registry.datasets import Datasets, writable
from casemate.registry.evaluation_records import (
    EVALUATED,
    EvaluationRecord,
    check_promotable,
    dataset_ref,
    evaluation_of,
    evaluation_standing,
    exception_entry,
    gates_entry,
    gates_of,
    is_evaluated,
    open_evaluation,
)
from casemate.registry.models import Models
from casemate.registry.sealed_statements import keep_sealed
from casemate.registry.stores import Pen, Stores
from casemate.registry.versions import Version
from casemate.signing import Predicate, VerifiedModel, VersionIdentity, sign_statement

_MOST_NAMED = 20  # columns of one kind
_CLIP = 1000  # characters of a column's name


class Asked(msgspec.Struct, frozen=True, kw_only=True):
    """How a version is to be evaluated. Args: on: the dataset with the rows. members: that with the training rows; None: the
    one that the version names as its origin. The rest: columns, as in `evaluation.Columns`."""

    on: Ref
    label: str
    members: Ref | None = None
    slices: tuple[str, ...] = ()
    groups: tuple[str, ...] = ()
    sensitive: tuple[str, ...] = ()
    positive: str = ""


class Evaluate(Protocol):
    """Measures a model behind the walls: `app.evaluation.evaluate`."""

    def __call__(
        self,
        model: VerifiedModel,
        parquet: SealedFile,
        *,
        columns: Columns,
        members: SealedFile | None = None,
        config: EvaluationConfig | None = None,
    ) -> EvaluationReport: ...


class Evaluations:
    """The evaluations of one project's models."""

    def __init__(self, stores: Stores, datasets: Datasets, models: Models, pen: Pen, *, measure: Evaluate) -> None:
        self._stores, self._datasets, self._models, self._pen = stores, datasets, models, writable(pen)
        self._measure = measure

    def evaluate(self, ref: Ref, asked: Asked, *, actor: Principal, intent: str) -> dict[str, Any]:
        """Measure a version on a dataset's rows, and say what was found, signed.

        Returns: name, version, digest, `evaluation` as `model show` has it, `report`.
        Raises: NotFoundError; VerificationError; InputError, TooLargeError, SandboxError as `evaluate_dataset`.
        """
        _check(asked)
        version = self._models.find(ref)
        origin = self._origin(version, asked)
        with ExitStack() as closing:
            model = closing.enter_context(self._models.load_version(version))
            rows = closing.enter_context(self._datasets.open(asked.on))
            same = origin is not None and origin.digest == rows.about.digest
            known = closing.enter_context(self._datasets.open(dataset_ref(origin))) if origin and not same else None
            members = rows.parquet if same else known.parquet if known else None
            columns = Columns(
                label=asked.label,
                width=0,  # the model says
                slices=asked.slices,
                groups=asked.groups,
                sensitive=asked.sensitive,
                positive=asked.positive,
            )
            report = self._measure(model, rows.parquet, columns=columns, members=members)
            on = rows.about
        return self._record(version, asked, report, on=on, members=origin, actor=actor, intent=intent)

    def report(self, ref: Ref) -> dict[str, Any]:
        """All that the last evaluation of a version said. Raises: NotFoundError `not-evaluated`; VerificationError."""
        version = self._models.find(ref)
        record = evaluation_of(self._stores, version)
        if record is None:
            name = f"{version.about.name}@{version.number}"
            raise NotFoundError(
                f"{name} was not evaluated: casemate model evaluate {name} --on DATASET --label COLUMN.",
                code="not-evaluated",
            )
        said = open_evaluation(self._stores, version, record)
        return {**_identity(version), "evaluation": self._summary(version), "report": said["report"]}

    def is_evaluated(self, ref: Ref) -> bool:
        """Whether the gates of a version let it pass, or an owner did. Raises: NotFoundError; VerificationError."""
        return is_evaluated(self._stores, self._models.find(ref))

    def check_promotable(self, ref: Ref) -> None:
        """As `evaluation_records.check_promotable`. Raises: NotFoundError; PolicyError; VerificationError."""
        check_promotable(self._stores, self._models.find(ref))

    def gates(self, name: str) -> dict[str, Any]:
        """What versions of a model must meet: `stated` gates, `gates` in force, and on which dataset. Raises: NotFoundError."""
        self._models.find(Ref(name))
        kept = gates_of(self._stores, name)
        return {
            "name": name,
            "gates": [str(gate) for gate in in_force(kept.gates if kept else ())],
            "stated": [str(gate) for gate in kept.gates] if kept else [],
            "on": kept.on if kept else "",
            "label": kept.label if kept else "",
            "by": kept.by if kept else "",
            "reason": kept.reason if kept else "",
            "at": kept.at if kept else "",
        }

    def set_gates(
        self,
        name: str,
        *,
        set_gates: Sequence[str] = (),
        unset: Sequence[str] = (),
        on: str | None = None,
        label: str | None = None,
        reason: str,
        actor: Principal,
        intent: str,
    ) -> dict[str, Any]:
        """Change what versions of a model must meet. What is not named stays.

        Args: unset: metrics whose default holds again. on, label: empty: whichever; None: as before.
        Raises: NotFoundError; InputError `bad-gate`.
        """
        self._models.find(Ref(name))
        given = [parse_gate(text) for text in set_gates]
        with self._pen.deciding:
            kept = gates_of(self._stores, name)
            gates = {(gate.metric, gate.bound): gate for gate in (kept.gates if kept else ())}
            if unknown := set(unset) - {metric for metric, _ in gates}:
                raise InputError(f"No gate was set on {min(unknown)[:80]!r}: nothing to unset.", code="bad-gate")
            gates |= {(gate.metric, gate.bound): gate for gate in given}
            entry = gates_entry(
                self._stores,
                name,
                tuple(gate for gate in gates.values() if gate.metric not in unset),
                on=checked_name(on) if on else "" if on is not None else kept.on if kept else "",
                label=label if label is not None else kept.label if kept else "",
                reason=reason,
                actor=actor,
            )
            self._pen.commit([entry], intent)
        return self.gates(name)

    def except_version(
        self, ref: Ref, *, ended: bool = False, reason: str, actor: Principal, intent: str
    ) -> dict[str, Any]:
        """Let a version pass whatever its gates say, or do so no more. Raises: NotFoundError; InputError `no-reason`."""
        if not reason:
            raise InputError("Say why the gates do not hold for it: --reason TEXT.", code="no-reason")
        version = self._models.find(ref)
        self._pen.commit([exception_entry(self._stores, version, reason=reason, ended=ended, actor=actor)], intent)
        return {**_identity(version), "state": evaluation_standing(self._stores, version).state.value}

    def members_of(self, ref: Ref, stated: Ref | None) -> Ref | None:
        """The dataset whose rows an evaluation takes for members: as stated, or the version's own origin."""
        if stated is not None:
            return stated
        lineage = self._models.find(ref).read_manifest().lineage
        return dataset_ref(lineage.dataset) if lineage and lineage.dataset else None

    def _origin(self, version: Version, asked: Asked) -> VersionIdentity | None:
        """The dataset version whose rows count as members; one that is gone counts as not known."""
        if asked.members is not None:
            return self._datasets.find(asked.members).about
        lineage = version.read_manifest().lineage
        if lineage is None or lineage.dataset is None:
            return None
        try:
            return self._datasets.find(dataset_ref(lineage.dataset)).about
        except NotFoundError:
            return None

    def _record(
        self,
        version: Version,
        asked: Asked,
        report: EvaluationReport,
        *,
        on: VersionIdentity,
        members: VersionIdentity | None,
        actor: Principal,
        intent: str,
    ) -> dict[str, Any]:
        stores, now = self._stores, self._stores.clock.now()
        said = {
            "on": msgspec.to_builtins(on),
            "members": msgspec.to_builtins(members),
            "label": asked.label,
            "by": actor.id,
            "report": msgspec.to_builtins(report),
        }
        envelope = sign_statement(Predicate.EVALUATION, version.about, said, signer=self._pen.signer, at=now)
        record = EvaluationRecord(
            about=version.about,
            statement=digest_of(envelope),
            task=report.task,
            on=on,
            members=members,
            label=asked.label,
            rows=report.rows,
            figures=report.figures,
            by=actor.id,
            at=rfc3339(now),
        )
        with self._pen.deciding:  # nobody deletes the version meanwhile
            keep_sealed(stores, version, Predicate.EVALUATION, envelope)
            self._pen.commit([(EVALUATED, msgspec.to_builtins(record))], intent)
        return {
            **_identity(version),
            "state": evaluation_standing(stores, version).state.value,
            "evaluation": self._summary(version),
            "report": msgspec.to_builtins(report),
        }

    def _summary(self, version: Version) -> dict[str, Any]:
        return evaluation_standing(self._stores, version).summary()


def _identity(version: Version) -> dict[str, Any]:
    return {"name": version.about.name, "version": version.number, "digest": version.digest}


def _check(asked: Asked) -> None:
    """Raises: InputError `evaluate-columns`."""
    named = (asked.slices, asked.groups, asked.sensitive)
    if not asked.label or any(len(one) > _MOST_NAMED for one in named):
        raise InputError(
            f"An evaluation needs the column with the truth (--label), and at most {_MOST_NAMED} columns of each other kind.",
            code="evaluate-columns",
        )
    if any(not 0 < len(name) <= _CLIP for one in (*named, (asked.label,)) for name in one):
        raise InputError(f"A column's name has 1 to {_CLIP} characters.", code="evaluate-columns")
