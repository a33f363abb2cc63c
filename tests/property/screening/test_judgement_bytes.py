"""A judgement comes back as it was packed; what is no judgement of the block is refused."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from casemate.core import UpstreamError
from casemate.screening.judge import Judgement
from casemate.screening.judgement_bytes import pack_judgement, read_judgement


def made(rows: int, classes: int, seed: int, *, late: bool, unread: bool) -> tuple[Judgement, np.ndarray | None]:
    rng = np.random.default_rng(seed)
    judged = Judgement(
        likely=rng.random(rows, np.float32),
        meant=rng.integers(0, classes, rows).astype(np.int32),
        trigger=rng.random(rows, np.float32) * 3,
        odd=rng.random(rows, np.float32) * 9,
        cells=rng.integers(0, 1 << 64, (rows, 3), np.uint64),
        late=rng.random(rows, np.float32) if late else None,
    )
    return judged, rng.random(rows) < 0.5 if unread else None


# Rows, classes, seed, and whether there are late opinions and unread images.
SHAPES = st.tuples(st.integers(0, 20), st.integers(2, 9), st.integers(0, 1 << 32), st.booleans(), st.booleans())


@given(SHAPES)
def test_what_is_packed_comes_back(shape) -> None:
    rows, classes, seed, late, unread = shape
    judged, images = made(rows, classes, seed, late=late, unread=unread)
    found, seen = read_judgement(pack_judgement(judged, images), rows=rows, classes=classes, late=late, unread=unread)
    for name in ("likely", "meant", "trigger", "odd", "cells", "late"):
        before, after = getattr(judged, name), getattr(found, name)
        assert (before is None) == (after is None)
        if before is not None:
            assert before.dtype == after.dtype
            assert np.array_equal(before, after)
    assert (images is None and seen is None) or np.array_equal(images, seen)


@given(SHAPES, st.integers(1, 40))
def test_a_part_of_one_or_one_of_other_rows_is_refused(shape, cut) -> None:
    rows, classes, seed, late, unread = shape
    packed = pack_judgement(*made(rows, classes, seed, late=late, unread=unread))
    said = {"rows": rows, "classes": classes, "late": late, "unread": unread}
    for data, other in (
        (packed[:-cut], {}),
        (packed, {"rows": rows + 1}),
        (packed, {"late": not late}),
        (packed, {"unread": not unread}),
    ):
        with pytest.raises(UpstreamError) as refused:
            read_judgement(data, **{**said, **other})
        assert refused.value.code == "ray-judgement"


@given(st.binary(max_size=200))
def test_any_bytes_are_refused(data) -> None:
    with pytest.raises(UpstreamError):
        read_judgement(data, rows=3, classes=2, late=False, unread=False)


@pytest.mark.parametrize(
    ("name", "value"),
    [
        ("likely", np.nan),
        ("likely", 1.5),
        ("meant", 2),
        ("meant", -1),
        ("trigger", -0.1),
        ("trigger", np.inf),
        ("odd", np.nan),
    ],
)
def test_values_that_no_judgement_has_are_refused(name, value) -> None:
    judged, _ = made(4, 2, 0, late=False, unread=False)
    getattr(judged, name)[2] = value
    with pytest.raises(UpstreamError):
        read_judgement(pack_judgement(judged, None), rows=4, classes=2, late=False, unread=False)
