"""Whatever the bytes, a scan ends in a verdict: it never raises, and altered models are not waved through."""

from __future__ import annotations

import sys
from pathlib import Path

from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from casemate.core import Verdict, seal_bytes
from casemate.scanning import scan

sys.path.insert(0, str(Path(__file__).parents[2] / "unit" / "scanning"))
from evil_files import CALL, EVIL, GOOD, MARKER

few = settings(max_examples=15, deadline=None, suppress_health_check=[HealthCheck.too_slow])
SEEDS = [data for data, _ in EVIL.values() if 0 < len(data) < 10_000]


def verdict_of(data: bytes) -> Verdict:
    with seal_bytes([data]) as file:
        return scan({"model.bin": file}).verdict


@given(st.binary(max_size=2000))
@few
def test_noise_is_refused(data: bytes) -> None:
    assert verdict_of(data) == "refused"


@given(st.data())
@few
def test_an_altered_evil_file_ends_in_a_verdict_and_runs_nothing(data: st.DataObject) -> None:
    seed = bytearray(data.draw(st.sampled_from(SEEDS)))
    seed[data.draw(st.integers(0, len(seed) - 1))] ^= data.draw(st.integers(1, 255))
    assert verdict_of(bytes(seed)) in ("refused", "clean")
    assert not Path(MARKER).exists()


@given(st.integers(0, len(CALL) - 1))
@few
def test_a_pickle_is_refused_wherever_it_is_cut(end: int) -> None:
    assert verdict_of(CALL[:end]) == "refused"


@given(st.integers(1, len(GOOD) - 1))
@few
def test_a_model_cut_short_is_never_taken_whole(end: int) -> None:
    assert verdict_of(GOOD[:end]) == "refused"
