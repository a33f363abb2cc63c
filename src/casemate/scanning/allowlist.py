"""The allow-lists, as `make_allowlist.py` wrote them from the real libraries."""

from __future__ import annotations

import json
from pathlib import Path

from casemate.scanning.symbols import Import

_LISTS = json.loads(Path(__file__).with_name("allowlist.json").read_text())

PICKLE_IMPORTS: dict[str, frozenset[Import]] = {  # framework -> what its pickles may import
    framework: frozenset(Import(*entry) for entry in entries) for framework, entries in _LISTS["pickle"].items()
}
SKOPS_TYPES: frozenset[tuple[str, str]] = frozenset((module, name) for module, name in _LISTS["skops"]["types"])
SKOPS_LOADERS: frozenset[str] = frozenset(_LISTS["skops"]["loaders"])
ONNX_CONTRIB: frozenset[str] = frozenset(_LISTS["onnx"]["com.microsoft"])  # operators that onnxruntime adds

_BOOSTERS = json.loads(Path(__file__).with_name("booster_allowlist.json").read_text())
XGBOOST_OBJECTIVES: frozenset[str] = frozenset(_BOOSTERS["xgboost"])
LIGHTGBM_OBJECTIVES: frozenset[str] = frozenset(_BOOSTERS["lightgbm"])
for _framework, _entries in _BOOSTERS.get("pickle", {}).items():  # their wrappers hold parts of scikit-learn
    PICKLE_IMPORTS[_framework] = PICKLE_IMPORTS["scikit-learn"] | {Import(*entry) for entry in _entries}

_FRAMEWORKS = json.loads(Path(__file__).with_name("framework_allowlist.json").read_text())
KERAS_OBJECTS: frozenset[tuple[str, str]] = frozenset((module, name) for module, name in _FRAMEWORKS["keras"])
TENSORFLOW_OPERATORS: frozenset[str] = frozenset(_FRAMEWORKS["tensorflow"])
PICKLE_IMPORTS["torch"] |= PICKLE_IMPORTS["numpy"] | {Import(*entry) for entry in _FRAMEWORKS["torch"]}
