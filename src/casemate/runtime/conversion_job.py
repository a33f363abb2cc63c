"""The confined side of a conversion: the one place where a pickle is loaded. Everything that it says is foreign.

`main` loads the estimator of the first descriptor, writes it in the wished form to the last, asks for rows, and answers what it
predicts for them.
"""

from __future__ import annotations

import json
import os
import warnings
from collections.abc import Mapping
from typing import Any

import joblib  # type: ignore[import-untyped]  # noqa: TID251 inside the sandbox
import numpy as np

from casemate.core import InputError
from casemate.core.wire import Frame
from casemate.sandbox.channel import Asking

_OPSET = 17
_MOST_ANSWER = 15 << 20  # bytes; the other side takes 16 MiB


def main(frame: Frame, ask: Asking) -> Frame:
    """message: {"to"}; fds: the pickle, the output. Asks {"estimator", "width", "warnings"} once it has written, and gets the
    rows' float64 bytes; answers {"shapes"} and the predictions' float64 bytes."""
    source, output = frame.fds
    with warnings.catch_warnings(record=True) as caught:
        warnings.simplefilter("always")
        model = _loaded(source)
        width = _width(model)
        export = {
            "lightgbm": _to_lightgbm,
            "onnx": _to_onnx,
            "safetensors": _to_safetensors,
            "skops": _to_skops,
            "xgboost": _to_xgboost,
        }
        data = export[frame.message["to"]](model, np.zeros((1, width)))
    with os.fdopen(output, "wb") as file:
        file.write(data)
    written = {
        "estimator": f"{type(model).__module__}.{type(model).__qualname__}"[:200],
        "width": width,
        "warnings": sorted({f"{w.category.__name__}: {w.message}"[:300] for w in caught})[:10],
    }
    rows = np.frombuffer(ask(written).buffers[0]).reshape(-1, width)
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        predicted = (_scored if frame.message["to"] == "safetensors" else _predicted)(model, rows)
    shapes = {name: list(array.shape) for name, array in predicted.items()}
    return Frame(
        {"shapes": shapes}, [bytearray(np.ascontiguousarray(array, np.float64)) for array in predicted.values()]
    )


def _loaded(source: int) -> Any:
    try:
        model = joblib.load(f"/proc/self/fd/{source}")
    except MemoryError:
        raise
    except Exception as error:  # noqa: BLE001 a pickle may raise anything
        if isinstance(error, ModuleNotFoundError):
            raise InputError(
                f"The pickle needs the module {error.name}, which is not installed here.", code="convert-module"
            ) from None
        raise InputError(f"The pickle does not load: {type(error).__name__}: {error}", code="convert-load") from None
    if isinstance(model, Mapping) and len(model) == 1:
        (model,) = model.values()
    return model


def _width(model: Any) -> int:
    width = getattr(model, "n_features_in_", None)
    if not callable(getattr(model, "predict", None)) or not isinstance(width, int | np.integer):
        raise InputError(
            f"The pickle holds a {type(model).__qualname__}, no fitted estimator that can predict.",
            code="convert-estimator",
        )
    return int(width)


def _to_onnx(model: Any, rows: Any) -> bytes:
    from skl2onnx import to_onnx

    options = {"zipmap": False} if hasattr(model, "classes_") else None
    _unnamed(model)
    try:
        graph = to_onnx(model, rows[:1].astype(np.float32), options=options, target_opset=_OPSET)
    except Exception as error:  # noqa: BLE001 converters raise what they like
        raise InputError(
            f"There is no converter to ONNX for all of it: {str(error)[:300]}. Try --to skops.",
            code="convert-unsupported",
        ) from None
    return bytes(graph.SerializeToString())


def _to_skops(model: Any, _rows: Any) -> bytes:
    import skops.io

    try:
        return bytes(skops.io.dumps(model))
    except Exception as error:  # noqa: BLE001 the same
        raise InputError(
            f"skops cannot write it: {str(error)[:300]}. Try --to onnx.", code="convert-unsupported"
        ) from None


def _to_safetensors(model: Any, rows: Any) -> bytes:
    """The weights of a linear model: rows times `coef`, and `intercept`, is all that it does."""
    coef, intercept = getattr(model, "coef_", None), getattr(model, "intercept_", None)
    if not isinstance(coef, np.ndarray) or np.shape(np.atleast_2d(coef))[1] != rows.shape[1] or intercept is None:
        raise InputError(
            "Only a linear model is no more than its weights (coef_ and intercept_): convert it --to onnx.",
            code="convert-unsupported",
        )
    coef = np.ascontiguousarray(np.atleast_2d(coef), np.float64)
    intercept = np.ascontiguousarray(np.broadcast_to(np.ravel(intercept), len(coef)), np.float64)
    classes = {"classes": json.dumps([str(one) for one in model.classes_])} if hasattr(model, "classes_") else {}
    ends = coef.nbytes, coef.nbytes + intercept.nbytes
    header = {
        "__metadata__": {"scores": "rows @ coef.T + intercept", **classes},
        "coef": {"dtype": "F64", "shape": list(coef.shape), "data_offsets": [0, ends[0]]},
        "intercept": {"dtype": "F64", "shape": list(intercept.shape), "data_offsets": list(ends)},
    }
    text = json.dumps(header).encode()
    text += b" " * (-len(text) % 8)
    return len(text).to_bytes(8, "little") + text + coef.tobytes() + intercept.tobytes()


def _to_xgboost(model: Any, _rows: Any) -> bytes:
    booster = _booster(model, "get_booster", "XGBoost")
    return bytes(booster.save_raw("ubj"))


def _to_lightgbm(model: Any, _rows: Any) -> bytes:
    booster = _booster(model, "booster_", "LightGBM")
    return str(booster.model_to_string()).encode()


def _booster(model: Any, name: str, library: str) -> Any:
    classes = getattr(model, "classes_", None)
    if classes is not None and not np.array_equal(classes, np.arange(len(classes))):
        raise InputError(
            f"{library}'s file keeps no names of classes: number them from 0, or convert --to onnx.",
            code="convert-unsupported",
        )
    found = getattr(model, name, None)
    booster = found() if callable(found) else found
    if booster is None:
        raise InputError(f"The pickle holds no model of {library}.", code="convert-unsupported")
    return booster


def _unnamed(model: Any) -> None:
    """Forget column names, which would turn one table of rows into an input for each."""
    if hasattr(model, "feature_names_in_"):
        del model.feature_names_in_


def _scored(model: Any, rows: Any) -> dict[str, Any]:
    """What a linear model computes before it names a class."""
    scores = model.decision_function(rows) if hasattr(model, "classes_") else model.predict(rows)
    return {"label": np.asarray(scores).reshape(len(rows), -1)}


def _predicted(model: Any, rows: Any) -> dict[str, Any]:
    """Labels as places among the classes, or numbers; probabilities where there are any."""
    labels = np.asarray(model.predict(rows))
    classes = getattr(model, "classes_", None)
    if classes is not None and not isinstance(classes, list) and labels.ndim == 1:
        labels = np.searchsorted(classes, labels)
    found = {"label": labels}
    if callable(getattr(model, "predict_proba", None)):
        found["probabilities"] = np.asarray(model.predict_proba(rows))
    if sum(array.size * 8 for array in found.values()) > _MOST_ANSWER:
        raise InputError("Too many classes for so many rows.", code="convert-sample")
    return found
