from __future__ import annotations

from typing import Any

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from hypothesis.extra import numpy as hnp

from casemate.core import DATATYPES, SandboxError
from casemate.runtime.tensors import Array, decode_tensors, encode_tensors

_SHAPES = hnp.array_shapes(min_dims=0, max_dims=4, min_side=0, max_side=4)
_NUMBERS = st.sampled_from([name for name in DATATYPES.values() if name != "object"]).flatmap(
    lambda name: hnp.arrays(np.dtype(name), _SHAPES)
)
_TEXTS = _SHAPES.flatmap(
    lambda shape: st.lists(
        st.text(st.characters(exclude_categories=["Cs"])), min_size=int(np.prod(shape)), max_size=int(np.prod(shape))
    ).map(lambda values: _objects(values, shape))
)
_ARRAYS = st.dictionaries(st.text(max_size=8), _NUMBERS | _TEXTS, max_size=3)
_PLAIN = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats() | st.text() | st.binary(),
    lambda inner: st.lists(inner) | st.dictionaries(st.text(), inner),
    max_leaves=8,
)


def _objects(values: list[str], shape: tuple[int, ...]) -> Array:
    array = np.empty(len(values), dtype=object)
    array[:] = values
    return array.reshape(shape)


@given(_ARRAYS)
def test_what_goes_in_comes_out(arrays: dict[str, Array]) -> None:
    headers, buffers = encode_tensors(arrays)
    decoded = decode_tensors(headers, buffers)
    assert list(decoded) == list(arrays)
    for name, array in arrays.items():
        assert decoded[name].dtype == array.dtype
        np.testing.assert_array_equal(decoded[name], array)


@given(_ARRAYS.filter(bool), st.data())
def test_a_buffer_of_another_length_is_refused(arrays: dict[str, Array], data: st.DataObject) -> None:
    headers, buffers = encode_tensors(arrays)
    index = data.draw(st.integers(0, len(buffers) - 1))
    buffer = bytes(buffers[index])
    stop = data.draw(st.integers(0, len(buffer)))
    other = buffer[:stop] if stop < len(buffer) else buffer + data.draw(st.binary(min_size=1, max_size=9))
    with pytest.raises(SandboxError) as refused:
        decode_tensors(headers, [*buffers[:index], other, *buffers[index + 1 :]])
    assert refused.value.code == "tensor-malformed"


@given(_PLAIN, st.lists(st.binary(max_size=20), max_size=3))
def test_whatever_comes_is_a_tensor_or_refused(headers: Any, buffers: list[bytes]) -> None:
    try:
        decoded = decode_tensors(headers, buffers)
    except SandboxError as error:
        assert error.code == "tensor-malformed"
    else:
        assert len(decoded) <= len(buffers)


@given(
    st.lists(
        st.tuples(
            st.text(max_size=3) | st.integers(),
            st.sampled_from([*DATATYPES, "FP8"]) | st.integers() | st.lists(st.integers()),
            st.lists(st.integers(-2, 1 << 62), max_size=9) | st.integers(),
        ),
        min_size=1,
        max_size=3,
    ),
    st.lists(st.binary(max_size=40), min_size=1, max_size=3),
)
def test_nearly_right_headers_never_escape(headers: list[tuple[Any, Any, Any]], buffers: list[bytes]) -> None:
    try:
        decoded = decode_tensors(headers, buffers)
    except SandboxError as error:
        assert error.code == "tensor-malformed"
    else:
        assert all(array.ndim <= 8 for array in decoded.values())


def test_a_boolean_is_0_or_1() -> None:
    with pytest.raises(SandboxError):
        decode_tensors([("x", "BOOL", [2])], [b"\1\2"])


def test_text_that_is_not_utf_8_is_refused() -> None:
    with pytest.raises(SandboxError):
        decode_tensors([("x", "BYTES", [1])], [b"\1\0\0\0\xff"])


def test_two_tensors_of_one_name_are_refused() -> None:
    with pytest.raises(SandboxError):
        decode_tensors([("x", "INT8", [1]), ("x", "INT8", [1])], [b"\1", b"\2"])


def test_a_type_without_a_name_is_refused() -> None:
    with pytest.raises(SandboxError) as refused:
        encode_tensors({"x": np.zeros(1, complex)})
    assert refused.value.code == "tensor-type"


def test_text_of_any_kind_is_bytes() -> None:
    headers, buffers = encode_tensors({"x": np.array(["a", "bc"])})
    assert headers == [("x", "BYTES", [2])]
    assert decode_tensors(headers, buffers)["x"].tolist() == ["a", "bc"]
