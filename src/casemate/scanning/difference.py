"""What differs between two stored tables, found in the sandbox."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any, Literal

import msgspec

from casemate.core import SandboxError, SealedFile, TooLargeError
from casemate.sandbox import TOO_MUCH, Limits, run_confined
from casemate.scanning.limits import DatasetLimits

_ENTRY = "casemate.scanning.table_difference:main"


class RowCounts(msgspec.Struct, frozen=True, kw_only=True):
    """Args: changed: rows of one key that differ; None without a key: such a row was removed and another added."""

    before: int
    after: int
    added: int
    removed: int
    changed: int | None


class ColumnShift(msgspec.Struct, frozen=True, kw_only=True):
    """A column that both have. Args: changed: among rows of one key; None without a key. Others: as `distributions.moved`."""

    name: str
    psi: float
    ks: float | None
    missing_before: float
    missing_after: float
    shift: Literal["none", "some", "large"]
    changed: int | None


class ShownRows(msgspec.Struct, frozen=True, kw_only=True, omit_defaults=True):
    """The first rows of each kind, as plain values."""

    removed: list[dict[str, Any]]
    added: list[dict[str, Any]]
    changed: list[dict[str, Any]] = []


class TableDifference(msgspec.Struct, frozen=True, kw_only=True, omit_defaults=True):
    """Args: shown: None unless asked for."""

    rows: RowCounts
    columns: list[ColumnShift]
    shown: ShownRows | None = None


def compare_tables(
    before: SealedFile,
    after: SealedFile,
    columns: Sequence[str],
    *,
    key: str | None = None,
    shown: int = 0,
    limits: DatasetLimits | None = None,
    insecure: bool = False,
) -> TableDifference:
    """Compare two Parquet files of plain columns, as `convert_dataset` writes them, over `columns`.

    Args: columns: that both have, of one type. key: one of them, which names each row. shown: rows of each kind whose
        values are in the answer; 0: no value of a row is.
    Raises: InputError `dataset-key`; TooLargeError `dataset-too-large`; SandboxError.
    """
    limits = limits or DatasetLimits()
    try:
        frame = run_confined(
            _ENTRY,
            {"columns": list(columns), "key": key, "shown": shown},
            files=[before, after],
            limits=Limits(memory=limits.memory, cpu_seconds=int(limits.seconds) + 1),
            timeout=limits.seconds,
            insecure=insecure,
        )
        return msgspec.convert(frame.message, TableDifference)
    except SandboxError as error:
        if error.code in TOO_MUCH:
            raise TooLargeError(
                "The two versions take more memory or time to compare than a comparison may.", code="dataset-too-large"
            ) from error
        raise
    except msgspec.ValidationError as error:
        raise SandboxError("The comparison broke the protocol.", code="sandbox-protocol") from error
