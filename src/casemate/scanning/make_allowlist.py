"""Writes allowlist.json: what models of each framework import, learnt from models that the real libraries make.

    python -m casemate.scanning.make_allowlist

A development tool: it fits every estimator of scikit-learn on a few rows, writes each in every pickle protocol, with
joblib and with skops, and keeps the names that appear. It loads nothing. Run it after an update of the libraries, and
read the difference.
"""

from __future__ import annotations

import collections
import io
import json
import pickle  # noqa: TID251 it writes pickles of our own making, and reads none
import sys
import warnings
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import joblib  # type: ignore[import-untyped]  # noqa: TID251 the same
import numpy as np
import scipy.sparse
import sklearn
import skops.io
from onnxruntime.capi import onnxruntime_pybind11_state
from sklearn.datasets import load_iris
from sklearn.linear_model import LogisticRegression
from sklearn.pipeline import Pipeline
from sklearn.preprocessing import StandardScaler
from sklearn.utils import all_estimators
from skops.io.exceptions import UnsupportedTypeException

from casemate.scanning.limits import ScanLimits
from casemate.scanning.notes import Notes
from casemate.scanning.pickle_walk import walk_pickle

_TARGET = Path(__file__).with_name("allowlist.json")
# What can be turned into anything else must not slip in with some odd estimator.
_NEVER = {("builtins", name) for name in ("getattr", "eval", "exec", "compile", "open", "__import__", "setattr")}
_NEVER |= {("__builtin__", name) for _, name in _NEVER} | {("functools", "partial"), ("operator", "methodcaller")}
_OWN_PACKAGES = ("sklearn", "numpy", "scipy", "joblib")
_PYTHON = {  # from the standard library: the plain containers and values, by their names of Python 2 and 3
    *((module, name) for module in ("builtins", "__builtin__") for name in (
        "object", "set", "frozenset", "slice", "complex", "bytearray", "range", "xrange", "list", "dict", "tuple",
        "int", "float", "str", "bool", "bytes", "long", "unicode",
    )),
    ("copyreg", "_reconstructor"), ("copy_reg", "_reconstructor"), ("_codecs", "encode"),
    ("collections", "OrderedDict"), ("collections", "defaultdict"), ("collections", "Counter"),
}  # fmt: skip
# Torch is not a dependency; these are the names that torch.load(weights_only=True) needs for a dictionary of tensors.
_TORCH = [
    ("collections", "OrderedDict"), ("torch._utils", "_rebuild_tensor_v2"), ("torch._utils", "_rebuild_parameter"),
    *(("torch", f"{kind}Storage") for kind in (
        "Float", "Double", "Half", "BFloat16", "Long", "Int", "Short", "Char", "Byte", "Bool",
    )),
]  # fmt: skip
# It reads an engine's blob from a path of its own choice; the others are its like of other back ends.
_CALLABLES = {"FunctionNode", "MethodNode", "PartialNode", "OperatorFuncNode", "ConstructorFromReduceNode"}  # of skops
_CONTRIB_NEVER = {"EPContext", "PythonOp", "PythonOpGrad", "TRTEngineOp"}


def main() -> None:
    warnings.simplefilter("ignore")
    seen_pickle: set[tuple[str, str]] = set()
    seen_skops: set[tuple[str, str]] = set()
    loaders: set[str] = set()
    for model in _models():
        seen_pickle |= _pickled_names(model)
        _add_skops(model, seen_skops, loaders)
    sklearn_names = {entry for entry in seen_pickle if entry[0].split(".")[0] in _OWN_PACKAGES and entry not in _NEVER}
    allowed = sorted(sklearn_names | _PYTHON)
    numpy_names = sorted({e for e in sklearn_names if e[0].split(".")[0] == "numpy"} | _PYTHON)
    contrib = {s.name for s in onnxruntime_pybind11_state.get_all_operator_schema() if s.domain == "com.microsoft"}
    lists = {
        "made_with": {m.__name__: m.__version__ for m in (sklearn, np, scipy, joblib, skops)},
        "pickle": {"numpy": numpy_names, "scikit-learn": allowed, "torch": sorted(_TORCH)},
        "skops": {"types": sorted(seen_skops), "loaders": sorted(loaders)},
        "onnx": {"com.microsoft": sorted(contrib - _CONTRIB_NEVER)},
    }
    left_out = sorted(seen_pickle - set(map(tuple, allowed)))
    _TARGET.write_text(json.dumps(lists, indent=1) + "\n")
    sys.stderr.write(f"{len(allowed)} pickle names, {len(seen_skops)} skops types; left out: {left_out}\n")


