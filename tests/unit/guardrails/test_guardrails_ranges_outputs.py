"""The training range is named feature by feature; what leaves is coarse and exactly what was promised."""

from __future__ import annotations

import numpy as np
import pytest

from casemate.core import InputError, SandboxError, Signature, TensorSpec, VerificationError
from casemate.guardrails import OutputHardener, Precision, RangeScreen

LABEL = TensorSpec(name="label", datatype="INT64", shape=(-1,))
SCORE = TensorSpec(name="score", datatype="FP32", shape=(-1, 2))


def screen(**changes) -> RangeScreen:
    spec = {"name": "x", "datatype": "FP32", "shape": (-1, 2), "low": (0.1, -1.0), "high": (17.99, 1.0)} | changes
    return RangeScreen(Signature(inputs=(TensorSpec(**spec),), outputs=(), runtime="onnx"))


def test_names_only_the_features_outside():
    named = screen(features=("radius", "texture"))
    rows = np.array([[1, 0], [18, 0.5]], np.float32)
    assert named.outside({"x": rows}) == ("radius",)
    assert screen().outside({"x": rows}) == ("x[0]",)


def test_the_ends_of_the_range_are_inside_although_float32_rounds():
    assert screen().outside({"x": np.array([[0.1, -1.0], [17.99, 1.0]], np.float32)}) == ()
    assert screen().outside({"x": np.nextafter(np.array([[17.99, 1.0]], np.float32), np.inf)}) == ("x[0]", "x[1]")


def test_integers_are_compared_with_fractional_bounds():
    whole = screen(datatype="INT64", low=(0.5, 0), high=(1.5, 1))
    assert whole.outside({"x": np.array([[1, 1]])}) == ()
    assert whole.outside({"x": np.array([[0, 1]])}) == ("x[0]",)


def test_no_known_range_flags_nothing():
    assert screen(low=(), high=()).outside({"x": np.array([[1e30, 0]], np.float32)}) == ()


@pytest.mark.parametrize("wrong", [{"low": (0.0,)}, {"high": ()}, {"features": ("a",)}, {"datatype": "BYTES"}])
def test_a_range_that_does_not_fit_is_refused(wrong):
    with pytest.raises(VerificationError, match="does not fit"):
        screen(**wrong)


def harden(outputs, *, decimals=2, digits=3, rows=1, specs=(LABEL, SCORE)):
    signature = Signature(inputs=(), outputs=specs, runtime="onnx")
    return OutputHardener(signature, Precision(decimals=decimals, digits=digits)).harden(outputs, rows=rows)


def good(**changes):
    return {"label": np.array([1]), "score": np.array([[0.123456, 0.876544]], np.float32)} | changes


def test_confidences_are_rounded_and_labels_are_not():
    label, score = harden(good(label=np.array([123456])))
    assert label == {"name": "label", "datatype": "INT64", "shape": [1], "data": [123456]}
    assert score == {"name": "score", "datatype": "FP32", "shape": [1, 2], "data": [0.12, 0.88]}


def test_other_numbers_keep_significant_digits():
    assert harden(good(score=np.array([[1234.5, -0.0012345]], np.float32)))[1]["data"] == [1230.0, -0.00123]


def test_open_leaves_numbers_alone():
    score = np.array([[0.123456, 0.876544]], np.float32)
    assert harden(good(score=score), decimals=None, digits=None)[1]["data"] == score.ravel().tolist()


@pytest.mark.parametrize(
    "outputs",
    [
        {"label": np.array([1])},
        good(extra=np.array([1])),
        good(label=np.array([1], np.int32)),
        good(label=np.array([1, 2])),
        good(label=np.array([[1]])),
        good(score=np.zeros((1, 3), np.float32)),
        {"label": np.array([1]), "other": np.zeros((1, 2), np.float32)},
    ],
    ids=["missing", "extra", "datatype", "rows", "dimensions", "width", "name"],
)
def test_an_answer_that_breaks_its_promise_does_not_leave(outputs):
    with pytest.raises(SandboxError) as caught:
        harden(outputs)
    assert caught.value.code == "wrong-output"


def test_objects_that_are_no_text_do_not_leave():
    text = TensorSpec(name="t", datatype="BYTES", shape=(-1,))
    assert harden({"t": np.array(["a"], object)}, specs=(text,))[0]["data"] == ["a"]
    with pytest.raises(SandboxError):
        harden({"t": np.array([{"a": 1}], object)}, specs=(text,))


@pytest.mark.parametrize("value", [np.nan, np.inf, -np.inf])
def test_no_finite_answer_is_said_so(value):
    with pytest.raises(InputError, match="no finite answer") as caught:
        harden(good(score=np.array([[value, 0]], np.float32)))
    assert caught.value.code == "no-finite-answer"
