"""Rows to compare a model before and after its conversion, when nobody gave any."""

from __future__ import annotations

import numpy as np

from casemate.runtime.tensors import Array

_SEED = 20_26


def made_rows(count: int, width: int) -> Array:
    """float64 (count, width), the same each time, exact in float32: normal ones of three scales, a third of them each."""
    random = np.random.default_rng(_SEED)
    rows = random.normal(size=(count, width))
    rows[1::3] *= 10.0
    rows[2::3] = np.abs(rows[2::3]) * 300.0
    return rows.astype(np.float32).astype(np.float64)
