"""The confined side of a screening: `main` is the only entry. The libraries are loaded here, before the last wall goes up."""

from __future__ import annotations

import mmap
import os
import warnings
from typing import Any

import msgspec
import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq

from casemate.core.wire import Frame
from casemate.screening.report import ScreeningConfig
from casemate.screening.screened import screen
from casemate.screening.tables import rows_of_table, rows_of_tables
from casemate.screening.verdicts import read_verdicts


def main(frame: Frame) -> Frame:
    """Screen the Parquet table of the first descriptor, against that of the second if `former`; write what is clean and
    what is suspect to the last two if `quarantine`. message: {"columns", "config", "former", "quarantine"}, buffers: the verdicts.
    Answer: the report, and how many rows were set aside."""
    message = frame.message
    table = _table(frame.fds[0])
    columns = message["columns"]
    rows, former = (
        rows_of_tables(table, _table(frame.fds[1]), **columns)
        if message["former"]
        else (rows_of_table(table, **columns), None)
    )
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # of fits that stop early, as they are told to
        found = screen(
            rows,
            former=former,
            config=msgspec.convert(message["config"], ScreeningConfig),
            verdicts=read_verdicts(bytes(frame.buffers[0]) if frame.buffers else b""),
        )
    aside = np.zeros(table.num_rows, bool)
    wanted = message["rules"] or list(found.named)
    for rule in wanted:
        aside |= found.named.get(rule, np.zeros(table.num_rows, bool))
    if message["quarantine"]:
        numbered = table.append_column(message["numbers"], pa.array(np.arange(table.num_rows)))
        _write(table.filter(pa.array(~aside)), frame.fds[-2])
        _write(numbered.filter(pa.array(aside)), frame.fds[-1])
    return Frame({"report": msgspec.to_builtins(found.report), "aside": int(aside.sum())})


def _table(descriptor: int) -> Any:
    size = os.fstat(descriptor).st_size
    data = pa.py_buffer(mmap.mmap(descriptor, size, access=mmap.ACCESS_READ))
    return pq.ParquetFile(pa.BufferReader(data)).read(use_threads=False)


def _write(table: Any, descriptor: int) -> None:
    with os.fdopen(descriptor, "wb") as file:
        pq.write_table(table, file, compression="zstd", version="2.6", store_schema=False)
