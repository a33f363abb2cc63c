"""An evaluation: a version behind its walls, its rows behind others, and nothing but numbers between the two."""

from __future__ import annotations

import msgspec

from casemate.core import SealedFile
from casemate.evaluation import Columns, EvaluationConfig, EvaluationReport, answer_of, evaluate_dataset
from casemate.runtime import QueriedModel
from casemate.signing import VerifiedModel


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
    with QueriedModel(model, insecure=insecure) as queried:
        return evaluate_dataset(
            parquet,
            lambda rows: answer_of(queried.ask(rows), len(rows)),
            columns=msgspec.structs.replace(columns, width=queried.width, features=queried.features),
            members=members,
            config=config,
            insecure=insecure,
        )
