"""A table in whatever file -> normalised Parquet and schema.json, parsed in the sandbox."""

from __future__ import annotations

import os
from typing import Any

import msgspec

from casemate.core import Finding, SandboxError, SealedFile, TooLargeError, memory_file
from casemate.sandbox import Limits, run_confined
from casemate.scanning.limits import DatasetLimits
from casemate.scanning.report import ConvertedDataset

_ENTRY = "casemate.scanning.tables:convert"


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
        SandboxError: `walls-missing`, `sandbox-start`; `sandbox-...` when the conversion itself ended badly.
    """
    limits = limits or DatasetLimits()
    if file.size > limits.file_bytes:
        raise TooLargeError(f"A dataset file has at most {limits.file_bytes} bytes.", code="dataset-too-large")
    output = memory_file("casemate-rows")
    try:
        frame = run_confined(
            _ENTRY,
            {"filename": filename[:200], "target": target, "limits": msgspec.to_builtins(limits)},
            files=[file],
            outputs=[output],
            limits=Limits(memory=limits.memory, cpu_seconds=int(limits.seconds) + 1, file_bytes=limits.file_bytes),
            timeout=limits.seconds,
            insecure=insecure,
        )
        answer = msgspec.convert(frame.message, _Answer)
    except msgspec.ValidationError as error:
        os.close(output)
        raise SandboxError("The conversion broke the protocol.", code="sandbox-protocol") from error
    except BaseException:
        os.close(output)
        raise
    return ConvertedDataset(parquet=SealedFile(output), schema=answer.schema, findings=tuple(answer.findings))
