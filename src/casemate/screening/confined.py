"""A screening of a dataset's Parquet file, in the sandbox: the rows are foreign bytes, and so is all that is fitted on them."""

from __future__ import annotations

import os
from collections.abc import Sequence
from typing import Self

import msgspec

from casemate.core import InputError, SandboxError, SealedFile, TooLargeError, memory_file
from casemate.sandbox import TOO_MUCH, Limits, run_confined
from casemate.screening.asked import BLOCK, MOST_AT_ONCE, Asked, MakeJudges, Progress
from casemate.screening.report import ScreeningConfig, ScreeningReport
from casemate.screening.rules import ALL

_ENTRY = "casemate.screening.job:main"
SECONDS = 3600.0
SECONDS_ELSEWHERE = 6 * 3600.0  # where others may judge blocks: whether a table is so large, the sandbox alone can tell
_MEMORY = 6 << 30  # bytes; blocks of rows, a sample, and 120 bytes for each row
_FILE = (
    16 << 30
)  # bytes of what is clean, or of what is suspect; a dataset's file may be larger than its rows in memory
LARGE = 50_000  # rows; a larger table is not held, but judged in blocks by models of a sample
ROW_NUMBER = "casemate_row"  # column that the suspects get: the row's place in the version that was screened


class Quarantine(msgspec.Struct, frozen=True, kw_only=True):
    """What a screening left: a context manager that closes both files. Args: clean: Parquet without the rows set aside.
    suspects: those, with the column `casemate_row`. aside: how many they are."""

    report: ScreeningReport
    clean: SealedFile
    suspects: SealedFile
    aside: int

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        self.clean.close()
        self.suspects.close()


class _Answer(msgspec.Struct, forbid_unknown_fields=True):
    report: ScreeningReport
    aside: int


def screen_dataset(
    parquet: SealedFile,
    *,
    label: str,
    contributor: str | None = None,
    time: str | None = None,
    former: SealedFile | None = None,
    verdicts: bytes = b"",
    set_aside: Sequence[str] = (),
    config: ScreeningConfig | None = None,
    insecure: bool = False,
    progress: Progress | None = None,
    large: int = LARGE,
    block: int = BLOCK,
    judges: MakeJudges | None = None,
) -> Quarantine:
    """Screen a table as `scanning` makes them, and part what is clean from what is suspect. Blocks.

    Args: label, contributor, time: names of columns. former: the last approved version. verdicts: as `read_verdicts`.
        progress: told blocks done, of how many, where a table is judged in blocks: those of more than `large` rows, `block` at a time.
        set_aside: ids of rules whose rows are set aside; empty: of all but near duplicates, outliers and limits.
        judges: who judges the blocks of such a table, as `RayJudges`; None: this machine, one after another.
    Raises: InputError `screen-column`, `screen-labels`, `screen-rows`, `screen-shape`, `screen-former`, `screen-verdicts`, `screen-rule`;
        TooLargeError `screen-too-large`; SandboxError; what `judges` raises.
    """
    unknown = set(set_aside) - {rule.id for rule in ALL}
    if unknown:
        raise InputError(
            f"There is no rule {min(unknown)[:80]!r}: name one that the screening found.", code="screen-rule"
        )

    seconds = SECONDS if judges is None else SECONDS_ELSEWHERE
    outputs = [memory_file("clean"), memory_file("suspects")]
    try:
        with Asked(progress, judges) as asked:
            frame = run_confined(
                _ENTRY,
                {
                    "columns": {"label": label, "contributor": contributor, "time": time},
                    "config": msgspec.to_builtins(config or ScreeningConfig()),
                    "former": former is not None,
                    "quarantine": True,
                    "rules": list(set_aside),
                    "numbers": ROW_NUMBER,
                    "large": large,
                    "block": block,
                    "elsewhere": judges is not None,
                },
                asked=asked,
                most_asked=MOST_AT_ONCE,
                buffers=[verdicts] if verdicts else [],
                files=[parquet] if former is None else [parquet, former],
                outputs=outputs,
                limits=Limits(memory=_MEMORY, cpu_seconds=2 * int(seconds), file_bytes=_FILE),
                timeout=seconds,
                insecure=insecure,
            )
        answer = msgspec.convert(frame.message, _Answer)
    except BaseException as error:
        for descriptor in outputs:
            os.close(descriptor)
        if isinstance(error, SandboxError) and error.code in TOO_MUCH:
            raise TooLargeError(
                "The dataset takes more memory or time than a screening may: screen a sample of it.",
                code="screen-too-large",
            ) from error
        if isinstance(error, msgspec.ValidationError):
            raise SandboxError("The screening broke the protocol.", code="sandbox-protocol") from error
        raise
    clean, suspects = map(SealedFile, outputs)
    return Quarantine(report=answer.report, clean=clean, suspects=suspects, aside=answer.aside)
