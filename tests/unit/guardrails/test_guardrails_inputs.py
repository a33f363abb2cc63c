"""Requests become arrays only as the signature allows; each refusal has its code and names the tensor."""

from __future__ import annotations

import json

import numpy as np
import pytest

from casemate.core import DATATYPES, InputError, Signature, TensorSpec, VerificationError
from casemate.guardrails import InputReader, decode_request, encode_request

OUT = (TensorSpec(name="y", datatype="FP32", shape=(-1,)),)
READER = InputReader(
    Signature(inputs=(TensorSpec(name="x", datatype="FP32", shape=(-1, 3)),), outputs=OUT, runtime="onnx"), max_rows=4
)


def one(datatype: str, shape: tuple[int, ...] = (-1,)) -> InputReader:
    spec = TensorSpec(name="x", datatype=datatype, shape=shape)
    return InputReader(Signature(inputs=(spec,), outputs=OUT, runtime="onnx"), max_rows=100)


def tensor(**changes) -> dict:
    return {"name": "x", "shape": [1, 3], "datatype": "FP32", "data": [1, 2.5, -3]} | changes


def body(*tensors: dict, **more) -> bytes:
    return json.dumps({"inputs": list(tensors), **more}).encode()


def read(raw: bytes, reader: InputReader = READER) -> dict[str, np.ndarray]:
    return reader.read(decode_request(raw))


@pytest.mark.parametrize(
    ("data", "shape"),
    [
        ([1, 2.5, -3, 4, 5, 6], [2, 3]),
        ([[1, 2.5, -3], [4, 5, 6]], [2, 3]),
    ],
)
def test_flat_and_nested_data_are_the_same_array(data, shape):
    array = read(body(tensor(data=data, shape=shape)))["x"]
    assert array.dtype == np.float32
    assert array.tolist() == [[1, 2.5, -3], [4, 5, 6]]


REFUSED = {
    "nan literal": (body(tensor()).replace(b"2.5", b"NaN"), "malformed-json"),
    "infinity literal": (body(tensor()).replace(b"2.5", b"Infinity"), "malformed-json"),
    "minus infinity literal": (body(tensor()).replace(b"2.5", b"-Infinity"), "malformed-json"),
    "beyond float64": (body(tensor()).replace(b"2.5", b"1e999"), "not-finite"),
    "beyond float32": (body(tensor(data=[1, 1e39, 2])), "not-finite"),
    "integer of 5,000 digits": (body(tensor()).replace(b"2.5", b"1" * 5000), "not-finite"),
    "bool as number": (body(tensor(data=[1, True, 2])), "wrong-datatype"),
    "string as number": (body(tensor(data=[1, "2", 2])), "wrong-datatype"),
    "null as number": (body(tensor(data=[1, None, 2])), "wrong-datatype"),
    "object as data": (body(tensor(data={"a": 1})), "wrong-shape"),
    "number as data": (body(tensor(data=1)), "wrong-shape"),
    "too few": (body(tensor(data=[1, 2])), "wrong-length"),
    "too many": (body(tensor(data=[1, 2, 3, 4])), "wrong-length"),
    "empty": (body(tensor(data=[])), "wrong-length"),
    "ragged": (body(tensor(shape=[2, 3], data=[[1, 2], [3, 4, 5, 6]])), "wrong-length"),
    "nested too deep": (body(tensor(data=[[[1, 2, 3]]])), "wrong-shape"),
    "nested 100,000 deep": (body(tensor()).replace(b"2.5", b"[" * 100_000), "malformed-json"),
    "closed 100,000 deep": (body(tensor()).replace(b"2.5", b"[" * 100_000 + b"]" * 100_000), "malformed-json"),
    "wrong width": (body(tensor(shape=[1, 4], data=[1, 2, 3, 4])), "wrong-shape"),
    "no rows": (body(tensor(shape=[0, 3], data=[])), "wrong-shape"),
    "negative rows": (body(tensor(shape=[-1, 3])), "wrong-shape"),
    "flat shape": (body(tensor(shape=[3])), "wrong-shape"),
    "no shape": (body(tensor(shape=[])), "wrong-shape"),
    "huge shape": (body(tensor(shape=[10**30, 3])), "too-many-rows"),
    "bool in shape": (body(tensor(shape=[True, 3])), "wrong-document"),
    "five rows": (body(tensor(shape=[5, 3], data=[0] * 15)), "too-many-rows"),
    "other datatype": (body(tensor(datatype="FP64")), "wrong-datatype"),
    "unknown datatype": (body(tensor(datatype="FP128")), "wrong-datatype"),
    "other name": (body(tensor(name="z")), "unknown-input"),
    "twice": (body(tensor(), tensor()), "duplicate-input"),
    "none": (body(), "missing-input"),
    "unknown output": (body(tensor(), outputs=[{"name": "z"}]), "unknown-output"),
    "misspelt member": (body(tensor(), output=[]), "wrong-document"),
    "misspelt tensor member": (body(tensor(dtype="FP32")), "wrong-document"),
    "missing member": (b'{"inputs":[{"name":"x","shape":[1,3],"data":[1,2,3]}]}', "wrong-document"),
    "long id": (body(tensor(), id="i" * 129), "wrong-document"),
    "number as id": (body(tensor(), id=7), "wrong-document"),
    "list": (b"[]", "wrong-document"),
    "nothing": (b"", "malformed-json"),
    "cut off": (body(tensor())[:-1], "malformed-json"),
    "trailing": (body(tensor()) + b"x", "malformed-json"),
    "invalid UTF-8 name": (body(tensor()).replace(b'"x"', b'"\xff"'), "malformed-json"),
    "byte order mark": (b"\xef\xbb\xbf" + body(tensor()), "malformed-json"),
    "lone surrogate": (body(tensor()).replace(b'"x"', b'"\\ud800"'), "malformed-json"),
    "member twice": (body(tensor()).replace(b'"name"', b'"name": "z", "name"'), "duplicate-member"),
    "member twice, escaped": (body(tensor()).replace(b'"name"', b'"n\\u0061me": "z", "name"'), "duplicate-member"),
    "inputs twice": (body(tensor())[:-1] + b', "inputs": []}', "duplicate-member"),
    "parameter twice": (body(tensor(), parameters={})[:-3] + b'{"a": 1, "a": 2}}', "duplicate-member"),
}


