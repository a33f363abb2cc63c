"""The first half of a conversion: a pickle is loaded in a confined process, which writes its export and then predicts.

The export is sealed before the process gets the rows, so that nothing of them can be in it.
"""

from __future__ import annotations

import os
from dataclasses import dataclass
from typing import Annotated, Any

import msgspec
import numpy as np

from casemate.core import InputError, SandboxError, SealedFile, Severity, VerificationError, memory_file
from casemate.runtime.conversion_rows import MADE_ROWS, made_rows
from casemate.runtime.startup import printable
from casemate.runtime.tensors import Array
from casemate.runtime.training_findings import attempts_of
from casemate.sandbox import Denial, Limits, run_confined

MOST_NAME = 200  # characters
_MOST_WARNING = 300  # the same
_ENTRY = "casemate.runtime.conversion_job:main"
_LIMITS = Limits(memory=4 << 30, cpu_seconds=120, file_bytes=1 << 30)
_TIMEOUT = 120.0  # seconds


class _Written(msgspec.Struct, forbid_unknown_fields=True):
    """What the pickle's process says once it has written its export."""

    estimator: str
    width: Annotated[int, msgspec.Meta(ge=1, le=1 << 16)]
    warnings: Annotated[list[str], msgspec.Meta(max_length=10)]


class _Answer(msgspec.Struct, forbid_unknown_fields=True):
    shapes: dict[str, list[int]]


@dataclass(frozen=True, slots=True, kw_only=True)
class Export:
    """What a pickle became, and the rows that its process was asked about afterwards."""

    file: SealedFile
    rows: Array
    estimator: str
    warnings: tuple[str, ...]


def exported(source: SealedFile, to: str, rows: Array | None, *, insecure: bool) -> tuple[Export, dict[str, Array]]:
    """What the pickle became, and what its process says that the pickle predicts: numbers, as many as there are rows.

    Args: to: as the job knows it. rows: of the sample; None: made-up ones.
    Raises: InputError `convert-module`, `convert-load`, `convert-estimator`, `convert-unsupported`, `convert-sample`;
        VerificationError `convert-attempt`; SandboxError.
    """
    taking, denials = _Taking(rows), list[Denial]()
    try:
        frame = run_confined(
            _ENTRY,
            {"to": to},
            files=[source],
            outputs=[taking.output],
            limits=_LIMITS,
            timeout=_TIMEOUT,
            insecure=insecure,
            denials=denials,
            asked=taking,
        )
        _check_attempts(denials, taking)
        if taking.export is None:
            raise _protocol()
        said = _arrays(msgspec.convert(frame.message, _Answer).shapes, frame.buffers, len(taking.export.rows))
    except BaseException as error:
        taking.drop()
        if isinstance(error, InputError | SandboxError):
            _check_attempts(denials, taking)
            if taking.export is not None and error.details.get("foreign"):
                raise _fails() from error
        if isinstance(error, msgspec.ValidationError | ValueError | TypeError):
            raise _protocol() from error
        raise
    return taking.export, said


class _Taking:
    """Takes the export of a pickle's process, once, before that process gets the rows of the sample."""

    def __init__(self, rows: Array | None) -> None:
        self._rows, self.output = rows, memory_file("converted")
        self.export: Export | None = None

    def __call__(self, message: Any, buffers: list[bytearray]) -> tuple[Any, list[bytes]]:
        """Raises: SandboxError `sandbox-protocol`; InputError `convert-sample`; VerificationError `convert-attempt`."""
        try:
            said = msgspec.convert(message, _Written)
        except msgspec.ValidationError as error:
            raise _protocol() from error
        if self.export is not None or buffers:
            raise _protocol()
        rows = made_rows(MADE_ROWS, said.width) if self._rows is None else self._rows
        if rows.shape[1] != said.width:
            raise InputError(
                f"The sample has {rows.shape[1]} columns, the model takes {said.width}.", code="convert-sample"
            )
        self.export = Export(
            file=self._sealed(),
            rows=rows,
            estimator=printable(said.estimator, MOST_NAME),
            warnings=tuple(printable(text, _MOST_WARNING) for text in said.warnings),
        )
        return {"rows": len(rows)}, [rows.tobytes()]

    def _sealed(self) -> SealedFile:
        output, self.output = self.output, -1
        try:
            return SealedFile(output)
        except OSError as error:  # a page of it is still mapped for writing
            raise _hostile("it keeps hold of its export") from error

    def drop(self) -> None:
        if self.export is not None:
            self.export.file.close()
        if self.output >= 0:
            os.close(self.output)


def _check_attempts(denials: list[Denial], taking: _Taking) -> None:
    """Raises: VerificationError `convert-attempt`; what it reached for is not told once it has seen rows: it may be rows."""
    attempts = [one for one in attempts_of(denials) if one.severity is not Severity.INFO]
    if attempts:
        raise _hostile(attempts[0].evidence if taking.export is None else "while it predicted")


def _fails() -> InputError:
    """In words of ours: those of a process that has seen rows may hold them."""
    return InputError(
        "The pickle's model fails on the sample, or gives more than can be compared: see that its rows are as those that it was "
        "trained on, with nothing missing, or name fewer.",
        code="convert-sample",
    )


def _hostile(what: str) -> VerificationError:
    return VerificationError(
        f"The pickle tried what no model does ({what}); it was stopped. Treat it as hostile.", code="convert-attempt"
    )


def _protocol() -> SandboxError:
    return SandboxError("The conversion broke the protocol.", code="sandbox-protocol")


def _arrays(shapes: dict[str, list[int]], buffers: list[Any], rows: int) -> dict[str, Array]:
    """Raises: ValueError: sizes that are not those of its shapes, or other rows than were given."""
    if not shapes.keys() <= {"label", "probabilities"} or len(shapes) != len(buffers) or "label" not in shapes:
        raise ValueError("other outputs")
    if any(not shape or shape[0] != rows for shape in shapes.values()):
        raise ValueError("other rows")
    return {
        name: np.frombuffer(buffer, np.float64).reshape(shape)
        for (name, shape), buffer in zip(shapes.items(), buffers, strict=True)
    }
