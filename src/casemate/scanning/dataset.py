"""A table in whatever file -> normalised Parquet and schema.json, parsed in the sandbox."""

from __future__ import annotations

import os
from typing import Any

import msgspec

from casemate.core import Finding, InputError, SandboxError, SealedFile, TooLargeError, memory_file
from casemate.sandbox import Limits, run_confined
from casemate.scanning.limits import DatasetLimits
from casemate.scanning.report import ConvertedDataset

_ENTRY = "casemate.scanning.dataset_conversion:main"
_TOO_MUCH = frozenset({"sandbox-memory", "sandbox-timeout", "sandbox-cpu"})
_NOT_OF_THE_FILE = frozenset({"walls-missing", "sandbox-start"})  # nothing foreign was touched


class _Answer(msgspec.Struct, forbid_unknown_fields=True):
    schema: dict[str, Any]
    findings: list[Finding]


def convert_dataset(
    file: SealedFile,
    filename: str,
    *,
    target: str | None = None,
    limits: DatasetLimits | None = None,
    insecure: bool = False,
) -> ConvertedDataset:
    """Convert CSV, JSON Lines or Parquet, told apart by content, into Parquet of plain columns.

    Args: filename: for messages only. target: the column with the role `target`; the others are features.
    Raises:
        InputError: `dataset-format`, `dataset-encoding`, `dataset-malformed` (names the line), `dataset-columns`,
            `dataset-target`, `dataset-empty`, `dataset-types`.
        TooLargeError: `dataset-too-large`.
        SandboxError: `walls-missing`, `sandbox-start`.
    """
    limits = limits or DatasetLimits()
    limits.check_file(file.size, filename)
    parquet = memory_file("dataset")
    try:
        answer = _convert(file, parquet, filename, target=target, limits=limits, insecure=insecure)
    except BaseException:
        os.close(parquet)
        raise
    # The child is gone, so nobody holds a writable map; sealing would fail if somebody did.
    return ConvertedDataset(parquet=SealedFile(parquet), schema=answer.schema, findings=tuple(answer.findings))


def _convert(
    file: SealedFile, parquet: int, filename: str, *, target: str | None, limits: DatasetLimits, insecure: bool
) -> _Answer:
    try:
        frame = run_confined(
            _ENTRY,
            {"filename": filename[:200], "target": target, "limits": msgspec.to_builtins(limits)},
            files=[file],
            outputs=[parquet],
            limits=Limits(memory=limits.memory, cpu_seconds=int(limits.seconds) + 1, file_bytes=limits.file_bytes),
            timeout=limits.seconds,
            insecure=insecure,
        )
        return msgspec.convert(frame.message, _Answer)
    except SandboxError as error:
        if error.code in _NOT_OF_THE_FILE:
            raise
        if error.code in _TOO_MUCH:
            raise TooLargeError(
                f"{filename} takes more memory or time than a dataset may: split it.", code="dataset-too-large"
            ) from error
        raise InputError(
            f"{filename} cannot be read as a table: export it again as CSV or Parquet.", code="dataset-malformed"
        ) from error
    except msgspec.ValidationError as error:
        raise SandboxError("The conversion broke the protocol.", code="sandbox-protocol") from error
