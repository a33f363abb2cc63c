"""XGBoost models in JSON or UBJSON files, inside the sandbox."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import numpy as np
import xgboost

from casemate.runtime.boosted import BoostedModel
from casemate.runtime.tensors import Array
from casemate.runtime.worker import Files, serve_model
from casemate.sandbox import Channel

_PROBABLE = frozenset({"binary:logistic", "multi:softprob"})


def load(files: Files) -> BoostedModel:
    """Raises: whatever xgboost raises."""
    booster = xgboost.Booster({"nthread": files.threads, "device": "cpu", "verbosity": 0})
    booster.load_model(bytearray(Path(files.open_path()).read_bytes()))
    booster.set_param({"nthread": files.threads})
    learner = json.loads(booster.save_config())["learner"]
    objective, linear = learner["objective"]["name"], learner["gradient_booster"]["name"] == "gblinear"
    targets = int(learner["learner_model_param"].get("num_target", "1"))
    names = booster.feature_names or ()
    booster.feature_names = None  # plain rows carry no names: their order is the signature's
    booster.feature_types = None

    def score(rows: Array) -> Array:
        if linear:
            return np.asarray(booster.predict(xgboost.DMatrix(rows, nthread=files.threads)))
        return np.asarray(booster.inplace_predict(rows))

    return BoostedModel(
        score,
        runtime="xgboost",
        datatype="FP32",
        width=booster.num_features(),
        features=names,
        probable=objective in _PROBABLE and targets < 2,
    )


def serve(channel: Channel, _args: dict[str, Any]) -> None:
    """The worker's entry."""
    serve_model(channel, load)
