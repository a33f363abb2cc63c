"""Boosted trees and other structures with anything changed: a verdict, never an exception, and no part for the whole."""

from __future__ import annotations

import json
import struct

import msgspec
import numpy as np
import pytest
from evil_boosters import honest_boosters, lightgbm_text, ubjson, xgboost_document
from evil_structures import TEMPLATES, gguf, keras, layer, saved_model
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from casemate.core import Finding, Verdict, verdict_of
from casemate.scanning import ScanLimits
from casemate.scanning.inspection import inspect_files
from casemate.scanning.notes import Notes, RefusedError
from casemate.scanning.ubjson import parse_ubjson

SMALL = ScanLimits(expanded_bytes=8 << 20, operations=200_000)
SEEDS = [
    *(data for files, _ in honest_boosters().values() for data in files.values()),
    gguf("{{ messages }}"), saved_model("Const", "f", functions={"f": ["MatMul"]}), keras(layer("Dense", units=4)),
]  # fmt: skip
many = settings(max_examples=200, deadline=None, suppress_health_check=[HealthCheck.too_slow])
texts = st.text(st.characters(codec="utf-8"), max_size=8)
values = st.recursive(
    st.booleans() | st.integers(-(2**63), 2**63 - 1) | st.floats(width=32, allow_nan=False) | texts,
    lambda inner: st.lists(inner, max_size=4) | st.dictionaries(texts, inner, max_size=4),
    max_leaves=12,
)


def inspected(data: bytes) -> Verdict:
    answer = inspect_files({"model.bin": memoryview(data).toreadonly()}, SMALL)
    return verdict_of(msgspec.convert(answer["findings"], list[Finding])) if answer["format"] else Verdict.REFUSED


def plain(value: object) -> object:
    if isinstance(value, np.ndarray):
        return value.tolist()
    if isinstance(value, dict):
        return {key: plain(item) for key, item in value.items()}
    return [plain(item) for item in value] if isinstance(value, list) else value


@given(values)
@many
def test_ubjson_reads_what_was_written(value: object) -> None:
    try:
        data = ubjson(value)
    except struct.error:  # a list of integers that do not fit in 32 bits
        return
    assert plain(parse_ubjson(memoryview(data), Notes(SMALL))) == value


@given(st.binary(max_size=200))
@many
def test_any_bytes_are_ubjson_or_a_sentence(data: bytes) -> None:
    try:
        parse_ubjson(memoryview(data), Notes(SMALL))
    except (ValueError, RefusedError) as error:
        assert str(error)


@given(
    st.sampled_from(SEEDS),
    st.lists(st.tuples(st.integers(0, 9000), st.binary(max_size=6), st.integers(0, 6)), min_size=1, max_size=4),
)
@many
def test_altered_files_end_in_a_verdict(seed: bytes, changes: list[tuple[int, bytes, int]]) -> None:
    for place, piece, gone in changes:
        at = place % len(seed)
        seed = seed[:at] + piece + seed[at + gone :]
        if not seed:
            return
    assert inspected(seed) in Verdict


@given(
    st.sampled_from(
        [b"{L\0\0\0\0\0\0\0\7learner", b'{"learner":', b"tree\nversion=v4\n", b"GGUF\3\0\0\0", b"\x08\x01\x12"]
    ),
    st.binary(max_size=300),
)
@many
def test_noise_behind_a_known_head_is_refused(head: bytes, data: bytes) -> None:
    assert inspected(head + data) is Verdict.REFUSED


@pytest.mark.parametrize(
    "data", [ubjson(xgboost_document()), json.dumps(xgboost_document()).encode()], ids=["ubj", "json"]
)
def test_no_beginning_of_an_xgboost_model_passes(data: bytes) -> None:
    assert [end for end in range(len(data)) if inspected(data[:end]) is Verdict.CLEAN] == []


def test_no_beginning_of_a_lightgbm_model_passes_without_its_trees() -> None:
    data = lightgbm_text()
    trees = data.index(b"end of trees")
    assert [end for end in range(trees + 12) if inspected(data[:end]) is Verdict.CLEAN] == []


@pytest.mark.parametrize("name", TEMPLATES)
def test_a_template_is_refused_however_it_is_spaced(name: str) -> None:
    spaced = TEMPLATES[name].replace("{{ ", "{{\n\t").replace("{% ", "{%-  ")
    answer = inspect_files({"m.gguf": memoryview(gguf(spaced)).toreadonly()}, SMALL)
    assert "chat-template-code" in {finding["id"] for finding in answer["findings"]}
