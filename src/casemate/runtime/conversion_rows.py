"""The rows on which a model is compared before and after its conversion: read from a table, or made up where nobody gave any."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np

from casemate.core import SandboxError, SealedFile
from casemate.runtime.tensors import Array
from casemate.sandbox import run_confined
from casemate.scanning import convert_dataset

MADE_ROWS = 300
MOST_ROWS = 10_000
_SEED = 20_26


def made_rows(count: int, width: int) -> Array:
    """float64 (count, width), the same each time, exact in float32: normal ones of three scales, a third of them each."""
    random = np.random.default_rng(_SEED)
    rows = random.normal(size=(count, width))
    rows[1::3] *= 10.0
    rows[2::3] = np.abs(rows[2::3]) * 300.0
    return rows.astype(np.float32).astype(np.float64)


def read_sample(file: SealedFile, filename: str, *, insecure: bool = False) -> Array:
    """The numbers of a CSV, JSON Lines or Parquet table as float64 (n, columns), parsed behind the walls.

    Raises: InputError: as `convert_dataset`, and `convert-sample`: a column that is no number.
    """
    with convert_dataset(file, filename, insecure=insecure) as table:
        return read_rows(table.parquet, insecure=insecure)


def read_rows(parquet: SealedFile, columns: Sequence[str] | None = None, *, insecure: bool = False) -> Array:
    """The first rows of a table of ours, `MOST_ROWS` at most. Args: columns: these, in this order; None: all.

    Raises: InputError `convert-sample`: a column that is no number.
    """
    asked = {"most": MOST_ROWS, "columns": None if columns is None else list(columns)}
    frame = run_confined("casemate.runtime.conversion_sample:main", asked, files=[parquet], insecure=insecure)
    try:
        rows, width = frame.message["rows"], frame.message["width"]
        return np.frombuffer(frame.buffers[0], np.float64).reshape(rows, width)
    except (KeyError, TypeError, ValueError, IndexError) as error:
        raise SandboxError("The sample's reader broke the protocol.", code="sandbox-protocol") from error
