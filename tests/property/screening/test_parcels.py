"""A parcel opens to what was sealed; one flipped bit, another number or another kind, and it does not."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from casemate.core import VerificationError
from casemate.screening.parcels import Parcels, new_key

PARCELS = Parcels(new_key())


@given(st.binary(max_size=300), st.integers(0, 1 << 20))
def test_what_is_sealed_comes_back_and_does_not_show(data, number) -> None:
    parcel = PARCELS.seal("block", number, data)
    assert PARCELS.open("block", number, parcel) == data
    assert parcel != PARCELS.seal("block", number, data)
    assert len(data) < 8 or data not in parcel


@given(st.binary(min_size=1, max_size=100), st.integers(0, 1 << 20), st.data())
def test_an_altered_or_exchanged_parcel_is_refused(content, number, data) -> None:
    parcel = PARCELS.seal("block", number, content)
    at = data.draw(st.integers(0, len(parcel) * 8 - 1))
    flipped = bytearray(parcel)
    flipped[at // 8] ^= 1 << at % 8
    for what, which, one in (
        ("block", number, bytes(flipped)),
        ("block", number + 1, parcel),
        ("judgement", number, parcel),
        ("block", number, parcel[:-1]),
        ("block", number, b""),
    ):
        with pytest.raises(VerificationError) as refused:
            PARCELS.open(what, which, one)
        assert refused.value.code == "ray-altered"
    with pytest.raises(VerificationError):
        Parcels(new_key()).open("block", number, parcel)
