"""Writes booster_allowlist.json: the objectives that the installed XGBoost and LightGBM have.

    python -m casemate.scanning.make_booster_allowlist

A development tool. XGBoost lists them when it is asked for one that it does not have; LightGBM is asked for each name that its
documentation has. Run it after an update of the libraries, and read the difference.
"""

from __future__ import annotations

import json
import pickle  # noqa: TID251 it writes pickles of our own making, and reads none
import re
from pathlib import Path
from typing import Any

import lightgbm
import numpy as np
import xgboost

from casemate.scanning.limits import ScanLimits
from casemate.scanning.notes import Notes
from casemate.scanning.pickle_walk import walk_pickle
from casemate.scanning.symbols import Import

_TARGET = Path(__file__).with_name("booster_allowlist.json")
_DOCUMENTED = (
    "regression", "regression_l1", "huber", "fair", "poisson", "quantile", "mape", "gamma", "tweedie", "binary",
    "multiclass", "multiclassova", "cross_entropy", "cross_entropy_lambda", "lambdarank", "rank_xendcg",
)  # fmt: skip


_WRAPPERS: dict[Any, tuple[str, ...]] = {
    xgboost: ("XGBClassifier", "XGBRegressor", "XGBRanker", "XGBRFClassifier", "XGBRFRegressor", "Booster"),
    lightgbm: ("LGBMClassifier", "LGBMRegressor", "LGBMRanker", "Booster"),
}


def _pickled_names(library: Any, models: tuple[str, ...]) -> list[tuple[str, str]]:
    """What pickles of its models import from it, from the standard library's containers, and besides scikit-learn's list."""
    rows, labels, names = np.eye(8), np.arange(8) % 2, set[Import]()
    for name in models:
        kind = getattr(library, name)
        if name == "Booster":
            model = (
                xgboost.train({}, xgboost.DMatrix(rows, labels), 1)
                if library is xgboost
                else lightgbm.train({"verbose": -1}, lightgbm.Dataset(rows, labels), 1)
            )
        elif name.endswith("Ranker"):
            model = kind(n_estimators=1).fit(rows, labels, group=[8])
        else:
            model = kind(n_estimators=1).fit(rows, labels)
        for protocol in range(6):
            record = walk_pickle(memoryview(pickle.dumps(model, protocol)), Notes(ScanLimits()))
            assert not record.broken
            names |= record.imports.keys()
    own = {library.__name__, "collections", "builtins", "__builtin__", "copyreg", "copy_reg", "_codecs"}
    return sorted((found.module, found.name) for found in names if found.module.partition(".")[0] in own)


def main() -> None:
    rows, labels = np.eye(8), np.arange(8) % 2
    try:
        xgboost.train({"objective": "none-of-these"}, xgboost.DMatrix(rows, labels), 1)
    except xgboost.core.XGBoostError as error:
        xgboost_names = sorted(re.findall(r"^Objective candidate: ([a-z:0-9_]+)", str(error), re.MULTILINE))
    lightgbm_names = []
    for name in _DOCUMENTED:
        params = {"objective": name, "num_class": 2 if name.startswith("multiclass") else 1, "verbose": -1}
        grouped = lightgbm.Dataset(rows, labels + (name == "gamma"), group=[8] if "rank" in name else None)
        kept = lightgbm.train(params, grouped, 1).model_to_string()
        found = re.search(r"^objective=([a-z0-9_]+)", kept, re.MULTILINE)
        assert found, f"{name} is not written"
        lightgbm_names.append(found[1])
    lists = {
        "made_with": {module.__name__: module.__version__ for module in (xgboost, lightgbm)},
        "xgboost": xgboost_names,
        "lightgbm": sorted(set(lightgbm_names)),
        "pickle": {library.__name__: _pickled_names(library, models) for library, models in _WRAPPERS.items()},
    }
    _TARGET.write_text(json.dumps(lists, indent=1) + "\n")


if __name__ == "__main__":
    main()
