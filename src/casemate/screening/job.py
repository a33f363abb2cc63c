"""The confined side of a screening: `main` is the only entry. The libraries are loaded here, before the last wall goes up."""

from __future__ import annotations

import warnings
from typing import Any

import msgspec
import numpy as np

from casemate.core.wire import Frame
from casemate.sandbox import Asking
from casemate.screening.asked import Progress
from casemate.screening.elsewhere import judged_elsewhere
from casemate.screening.large import detect, fit
from casemate.screening.large_change import change_in_blocks
from casemate.screening.parquet_blocks import ParquetBlocks, Said
from casemate.screening.report import ScreeningConfig
from casemate.screening.screened import Screened, screen, told
from casemate.screening.tables import rows_of_table, rows_of_tables
from casemate.screening.verdicts import HumanVerdict, read_verdicts


def main(frame: Frame, ask: Asking) -> Frame:
    """Screen the Parquet table of the first descriptor, against that of the second if `former`; write what is clean and
    what is suspect to the last two if `quarantine`. message: {"columns", "config", "former", "quarantine", "elsewhere"}; {"rules"}:
    ids of those whose rows are set aside; {"numbers"}: name of the suspects' column of row numbers; {"large"}: rows of the largest table
    that is held whole; {"block"}: rows judged at a time. buffers: the verdicts. Says how many blocks are done, and has them judged by its parent if `elsewhere`: see `asked`. Answer: the report,
    and how many rows were set aside."""
    message = frame.message
    table = ParquetBlocks(frame.fds[0], block=message["block"])
    former = ParquetBlocks(frame.fds[1], block=message["block"]) if message["former"] else None
    config = msgspec.convert(message["config"], ScreeningConfig)
    verdicts = read_verdicts(bytes(frame.buffers[0]) if frame.buffers else b"")

    def progress(done: int, total: int) -> None:
        ask({"what": "done", "done": done, "total": total})

    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # of fits that stop early, as they are told to
        if table.num_rows > message["large"]:
            found = screen_large(
                table,
                former,
                message["columns"],
                config=config,
                verdicts=verdicts,
                progress=progress,
                ask=ask if message["elsewhere"] else None,
            )
        else:
            found = _small(table, former, message["columns"], config, verdicts)
    aside = np.zeros(table.num_rows, bool)
    for rule in message["rules"] or list(found.named):
        aside |= found.named.get(rule, np.zeros(table.num_rows, bool))
    if message["quarantine"]:
        table.part(aside, frame.fds[-2], frame.fds[-1], message["numbers"])
    return Frame({"report": msgspec.to_builtins(found.report), "aside": int(aside.sum())})


def _small(
    table: ParquetBlocks,
    former: ParquetBlocks | None,
    columns: dict[str, Any],
    config: ScreeningConfig,
    verdicts: tuple[HumanVerdict, ...],
) -> Screened:
    if former is None:
        return screen(rows_of_table(table.table(), **columns), config=config, verdicts=verdicts)
    rows, before = rows_of_tables(table.table(), former.table(), **columns)
    return screen(rows, former=before, config=config, verdicts=verdicts)


def screen_large(
    table: ParquetBlocks,
    former: ParquetBlocks | None,
    columns: dict[str, Any],
    *,
    config: ScreeningConfig,
    verdicts: tuple[HumanVerdict, ...],
    progress: Progress,
    ask: Asking | None = None,
) -> Screened:
    """As `screen`, block by block. Args: ask: blocks are judged by whom this reaches.

    Raises: InputError, as `rows_of_table`; UpstreamError, as `judged_elsewhere`.
    """
    if ask is not None:
        ask({"what": "open"})  # what is out of reach is told before anything is fitted
    whole, fitted = fit(table, columns, seed=config.seed)
    judged = None if ask is None else judged_elsewhere(table, [*whole.names, whole.label], fitted, ask)
    detected = detect(table, whole, fitted, progress, judged=judged)
    since = None
    if former is not None:
        since = change_in_blocks(table, former, whole, fitted, seed=config.seed)
    detected = msgspec.structs.replace(
        detected, rows=msgspec.structs.replace(detected.rows, said=Said(table, [*whole.names, whole.label]))
    )
    return told(detected, since=since, config=config, verdicts=verdicts)
