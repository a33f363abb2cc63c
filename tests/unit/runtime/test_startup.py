"""What a worker says of itself is foreign; so is which file it is to load."""

from __future__ import annotations

from typing import Any

import pytest

from casemate.core import CasemateError, ServedFile, Signature, TensorSpec, VerificationError
from casemate.runtime.formats import entry_of
from casemate.runtime.startup import _ready, checked_signature

GOOD = {
    "inputs": [{"name": "X", "datatype": "FP32", "shape": [-1, 2]}],
    "outputs": [{"name": "y", "datatype": "FP32", "shape": [-1]}],
    "runtime": "onnx",
}


def test_a_good_answer_is_read() -> None:
    signature, batchable = _ready({"ready": {"signature": GOOD, "batchable": True}})
    assert signature.inputs[0].shape == (-1, 2)
    assert batchable


@pytest.mark.parametrize(
    ("answer", "code"),
    [
        (None, "sandbox-protocol"),
        ([], "sandbox-protocol"),
        ({"ready": {}}, "sandbox-protocol"),
        ({"ready": {"signature": GOOD | {"inputs": 3}, "batchable": True}}, "sandbox-protocol"),
        ({"error": {"code": "model-io", "message": "\x1b[31mred"}}, "model-io"),
        ({"error": {"code": "anything", "message": 3}}, "model-load-failed"),
        ({"error": {}}, "model-load-failed"),
    ],
)
def test_a_bad_answer_has_a_code_and_prints_safely(answer: Any, code: str) -> None:
    with pytest.raises(CasemateError) as refused:
        _ready(answer)
    assert refused.value.code == code
    assert refused.value.message.isprintable()


@pytest.mark.parametrize(
    "spec",
    [
        TensorSpec(name="", datatype="FP32", shape=(1,)),
        TensorSpec(name="a\n", datatype="FP32", shape=(1,)),
        TensorSpec(name="a" * 300, datatype="FP32", shape=(1,)),
        TensorSpec(name="a", datatype="COMPLEX", shape=(1,)),
        TensorSpec(name="a", datatype="FP32", shape=(-2,)),
        TensorSpec(name="a", datatype="FP32", shape=(1,) * 9),
        TensorSpec(name="a", datatype="FP32", shape=(1 << 40,)),
        TensorSpec(name="a", datatype="FP32", shape=(1,), features=("\0",)),
    ],
)
def test_tensors_that_cannot_be_served_are_refused(spec: TensorSpec) -> None:
    fine = TensorSpec(name="X", datatype="FP32", shape=(1,))
    for inputs, outputs in (
        ((spec,), (fine,)),
        ((fine,), (spec,)),
        ((), (fine,)),
        ((fine,), ()),
        ((fine, fine), (fine,)),
    ):
        with pytest.raises(VerificationError) as refused:
            checked_signature(Signature(inputs=inputs, outputs=outputs, runtime="onnx"))
        assert refused.value.code == "model-io"


def test_the_signed_runtime_decides_what_starts() -> None:
    served = ServedFile(path="odd.onnx", runtime="skops")
    assert entry_of(served) == "casemate.runtime.model_skops:serve"
