"""An evaluation: a version behind its walls, its rows behind others, and nothing but numbers between the two."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import msgspec

from casemate.core import InputError, SealedFile
from casemate.signing import VerifiedModel

if TYPE_CHECKING:  # loaded where something is measured, not by every command
    from casemate.evaluation import Columns, EvaluationConfig, EvaluationReport
    from casemate.evaluation.claims import Calibration

_BATCH = 1000  # rows asked at a time


def evaluate(
    model: VerifiedModel,
    parquet: SealedFile,
    *,
    columns: Columns,
    members: SealedFile | None = None,
    config: EvaluationConfig | None = None,
    insecure: bool,
) -> EvaluationReport:
    """Measure a verified model. Args: columns: what the model takes is asked of the model.

    Raises: as `QueriedModel` and `evaluate_dataset`.
    """
    from casemate.evaluation import answer_of, evaluate_dataset
    from casemate.runtime import QueriedModel

    with QueriedModel(model, insecure=insecure) as queried:
        return evaluate_dataset(
            parquet,
            lambda rows: answer_of(queried.ask(rows), len(rows)),
            columns=msgspec.structs.replace(columns, width=queried.width, features=queried.features),
            members=members,
            config=config,
            insecure=insecure,
        )


def choose(
    model: VerifiedModel, parquet: SealedFile, *, label: str, count: int, seed: int, insecure: bool
) -> tuple[dict[str, Any], Calibration]:
    """The questions of a fingerprint, as `claims.Fingerprint` has them, and how often one is agreed on by chance.

    Raises: as `QueriedModel` and `choose_questions`.
    """
    from casemate.evaluation import Columns, answer_of
    from casemate.evaluation.confined import choose_questions
    from casemate.runtime import QueriedModel

    with QueriedModel(model, insecure=insecure) as queried:
        made = choose_questions(
            parquet,
            lambda rows: answer_of(queried.ask(rows), len(rows)),
            columns=Columns(label=label, width=queried.width, features=queried.features),
            count=count,
            seed=seed,
            insecure=insecure,
        )
        given = queried.given
    return {
        "input": given.name,
        "datatype": given.datatype,
        "features": made.features,
        "classes": made.classes,
        "queries": made.queries,
        "answers": made.answers,
    }, made.calibration


def classes_for(model: VerifiedModel, rows: tuple[tuple[float, ...], ...], *, insecure: bool) -> list[str]:
    """The class that a version gives each row, by its name. Raises: InputError `other-inputs`: it takes other rows."""
    import numpy as np

    from casemate.evaluation import answer_of
    from casemate.runtime import QueriedModel

    table = np.array(rows, np.float64)
    with QueriedModel(model, insecure=insecure) as queried:
        if queried.width != table.shape[1]:
            raise InputError(
                f"The fingerprint asks about rows of {table.shape[1]} numbers, and {model.about.name} takes {queried.width}.",
                code="other-inputs",
            )
        parts = [
            answer_of(queried.ask(table[start : start + _BATCH]), len(table[start : start + _BATCH]))
            for start in range(0, len(table), _BATCH)
        ]
    found: list[str] = []
    for part in parts:
        if part.labels is not None:
            found += map(str, part.labels)
        elif part.scores is not None:
            found += map(str, part.scores.argmax(axis=1))
        else:
            assert part.values is not None
            found += map(str, (part.values > 0.5).astype(int))
    return found
