"""Makes honest models with the real libraries: what a scan must let pass, or refuse only for being a pickle."""

from __future__ import annotations

import bz2
import gzip
import io
import pickle  # noqa: TID251 writes models of our own making; loads none
import tempfile
import warnings
from pathlib import Path
from typing import Any

import joblib  # noqa: TID251 the same
import numpy as np
import onnx
import skops.io
from evil_models import add_model, outside, tensors_file, weight, weight_outside
from onnx import helper
from skl2onnx import to_onnx
from sklearn.calibration import CalibratedClassifierCV
from sklearn.datasets import load_breast_cancer
from sklearn.ensemble import GradientBoostingClassifier, HistGradientBoostingClassifier, RandomForestClassifier
from sklearn.linear_model import LinearRegression, LogisticRegression, SGDClassifier
from sklearn.naive_bayes import GaussianNB
from sklearn.neighbors import KNeighborsClassifier
from sklearn.neural_network import MLPClassifier
from sklearn.pipeline import make_pipeline
from sklearn.preprocessing import StandardScaler
from sklearn.svm import SVC
from sklearn.tree import DecisionTreeClassifier

Case = tuple[dict[str, bytes], str]  # files by path, and the format that a scan must find


def estimators() -> dict[str, Any]:
    """Fitted on real data (150 rows of the breast-cancer set)."""
    rows, labels = load_breast_cancer(return_X_y=True)
    rows, labels = rows[:150].astype(np.float32), labels[:150]
    kinds = {
        "logistic": make_pipeline(StandardScaler(), LogisticRegression()),
        "linear": LinearRegression(),
        "sgd": SGDClassifier(max_iter=20, random_state=0),
        "forest": RandomForestClassifier(3, random_state=0),
        "tree": DecisionTreeClassifier(random_state=0),
        "boosting": GradientBoostingClassifier(n_estimators=2, random_state=0),
        "histogram-boosting": HistGradientBoostingClassifier(max_iter=2, random_state=0),
        "neighbours": KNeighborsClassifier(),
        "svm": SVC(random_state=0),
        "network": make_pipeline(StandardScaler(), MLPClassifier((4,), max_iter=20, random_state=0)),
        "bayes": GaussianNB(),
        "calibrated": CalibratedClassifierCV(LogisticRegression(max_iter=20), cv=2),
    }
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # a few steps of training are enough here, and do not converge
        return {name: kind.fit(rows, labels) for name, kind in kinds.items()}


def benign_models(fitted: dict[str, Any]) -> dict[str, Case]:
    """Must be clean."""
    row = np.zeros((1, 30), np.float32)
    cases: dict[str, Case] = {}
    for name, model in fitted.items():
        cases[f"skops-{name}"] = ({"model.skops": skops.io.dumps(model)}, "skops")
        if name in ("svm", "histogram-boosting"):
            continue  # their converters take seconds, or are missing
        options = {"zipmap": False} if hasattr(model, "classes_") else None
        graph = to_onnx(model, row, options=options).SerializeToString()
        cases[f"onnx-{name}"] = ({"model.onnx": graph}, "onnx")
    tensor = {"a": {"dtype": "F32", "shape": [2, 2], "data_offsets": [0, 16]}, "__metadata__": {"format": "np"}}
    side = {"README.md": "# Été\n".encode(), "config.json": b'{"a": [1, 2.5, null]}', "LICENSE": b"Apache 2.0\n"}
    cases["safetensors"] = ({"model.safetensors": tensors_file(tensor)}, "safetensors")
    cases["safetensors-shards"] = (
        {"a.safetensors": tensors_file(tensor), "b.safetensors": tensors_file(tensor), "index.json": b"{}"},
        "safetensors",
    )
    cases["safetensors-empty"] = ({"model.safetensors": tensors_file(b"{}      ", b"")}, "safetensors")
    cases["onnx-with-side-files"] = ({"model.onnx": add_model(weight()).SerializeToString(), **side}, "onnx")
    return cases | _with_weights_beside()


def _with_weights_beside() -> dict[str, Case]:
    """ONNX models as exporters lay them out: weights in one file, aligned, shared, in a file each."""
    numbers = np.array([1, 2, 3, 4], np.float32).tobytes()
    shared = weight_outside("v", location="w.bin")
    each = weight_outside("layers.0.weight", location="layers.0.weight")
    cases = {
        "": (outside(location="w.bin"), {"w.bin": numbers}),
        "-aligned": (outside(location="w.bin", offset="4096", length="16"), {"w.bin": bytes(4096) + numbers}),
        "-shared": (outside(shared, location="w.bin"), {"w.bin": numbers}),
        "-each": (outside(each, location="w"), {"w": numbers, "layers.0.weight": numbers}),
        "-zeros": (outside(location="model.onnx.data"), {"model.onnx.data": bytes(16)}),
        "-like-zlib": (outside(location="w.bin"), {"w.bin": b"\x78\x9c\xff" + numbers[3:]}),
        "-like-safetensors": (outside(location="w.bin"), {"w.bin": bytes(8) + b"{" + bytes(7)}),
    }
    made = {
        f"onnx-external{name}": ({"model.onnx": model.SerializeToString(), **files}, "onnx")
        for name, (model, files) in cases.items()
    }
    constant = add_model(weight())
    constant.graph.initializer.pop()
    constant.graph.node.insert(0, helper.make_node("Constant", [], ["w"], value=weight_outside(location="w.bin")))
    made["onnx-external-constant"] = ({"model.onnx": constant.SerializeToString(), "w.bin": numbers}, "onnx")
    model = to_onnx(LinearRegression().fit(np.eye(600, 300), np.arange(600)), np.zeros((1, 300), np.float32))
    onnx.external_data_helper.convert_model_to_external_data(model, size_threshold=0, location="weights")
    with tempfile.TemporaryDirectory() as folder:
        onnx.save(model, Path(folder, "model.onnx"))
        files = {path.name: path.read_bytes() for path in Path(folder).iterdir()}
    return made | {"onnx-external-by-onnx": (files, "onnx")}


def benign_pickles(fitted: dict[str, Any]) -> dict[str, bytes]:
    """Must be refused for being pickles, and for nothing else."""
    cases = {f"pickle-{name}": pickle.dumps(model) for name, model in fitted.items()}
    cases |= {f"joblib-{name}": _joblib(model) for name, model in fitted.items()}
    forest = fitted["forest"]
    cases |= {f"pickle-protocol-{number}": pickle.dumps(forest, number) for number in range(6)}
    cases |= {f"joblib-{how}": _joblib(forest, (how, 3)) for how in ("zlib", "gzip", "bz2", "xz", "lzma")}
    cases["pickle-gzip"] = gzip.compress(pickle.dumps(forest))
    cases["pickle-bz2"] = bz2.compress(pickle.dumps(forest))
    cases["pickle-array"] = pickle.dumps(np.arange(9.0).reshape(3, 3))
    cases["joblib-objects"] = _joblib(np.array([{"a": 1}, "b"], dtype=object))
    cases["joblib-fields"] = _joblib(np.zeros(3, dtype=[("a", "f8"), ("b", "U3")]))
    return cases


def _joblib(model: Any, compress: Any = 0) -> bytes:
    buffer = io.BytesIO()
    joblib.dump(model, buffer, compress=compress)
    return buffer.getvalue()