def _models() -> Iterator[Any]:
    features, classes = load_iris(return_X_y=True)
    features, classes = np.abs(features[::5]), classes[::5]
    targets = (classes, (classes > 0).astype(int), classes + 1.0, np.stack([classes, classes], axis=1))
    for _, kind in all_estimators():
        for model in _variants(kind):
            yield model
            for target in targets:
                try:
                    fitted = sklearn.clone(model).fit(features, target)
                except Exception:  # noqa: BLE001, S112 many estimators want other data; they are kept unfitted
                    continue
                yield fitted
    yield Pipeline([("scale", StandardScaler())])
    yield from [
        scipy.sparse.csr_matrix(np.eye(3)), scipy.sparse.csc_matrix(np.eye(3)), scipy.sparse.csr_array(np.eye(3)),
        np.float64(1.5), np.int64(1), np.bool_(True), np.str_("a"), np.array(["a", 1], dtype=object), np.arange(4.0),
        np.zeros((2, 3), order="F"), np.array("2026", dtype="M8[D]"), np.random.default_rng(1), np.random.RandomState(1),
        np.zeros(2, dtype=[("a", "f8"), ("b", "i4")]), np.ma.masked_array([1.0, 2.0], [False, True]), np.float64, np.int64,
        collections.OrderedDict(a=1), slice(1, 2), {1, 2}, frozenset([1]), 1j, bytearray(b"a"), np.dtype("f4"),
        np.float32(1.5), np.int32(1),
    ]  # fmt: skip


def _variants(kind: Any) -> Iterator[Any]:
    """An estimator with its defaults, then with each other value of what decides which classes it is built of."""
    for arguments in ((), (LogisticRegression(),), ([("a", LogisticRegression()), ("b", LogisticRegression())],)):
        try:
            model = kind(*arguments)
        except Exception:  # noqa: BLE001, S112 wants other arguments
            continue
        cheap = {"n_estimators": 2, "max_iter": 5, "n_components": 2, "random_state": 0}
        model.set_params(**{k: v for k, v in cheap.items() if k in model.get_params(deep=False)})
        yield model
        for name in ("loss", "algorithm", "kernel", "solver", "metric"):
            for constraint in getattr(kind, "_parameter_constraints", {}).get(name, []):
                for option in sorted(getattr(constraint, "options", ()), key=str):
                    yield sklearn.clone(model).set_params(**{name: option})
        return


def _pickled_names(model: Any) -> set[tuple[str, str]]:
    names: set[tuple[str, str]] = {(type(model).__module__, type(model).__qualname__)}
    blobs = []
    for protocol in range(6):
        try:
            blobs.append(pickle.dumps(model, protocol))
        except Exception:  # noqa: BLE001, S112 this protocol cannot write it
            continue
    buffer = io.BytesIO()
    try:
        joblib.dump(model, buffer)
        blobs.append(buffer.getvalue())
    except Exception:  # noqa: BLE001, S110 what cannot be written cannot be read either
        pass
    for blob in blobs:
        record = walk_pickle(memoryview(blob), Notes(ScanLimits()))
        if record.broken or record.end != len(blob):
            raise AssertionError(f"{type(model)}: {record.broken}")
        names |= {(found.module, found.name) for found in record.imports}
        # The aliases under which older and newer NumPy write the same names.
        names |= {(m.replace("numpy._core", "numpy.core"), n) for m, n in names if m.startswith("numpy._core")}
    return names


def _add_skops(model: Any, types: set[tuple[str, str]], loaders: set[str]) -> None:
    """Note what the file of `model` builds, when all that skops does not trust by itself is scikit-learn's own."""
    import zipfile

    try:
        data = skops.io.dumps(model)
    except (UnsupportedTypeException, TypeError, ValueError, AttributeError, RecursionError):
        return
    with zipfile.ZipFile(io.BytesIO(data)) as archive:
        schema = json.loads(archive.read("schema.json"))
    found_types, found_loaders = set[tuple[str, str]](), set[str]()
    _collect_nodes(schema, found_types, found_loaders)
    untrusted = skops.io.get_untrusted_types(data=data)
    if found_loaders & _CALLABLES or not all(name.startswith("sklearn.") for name in untrusted):
        return
    types |= found_types
    loaders |= found_loaders


def _collect_nodes(node: Any, types: set[tuple[str, str]], loaders: set[str]) -> None:
    if isinstance(node, dict):
        module, name, loader = (node.get(key) for key in ("__module__", "__class__", "__loader__"))
        if isinstance(module, str) and isinstance(name, str):
            types.add((module, name))
            if isinstance(loader, str):
                loaders.add(loader)
    for child in node.values() if isinstance(node, dict) else node if isinstance(node, list) else ():
        _collect_nodes(child, types, loaders)


if __name__ == "__main__":
    main()
