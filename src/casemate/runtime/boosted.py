"""What the runtimes of boosted trees share, inside the sandbox: one table of rows in, labels and probabilities out."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence

import numpy as np

from casemate.core import Signature, TensorSpec
from casemate.runtime.tensors import Array, datatype_of


class BoostedModel:
    """Input `X`, one row for each case; outputs `label` and, where the objective gives any, `probabilities`.

    Classes are numbered from 0 as in training, since the files keep no other names of them.
    """

    def __init__(
        self,
        score: Callable[[Array], Array],
        *,
        runtime: str,
        datatype: str,
        width: int,
        features: Sequence[str],
        probable: bool,
    ) -> None:
        """Args: score: what the library predicts for float rows. probable: these are probabilities."""
        self._score, self._probable = score, probable
        kind = {"FP32": np.float32, "FP64": np.float64}[datatype]
        given = TensorSpec(name="X", datatype=datatype, shape=(-1, width), features=tuple(features))
        taken = self.predict({"X": np.zeros((1, width), kind)})
        self.signature = Signature(
            inputs=(given,),
            outputs=tuple(
                TensorSpec(name=name, datatype=datatype_of(array.dtype), shape=(-1, *array.shape[1:]))
                for name, array in taken.items()
            ),
            runtime=runtime,
        )

    def predict(self, inputs: Mapping[str, Array]) -> dict[str, Array]:
        scores = np.asarray(self._score(inputs["X"]))
        if not self._probable:
            return {"label": scores}
        if scores.ndim == 1:
            return {"label": (scores > 0.5).astype(np.int64), "probabilities": np.stack([1 - scores, scores], axis=1)}
        return {"label": scores.argmax(axis=1).astype(np.int64), "probabilities": scores}
