"""Whatever the bytes, a scan ends in a verdict: it never raises, runs nothing, and waves no altered model through."""

from __future__ import annotations

import gzip
from pathlib import Path

import msgspec
import pytest
from evil_archives import EVIL, tarred, zipped
from evil_models import add_model, tensors_file, weight
from held_files import held
from hypothesis import HealthCheck, example, given, settings
from hypothesis import strategies as st
from make_evil import evil_cases
from opcodes import MARKER

from casemate.core import Finding, InputError, Verdict, seal_bytes, verdict_of
from casemate.scanning import DatasetLimits, ScanLimits, scan
from casemate.scanning.dataset_conversion import convert
from casemate.scanning.inspection import inspect_files
from casemate.scanning.strict_json import parse_json

GOOD = add_model(weight()).SerializeToString()
TENSORS = tensors_file({"a": {"dtype": "F32", "shape": [4], "data_offsets": [0, 16]}})
SEEDS = [data for files, _ in evil_cases().values() for data in files.values() if 0 < len(data) < 4000]
SMALL = ScanLimits(expanded_bytes=8 << 20, operations=200_000)
many = settings(max_examples=300, deadline=None, suppress_health_check=[HealthCheck.too_slow])
few = settings(max_examples=10, deadline=None, suppress_health_check=[HealthCheck.too_slow])


def inspected(data: bytes) -> Verdict:
    """The verdict of what runs in the sandbox, here without one: an exception is a failure of the test."""
    answer = inspect_files({"model.bin": memoryview(data)}, SMALL)
    assert len(answer["findings"]) <= 100
    assert not Path(MARKER).exists()
    findings = msgspec.convert(answer["findings"], list[Finding])
    return verdict_of(findings) if answer["format"] else Verdict.REFUSED


def flipped(data: bytes, at: int, mask: int) -> bytes:
    at %= len(data)
    return data[:at] + bytes([data[at] ^ mask]) + data[at + 1 :]


@given(st.binary(max_size=3000))
@many
def test_noise_is_refused(data: bytes) -> None:
    assert inspected(data) is Verdict.REFUSED


@given(
    st.sampled_from([b"\x80\x04", b"\x80\x02", b"PK\3\4", b"\x08\x09\x12", b"\x93NUMPY\1\0", b"(", b"c"]),
    st.binary(max_size=300),
)
@many
def test_noise_behind_a_known_head_is_refused(head: bytes, data: bytes) -> None:
    assert inspected(head + data) is Verdict.REFUSED


@given(st.sampled_from(SEEDS), st.lists(st.tuples(st.integers(0, 4000), st.integers(1, 255)), min_size=1, max_size=4))
@many
def test_altered_hostile_files_end_in_a_verdict(seed: bytes, flips: list[tuple[int, int]]) -> None:
    for at, mask in flips:
        seed = flipped(seed, at, mask)
    assert inspected(seed) in Verdict


@given(st.sampled_from(SEEDS), st.integers(0, 4000), st.integers(0, 4000))
@many
def test_cut_and_joined_hostile_files_end_in_a_verdict(seed: bytes, start: int, stop: int) -> None:
    assert inspected(seed[start % len(seed) :]) in Verdict
    assert inspected(seed[: stop % len(seed)] + seed[start % len(seed) :]) in Verdict


@pytest.mark.parametrize(
    "data",
    [GOOD, TENSORS, EVIL, zipped({"a.txt": b"a"}), tarred(("a.txt", b"a", b"0")), gzip.compress(EVIL)],
    ids=["onnx", "safetensors", "pickle", "zip", "tar", "gzip"],
)
def test_no_beginning_of_a_file_passes(data: bytes) -> None:
    passed = [end for end in range(len(data)) if inspected(data[:end]) is Verdict.CLEAN]
    assert passed == []


@pytest.mark.parametrize("mask", [1, 0x80, 0xFF])
def test_every_flip_in_a_zip_of_stored_bytes_is_noticed(mask: int) -> None:
    """But for the times and versions of members, which no loader acts on: the verdict stays refused all the same."""
    data = zipped({"model.pkl": EVIL})
    assert {inspected(flipped(data, at, mask)) for at in range(len(data))} == {Verdict.REFUSED}


@pytest.mark.parametrize("mask", [1, 0x80, 0xFF])
def test_flips_in_the_header_of_safetensors_are_noticed(mask: int) -> None:
    """A name or the text of the metadata may change, and numbers may; signatures are for that. Structure may not."""
    header = len(TENSORS) - 16
    passed = {at for at in range(header) if inspected(flipped(TENSORS, at, mask)) is Verdict.CLEAN}
    assert passed <= {TENSORS.index(b'"a"') + 1, TENSORS.index(b"F32")}


@given(st.binary(max_size=200))
@example(b"[" * 5000)
@many
def test_json_is_parsed_or_refused_with_a_sentence(data: bytes) -> None:
    try:
        parse_json(data)
    except ValueError as error:
        assert str(error)


@given(st.one_of(st.binary(max_size=300), st.text(max_size=300).map(str.encode)))
@example(b'a\n"')
@example(b"\xff\xfea")
@example(b"PAR1" + bytes(20) + b"PAR1")
@many
def test_a_table_is_read_or_refused_with_a_sentence(data: bytes) -> None:
    if not data:
        return
    try:
        schema, _ = convert(held(data), "rows", lambda _: None, target=None, limits=DatasetLimits())
        assert schema["rows"] > 0
    except InputError as error:
        assert error.code.startswith("dataset-")
        assert "\n" not in error.message


@given(st.binary(max_size=500))
@few
def test_the_public_door_gives_a_verdict_too(data: bytes) -> None:
    with seal_bytes([data]) as file:
        assert scan({"model.bin": file}).verdict is Verdict.REFUSED


@given(st.integers(1, len(GOOD) - 1))
@few
def test_the_public_door_takes_no_part_for_the_whole(end: int) -> None:
    with seal_bytes([GOOD[:end]]) as file:
        assert scan({"model.bin": file}).verdict is Verdict.REFUSED
