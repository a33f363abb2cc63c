"""A hundred honest models from each framework that is installed, as users make them: other data, sizes, seeds and ways to save."""

from __future__ import annotations

import io
import pickle  # noqa: TID251 writes models of our own making; loads none
import warnings
from collections.abc import Iterator
from itertools import islice, product
from typing import Any

import joblib  # noqa: TID251 the same
import numpy as np
import skops.io
from evil_models import tensors_file
from skl2onnx import to_onnx
from sklearn.datasets import load_breast_cancer, load_iris, load_wine
from sklearn.decomposition import PCA
from sklearn.ensemble import ExtraTreesClassifier, GradientBoostingClassifier, RandomForestClassifier
from sklearn.linear_model import LogisticRegression, Ridge, SGDClassifier
from sklearn.naive_bayes import GaussianNB
from sklearn.neighbors import KNeighborsClassifier
from sklearn.neural_network import MLPClassifier
from sklearn.pipeline import make_pipeline
from sklearn.preprocessing import MinMaxScaler, StandardScaler
from sklearn.svm import SVC
from sklearn.tree import DecisionTreeClassifier

Files = dict[str, bytes]
EACH = 100


def estimators() -> Iterator[Any]:
    """Fitted: twelve kinds on three data sets under three seeds."""
    kinds = (
        lambda seed: make_pipeline(StandardScaler(), LogisticRegression(C=seed + 0.5)),
        lambda seed: RandomForestClassifier(3 + seed, random_state=seed),
        lambda seed: DecisionTreeClassifier(max_depth=2 + seed, random_state=seed),
        lambda seed: GradientBoostingClassifier(n_estimators=2 + seed, random_state=seed),
        lambda seed: make_pipeline(MinMaxScaler(), KNeighborsClassifier(3 + seed)),
        lambda seed: GaussianNB(var_smoothing=10.0 ** -(7 + seed)),
        lambda seed: ExtraTreesClassifier(3 + seed, random_state=seed),
        lambda seed: make_pipeline(StandardScaler(), PCA(2 + seed), LogisticRegression()),
        lambda seed: make_pipeline(StandardScaler(), MLPClassifier((4 + seed,), max_iter=5, random_state=seed)),
        lambda seed: SGDClassifier(max_iter=5, random_state=seed),
        lambda seed: Ridge(alpha=seed + 1.0),
        lambda seed: SVC(C=seed + 1.0, random_state=seed),
    )
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # a few steps of training are enough here
        for seed, load, kind in product(range(3), (load_iris, load_wine, load_breast_cancer), kinds):
            rows, labels = load(return_X_y=True)
            yield kind(seed).fit(rows[::2].astype(np.float32), labels[::2])


def corpus() -> dict[str, list[Files]]:
    """By framework; must be clean, but for pickles, which are refused for being pickles alone."""
    warnings.simplefilter("ignore")  # of deprecated attributes, which the converters read
    fitted = list(islice(estimators(), EACH))
    found = {
        "scikit-learn pickle": [_pickled(model, place) for place, model in enumerate(fitted)],
        "skops": [{"model.skops": skops.io.dumps(model)} for model in fitted],
        "onnx": [{"model.onnx": _onnx(model)} for model in fitted],
        "safetensors": list(_tensors()),
    }
    try:
        found["xgboost"] = list(islice(_xgboost(), EACH))
        found["lightgbm"] = list(islice(_lightgbm(), EACH))
    except ModuleNotFoundError:
        pass
    return found


def _pickled(model: Any, place: int) -> Files:
    if place % 2:
        return {"model.pkl": pickle.dumps(model, place % 6)}
    buffer = io.BytesIO()
    joblib.dump(model, buffer, compress=(0, 3, ("gzip", 3), ("lzma", 3))[place // 2 % 4])
    return {"model.joblib": buffer.getvalue()}


def _onnx(model: Any) -> bytes:
    row = np.zeros((1, model.n_features_in_), np.float32)
    options = {"zipmap": False} if hasattr(model, "classes_") else None
    return bytes(to_onnx(model, row, options=options, target_opset=17).SerializeToString())


def _tensors() -> Iterator[Files]:
    random = np.random.default_rng(0)
    for count in range(EACH):
        header, data = {}, b""
        for place in range(count % 9 + 1):
            array = random.random((place + 1, 1 + count % 7)).astype(np.float32)
            header[f"layer.{place}.weight"] = {
                "dtype": "F32", "shape": list(array.shape), "data_offsets": [len(data), len(data) + array.nbytes],
            }  # fmt: skip
            data += array.tobytes()
        yield {"model.safetensors": tensors_file(header, data), "config.json": b'{"layers": %d}' % count}


def _xgboost() -> Iterator[Files]:
    import xgboost

    rows, labels = load_wine(return_X_y=True)
    objectives = (
        "reg:squarederror",
        "binary:logistic",
        "count:poisson",
        "multi:softprob",
        "reg:tweedie",
        "rank:pairwise",
    )
    for seed, booster, depth, objective in product(range(3), ("gbtree", "dart", "gblinear"), (2, 5), objectives):
        params = {
            "objective": objective,
            "booster": booster,
            "max_depth": depth,
            "seed": seed,
            "nthread": 1,
            "subsample": 0.8,
        }
        params |= {"num_class": 3} if objective == "multi:softprob" else {}
        params = {
            key: value
            for key, value in params.items()
            if booster != "gblinear" or key not in ("max_depth", "subsample")
        }
        data = xgboost.DMatrix(rows, labels if objective != "binary:logistic" else labels > 0)
        trained = xgboost.train(params, data, 2 + seed)
        if (seed + depth) % 2:
            yield {"model.json": bytes(trained.save_raw("json"))}
        else:
            yield {"model.ubj": bytes(trained.save_raw("ubj"))}


def _lightgbm() -> Iterator[Files]:
    import lightgbm

    rows, labels = load_wine(return_X_y=True)
    objectives = ("regression", "binary", "multiclass", "poisson", "huber", "quantile")
    for seed, boosting, leaves, objective in product(range(3), ("gbdt", "dart", "rf"), (3, 15), objectives):
        params = {
            "objective": objective, "boosting": boosting, "num_leaves": leaves, "seed": seed, "verbose": -1, "num_threads": 1,
            "num_class": 3 if objective == "multiclass" else 1, "bagging_freq": 1, "bagging_fraction": 0.7, "min_data_in_leaf": 5,
        }  # fmt: skip
        data = lightgbm.Dataset(rows, labels if objective != "binary" else labels > 0)
        yield {"model.txt": lightgbm.train(params, data, 2 + seed).model_to_string().encode()}
