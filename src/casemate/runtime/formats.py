"""Which runtime serves what. Which file is the model is never guessed here: the scan says so, signed."""

from __future__ import annotations

import importlib.util
from collections.abc import Iterable

from casemate.core import SandboxError, ServedFile

_SUFFIXES = (".onnx", ".skops", ".ubj", ".pt", ".pt2", ".keras", "model.json", "model.txt", "saved_model.pb")
EXTRAS = {  # runtime -> library, and the extra of the same name
    "lightgbm": "lightgbm",
    "tensorflow": "tensorflow",
    "torch": "torch",
    "xgboost": "xgboost",
}


def is_servable(paths: Iterable[str]) -> bool:
    """Whether any of these is named like a model that a runtime of ours loads. A hint to people, no check."""
    return any(path.endswith(_SUFFIXES) for path in paths)


def entry_of(served: ServedFile) -> str:
    """What `sandbox.spawn` starts for its runtime.

    Raises: SandboxError: `runtime-missing`: its library is an extra that is not installed here.
    """
    library = EXTRAS.get(served.runtime)
    if library is not None and importlib.util.find_spec(library) is None:
        raise SandboxError(
            f"{served.path} needs the library {library}, which is not installed here: install casemate[{library}].",
            code="runtime-missing",
        )
    return f"casemate.runtime.model_{served.runtime}:serve"
