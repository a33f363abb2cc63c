"""An evaluation of a model on a dataset's Parquet file, in the sandbox: the rows are foreign bytes, and so is what is fitted on them.

The model runs in a process of its own, which neither sees the truth nor the figures; this process sees no file of the model.
"""

from __future__ import annotations

from typing import Any

import msgspec
import numpy as np

from casemate.core import SandboxError, SealedFile, TooLargeError
from casemate.evaluation.answers import Ask, RawAnswer
from casemate.evaluation.claims import Calibration
from casemate.evaluation.report import Columns, EvaluationConfig, EvaluationReport
from casemate.sandbox import TOO_MUCH, Limits, run_confined

_ENTRY = "casemate.evaluation.job:main"
_FINGERPRINT = "casemate.evaluation.job:fingerprint"
_FINGERPRINT_ROWS = 4000  # that reference models are trained on; more only take longer
SECONDS = 3600.0
_MEMORY = 6 << 30  # bytes
# One thread for each library: fits of small tables are fastest so, and a shared machine is not held up by threads that spin.
_LIMITS = Limits(memory=_MEMORY, cpu_seconds=2 * int(SECONDS), file_bytes=0, threads=4)
_MOST_ROWS, _MOST_NUMBERS = 4096, 2 << 20  # of one question


class Chosen(msgspec.Struct, frozen=True, kw_only=True):
    """The questions of a fingerprint, with the model's answers by name."""

    queries: tuple[tuple[float, ...], ...]
    answers: tuple[str, ...]
    classes: tuple[str, ...]
    features: tuple[str, ...]
    calibration: Calibration


class _Made(msgspec.Struct, forbid_unknown_fields=True):
    classes: list[str]
    answers: list[int]
    agreed: list[int]
    families: list[str]
    features: list[str]
    chance: float
    rows: int
    width: int


def evaluate_dataset(
    parquet: SealedFile,
    ask: Ask,
    *,
    columns: Columns,
    members: SealedFile | None = None,
    config: EvaluationConfig | None = None,
    insecure: bool = False,
) -> EvaluationReport:
    """Measure a model on a table as `scanning` makes them. Blocks.

    Args: ask: the model. members: the table that it was trained on.
    Raises: InputError `evaluate-columns`, `evaluate-rows`, `evaluate-outputs`, `evaluate-failed`; TooLargeError
        `evaluate-too-large`; SandboxError; what `ask` raises.
    """
    try:
        frame = run_confined(
            _ENTRY,
            {
                "columns": msgspec.to_builtins(columns),
                "config": msgspec.to_builtins(config or EvaluationConfig()),
            },
            files=[parquet] if members is None else [parquet, members],
            limits=_LIMITS,
            timeout=SECONDS,
            insecure=insecure,
            asked=lambda message, buffers: answered(ask, message, buffers, width=columns.width),
        )
        return msgspec.convert(frame.message, EvaluationReport)
    except msgspec.ValidationError as error:
        raise SandboxError("The evaluation broke the protocol.", code="sandbox-protocol") from error
    except SandboxError as error:
        if error.code in TOO_MUCH:
            raise TooLargeError(
                "The evaluation takes more memory or time than it may: evaluate on a sample of the rows.",
                code="evaluate-too-large",
            ) from error
        raise


def choose_questions(
    parquet: SealedFile,
    ask: Ask,
    *,
    columns: Columns,
    count: int,
    seed: int,
    config: EvaluationConfig | None = None,
    insecure: bool = False,
) -> Chosen:
    """The questions of a fingerprint, chosen in the sandbox. Blocks. Args: seed: secret; see `claims.seed_of`.

    Raises: InputError `fingerprint-rows`, and as `evaluate_dataset`.
    """
    frame = run_confined(
        _FINGERPRINT,
        {
            "columns": msgspec.to_builtins(columns),
            "config": msgspec.to_builtins(config or EvaluationConfig(rows=_FINGERPRINT_ROWS)),
            "count": count,
            "seed": f"{seed:x}",
        },
        files=[parquet],
        limits=_LIMITS,
        timeout=SECONDS,
        insecure=insecure,
        asked=lambda message, buffers: answered(ask, message, buffers, width=columns.width),
    )
    try:
        made = msgspec.convert(frame.message, _Made)
        queries = np.frombuffer(frame.buffers[0], np.float64).reshape(made.rows, made.width)
        if made.rows != len(made.answers) or made.width != columns.width or not np.isfinite(queries).all():
            raise ValueError("another shape")
        answers = tuple(made.classes[place] for place in made.answers)
    except (msgspec.ValidationError, ValueError, IndexError) as error:
        raise SandboxError("The fingerprint broke the protocol.", code="sandbox-protocol") from error
    return Chosen(
        queries=tuple(tuple(row) for row in queries.tolist()),
        answers=answers,
        classes=tuple(made.classes),
        features=tuple(made.features),
        calibration=Calibration(references=tuple(made.agreed), families=tuple(made.families), chance=made.chance),
    )


def answered(ask: Ask, message: Any, buffers: list[bytearray], *, width: int) -> tuple[Any, list[bytes]]:
    """What the confined side gets for a question. Both are foreign. Raises: SandboxError `sandbox-protocol`; as `ask`."""
    try:
        rows = message["rows"]
        if (
            type(rows) is not int
            or not 0 < rows <= _MOST_ROWS
            or message["width"] != width
            or rows * width > _MOST_NUMBERS
        ):
            raise ValueError("another shape")
        given = np.frombuffer(buffers[0], np.float64).reshape(rows, width)
    except (TypeError, KeyError, ValueError, IndexError) as error:
        raise SandboxError("The evaluation broke the protocol.", code="sandbox-protocol") from error
    return _told(ask(given))


def _told(answer: RawAnswer) -> tuple[Any, list[bytes]]:
    parts, buffers, names = [], [], []
    if answer.labels is not None:
        found, places = np.unique(answer.labels, return_inverse=True)
        names = [str(one)[:200] for one in found]
        parts.append("labels")
        buffers.append(places.astype(np.int64).tobytes())
    for name, array in (("scores", answer.scores), ("values", answer.values)):
        if array is not None:
            parts.append(name)
            buffers.append(np.ascontiguousarray(array, np.float64).tobytes())
    return {"parts": parts, "names": names}, buffers
