"""Formats that are read by their structure alone: which function looks into which."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import Any

from casemate.scanning.format_rules import BOOSTER_LEGACY
from casemate.scanning.gguf_files import inspect_gguf
from casemate.scanning.keras_models import inspect_hdf5
from casemate.scanning.lightgbm_models import inspect_lightgbm
from casemate.scanning.notes import Notes, RefusedError
from casemate.scanning.safetensors_files import inspect_safetensors
from casemate.scanning.tensorflow_models import inspect_saved_model
from casemate.scanning.xgboost_models import inspect_xgboost

Inspector = Callable[[memoryview, Notes, str], dict[str, Any]]  # (bytes, notes, location) -> facts; raises RefusedError


def _refuse_old_xgboost(_data: memoryview, _notes: Notes, _location: str) -> dict[str, Any]:
    raise RefusedError(BOOSTER_LEGACY, "the first bytes of XGBoost's binary format")


STRUCTURES: Mapping[str, Inspector] = {
    "gguf": inspect_gguf,
    "hdf5": inspect_hdf5,
    "lightgbm": inspect_lightgbm,
    "safetensors": lambda data, notes, _location: inspect_safetensors(data, notes),
    "savedmodel": inspect_saved_model,
    "xgboost": inspect_xgboost,
    "xgboost-binary": _refuse_old_xgboost,
}
