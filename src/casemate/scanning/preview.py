"""The first rows of a stored table, read in the sandbox."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import msgspec

from casemate.core import SandboxError, TooLargeError
from casemate.sandbox import TOO_MUCH, Limits, run_confined
from casemate.scanning.dataset import Source
from casemate.scanning.limits import DatasetLimits

_ENTRY = "casemate.scanning.table_preview:main"
_MOST_READ = 4 << 20  # bytes that the confined process is given at once
_SECONDS = 60.0


class _Ask(msgspec.Struct, forbid_unknown_fields=True):
    read: tuple[int, int]


class _Answer(msgspec.Struct, forbid_unknown_fields=True):
    rows: list[dict[str, Any]]


def preview_table(
    source: Source, rows: int, *, masked: bool = True, limits: DatasetLimits | None = None, insecure: bool = False
) -> list[dict[str, Any]]:
    """At most `rows` of the first rows of a Parquet file of plain columns, as `stream_dataset` writes it.

    Args: masked: types and shapes stand for the values: see `table_preview.shape_of`.
    Raises: TooLargeError `dataset-too-large`; SandboxError.
    """
    limits = limits or DatasetLimits()

    def answer(asked: Any, buffers: list[bytearray]) -> tuple[Any, Sequence[bytes]]:
        offset, size = msgspec.convert(asked, _Ask).read
        if offset < 0 or not 0 < size <= _MOST_READ or buffers:
            raise SandboxError("The preview broke the protocol.", code="sandbox-protocol")
        return None, [source.read_at(offset, size)]

    try:
        frame = run_confined(
            _ENTRY,
            {"size": source.size, "rows": rows, "masked": masked},
            limits=Limits(memory=limits.memory, cpu_seconds=int(_SECONDS) + 1),
            timeout=_SECONDS,
            insecure=insecure,
            asked=answer,
        )
        return msgspec.convert(frame.message, _Answer).rows
    except SandboxError as error:
        if error.code in TOO_MUCH:
            raise TooLargeError("The first rows take too much memory or time.", code="dataset-too-large") from error
        raise
    except msgspec.ValidationError as error:
        raise SandboxError("The preview broke the protocol.", code="sandbox-protocol") from error
