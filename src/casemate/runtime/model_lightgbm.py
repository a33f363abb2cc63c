"""LightGBM's text models, inside the sandbox."""

from __future__ import annotations

import re
from pathlib import Path
from typing import Any

import lightgbm
import numpy as np

from casemate.runtime.boosted import BoostedModel
from casemate.runtime.tensors import Array
from casemate.runtime.worker import Files, serve_model
from casemate.sandbox import Channel

_PROBABLE = frozenset(
    {"binary", "multiclass"}
)  # of the others only one-versus-all has several columns, which sum to no 1
_OBJECTIVE = re.compile(r"^objective=([a-z0-9_]+)", re.MULTILINE)


def load(files: Files) -> BoostedModel:
    """Raises: whatever lightgbm raises."""
    text = Path(files.open_path()).read_text("utf-8")
    booster = lightgbm.Booster(model_str=text)
    objective = _OBJECTIVE.search(text.partition("\n\n")[0])
    named = booster.feature_name()
    generic = named == [f"Column_{place}" for place in range(len(named))]

    def score(rows: Array) -> Array:
        return np.asarray(booster.predict(rows, num_threads=files.threads, validate_features=False))

    return BoostedModel(
        score,
        runtime="lightgbm",
        datatype="FP64",
        width=booster.num_feature(),
        features=() if generic else named,
        probable=objective is not None and objective[1] in _PROBABLE,
    )


def serve(channel: Channel, _args: dict[str, Any]) -> None:
    """The worker's entry."""
    serve_model(channel, load)
