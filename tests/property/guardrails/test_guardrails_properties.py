"""Codecs of the data plane: what is encoded reads back the same; arbitrary bytes are refused, never an accident."""

from __future__ import annotations

import numpy as np
from hypothesis import given
from hypothesis import strategies as st
from hypothesis.extra import numpy as hnp

from casemate.core import DATATYPES, InputError, Signature, TensorSpec
from casemate.guardrails import InputReader, OutputHardener, Precision, RangeScreen, decode_request, encode_request

NUMBERS = [name for name in DATATYPES if name not in ("BYTES", "FP16")]


def reader_of(datatype: str, array: np.ndarray) -> InputReader:
    spec = TensorSpec(name="x", datatype=datatype, shape=(-1, *array.shape[1:]))
    return InputReader(Signature(inputs=(spec,), outputs=(), runtime="onnx"), max_rows=10_000)


@st.composite
def tensors(draw):
    datatype = draw(st.sampled_from(NUMBERS))
    shape = draw(hnp.array_shapes(min_dims=1, max_dims=4, max_side=4))
    dtype = np.dtype(DATATYPES[datatype])
    finite = {"allow_nan": False, "allow_infinity": False} if dtype.kind == "f" else None
    return datatype, draw(hnp.arrays(dtype, shape, elements=finite))


@given(tensors(), st.none() | st.text(max_size=20).filter(lambda text: text.isprintable()))
def test_what_is_sent_is_what_is_read(sent, request_id):
    datatype, array = sent
    request = decode_request(encode_request({"x": array}, request_id=request_id))
    got = reader_of(datatype, array).read(request)["x"]
    assert got.dtype == array.dtype
    assert np.array_equal(got, array)
    assert request.id == request_id


@given(st.lists(st.text(alphabet=st.characters(exclude_categories=["Cs"])), min_size=1, max_size=5))
def test_texts_are_read_as_sent(texts):
    array = np.array(texts, object)
    got = reader_of("BYTES", array).read(decode_request(encode_request({"x": array})))["x"]
    assert got.tolist() == texts


@given(st.binary(max_size=200))
def test_arbitrary_bytes_are_refused(data):
    try:
        decode_request(data)
    except InputError as error:
        assert error.code in {"malformed-json", "wrong-document", "duplicate-member"}
    else:
        raise AssertionError("200 random bytes read as a request")


VALID = encode_request({"x": np.array([[1.5, 2, 3]], np.float32)}, request_id="abc")
READER = reader_of("FP32", np.zeros((1, 3)))


@given(st.integers(0, len(VALID) - 1))
def test_truncation_is_refused(length):
    try:
        decode_request(VALID[:length])
    except InputError as error:
        assert error.code == "malformed-json"
    else:
        raise AssertionError(f"{length} bytes of {len(VALID)} read as a whole request")


@given(st.integers(0, len(VALID) - 1), st.integers(1, 255))
def test_a_flipped_byte_is_refused_or_still_a_valid_tensor(place, flip):
    """JSON carries no checksum: a flipped digit is another number. What is read always fits the signature."""
    changed = VALID[:place] + bytes([VALID[place] ^ flip]) + VALID[place + 1 :]
    try:
        array = READER.read(decode_request(changed))["x"]
    except InputError:
        return
    assert array.shape == (1, 3)
    assert array.dtype == np.float32
    assert np.isfinite(array).all()


@given(hnp.arrays(np.float32, (4, 3), elements=st.floats(-1e6, 1e6, width=32)))
def test_training_rows_are_inside_their_own_range(rows):
    low, high = rows.min(axis=0).tolist(), rows.max(axis=0).tolist()
    spec = TensorSpec(name="x", datatype="FP32", shape=(-1, 3), low=tuple(low), high=tuple(high))
    assert RangeScreen(Signature(inputs=(spec,), outputs=(), runtime="onnx")).outside({"x": rows}) == ()


@given(hnp.arrays(np.float32, (5,), elements=st.floats(0, 1, width=32)), st.integers(0, 6))
def test_confidences_are_off_by_half_a_unit_at_most(values, decimals):
    spec = TensorSpec(name="y", datatype="FP32", shape=(-1,))
    hardener = OutputHardener(
        Signature(inputs=(), outputs=(spec,), runtime="onnx"), Precision(decimals=decimals, digits=3)
    )
    got = np.array(hardener.harden({"y": values}, rows=5)[0]["data"])
    assert np.abs(got - values).max() <= 0.5 * 10.0**-decimals + 1e-9
    assert (got == np.round(got, decimals)).all()
