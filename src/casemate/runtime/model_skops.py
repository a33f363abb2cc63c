"""scikit-learn models in skops files, inside the sandbox. Only types on the allow-list are built."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import numpy as np
import skops.io

from casemate.core import SandboxError, Signature, TensorSpec
from casemate.runtime.tensors import Array, datatype_of
from casemate.runtime.worker import Files, serve_model
from casemate.sandbox import Channel
from casemate.scanning.allowlist import SKOPS_TYPES

# Preload what nearly every model needs: behind the walls each file that Python opens costs a check.
import sklearn.linear_model  # isort: skip
import sklearn.pipeline  # isort: skip
import sklearn.preprocessing  # noqa: F401 # isort: skip

# What the scan at push allows, beside what skops trusts by itself; anything else is not built.
TRUSTED = sorted(f"{module}.{name}" for module, name in SKOPS_TYPES)


class SkopsModel:
    """A fitted estimator: input `X`, outputs `label` and, when it has them, `probabilities`."""

    def __init__(self, estimator: Any, *, threads: int) -> None:
        width = getattr(estimator, "n_features_in_", None)
        if not callable(getattr(estimator, "predict", None)) or not isinstance(width, int):
            raise SandboxError("The skops file holds no fitted estimator that can predict.", code="model-io")
        self._estimator = estimator
        self._probable = callable(getattr(estimator, "predict_proba", None))
        if "n_jobs" in estimator.get_params():
            estimator.set_params(n_jobs=threads)
        features = tuple(map(str, getattr(estimator, "feature_names_in_", ())))
        if features:  # it was fitted on named columns and gets plain rows here: their order is the signature's
            del estimator.feature_names_in_
        given = TensorSpec(name="X", datatype="FP64", shape=(-1, width), features=features)
        taken = self.predict({"X": np.zeros((1, width))})
        self.signature = Signature(
            inputs=(given,),
            outputs=tuple(
                TensorSpec(name=name, datatype=datatype_of(array.dtype), shape=(-1, *array.shape[1:]))
                for name, array in taken.items()
            ),
            runtime="skops",
        )

    def predict(self, inputs: Mapping[str, Array]) -> dict[str, Array]:
        rows = inputs["X"]
        outputs = {"label": np.asarray(self._estimator.predict(rows))}
        if self._probable:
            outputs["probabilities"] = np.asarray(self._estimator.predict_proba(rows))
        return outputs


def load(files: Files) -> SkopsModel:
    """Raises: SandboxError: `model-io`; whatever skops raises, as for a type that it does not trust."""
    return SkopsModel(skops.io.load(files.open_path(), trusted=TRUSTED), threads=files.threads)


def serve(channel: Channel, _args: dict[str, Any]) -> None:
    """The worker's entry."""
    serve_model(channel, load)
