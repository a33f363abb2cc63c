"""Which runtime a model version needs: decided by the one model file among its files."""

from __future__ import annotations

from collections.abc import Iterable

from casemate.core import VerificationError

_RUNTIMES = {".onnx": "onnx", ".skops": "skops"}


def is_servable(paths: Iterable[str]) -> bool:
    """Whether any of these is a file that a runtime of ours loads."""
    return any(path.endswith(tuple(_RUNTIMES)) for path in paths)


def model_file(paths: Iterable[str]) -> tuple[str, str]:
    """(path, runtime) of the one model file. Raises: VerificationError: `model-format` when there is none, or two."""
    found = [(path, runtime) for path in sorted(paths) for end, runtime in _RUNTIMES.items() if path.endswith(end)]
    if len(found) != 1:
        names = ", ".join(path for path, _ in found) or "none"
        raise VerificationError(
            f"A model version needs exactly one file that ends in {' or '.join(_RUNTIMES)}; found {names}.",
            code="model-format",
        )
    return found[0]


def entry_of(runtime: str) -> str:
    """What `sandbox.spawn` starts for this runtime."""
    return f"casemate.runtime.model_{runtime}:serve"