@pytest.mark.parametrize(("raw", "code"), REFUSED.values(), ids=REFUSED.keys())
def test_refused_with_one_sentence(raw, code):
    with pytest.raises(InputError) as caught:
        read(raw)
    assert caught.value.code == code
    assert len(caught.value.message) < 400
    assert "Traceback" not in caught.value.message


def test_the_sentence_names_tensor_and_limit():
    with pytest.raises(InputError, match=r"'x' has 5 rows; at most 4"):
        read(REFUSED["five rows"][0])
    with pytest.raises(InputError, match=r"'x' must have shape \[n, 3\], not \[1, 4\]; n stands"):
        read(REFUSED["wrong width"][0])


def test_parameters_are_accepted_and_ignored():
    raw = body(tensor(parameters={"binary_data": False}), parameters={"a": {"b": [1]}}, outputs=[{"name": "y"}])
    assert read(raw)["x"].tolist() == [[1, 2.5, -3]]


def test_a_tensor_may_be_called_like_a_member():
    spec = TensorSpec(name="data", datatype="FP32", shape=(-1,))
    reader = InputReader(Signature(inputs=(spec,), outputs=OUT, runtime="onnx"), max_rows=4)
    assert read(body(tensor(name="data", shape=[2], data=[1, 2])), reader)["data"].tolist() == [1, 2]


@pytest.mark.parametrize("datatype", [name for name in DATATYPES if "INT" in name])
def test_integers_keep_their_range_and_refuse_the_next(datatype):
    bounds = np.iinfo(DATATYPES[datatype])
    least, most = int(bounds.min), int(bounds.max)
    reader = one(datatype)
    kept = read(body(tensor(datatype=datatype, shape=[2], data=[least, most])), reader)["x"]
    assert kept.tolist() == [least, most]
    assert kept.dtype == DATATYPES[datatype]
    for value in (least - 1, most + 1, 1.5, True, "1"):
        with pytest.raises(InputError) as caught:
            read(body(tensor(datatype=datatype, shape=[1], data=[value])), reader)
        assert caught.value.code == "wrong-datatype"


@pytest.mark.parametrize(("datatype", "good", "bad"), [("BOOL", [True, False], [1]), ("BYTES", ["é", ""], [1])])
def test_bools_and_texts_are_exact(datatype, good, bad):
    reader = one(datatype)
    assert read(body(tensor(datatype=datatype, shape=[2], data=good)), reader)["x"].tolist() == good
    with pytest.raises(InputError) as caught:
        read(body(tensor(datatype=datatype, shape=[1], data=bad[-1:])), reader)
    assert caught.value.code == "wrong-datatype"


def test_half_floats_that_overflow_are_not_finite():
    with pytest.raises(InputError) as caught:
        read(body(tensor(datatype="FP16", shape=[1], data=[70000])), one("FP16"))
    assert caught.value.code == "not-finite"


def test_inputs_must_have_equally_many_rows():
    specs = tuple(TensorSpec(name=name, datatype="FP32", shape=(-1,)) for name in ("a", "b"))
    reader = InputReader(Signature(inputs=specs, outputs=OUT, runtime="onnx"), max_rows=4)
    raw = encode_request({"a": np.zeros(2, np.float32), "b": np.zeros(3, np.float32)})
    with pytest.raises(InputError, match="3 rows where another has 2"):
        read(raw, reader)
    with pytest.raises(InputError, match="'b' is missing"):
        read(encode_request({"a": np.zeros(2, np.float32)}), reader)


def test_free_inner_dimensions_take_any_size():
    reader = one("FP32", (-1, -1))
    assert read(body(tensor(shape=[2, 2], data=[[1, 2], [3, 4]])), reader)["x"].shape == (2, 2)


def test_a_signature_that_cannot_be_served_is_refused():
    with pytest.raises(VerificationError, match="datatype or shape"):
        one("FP128")
