"""Turning reversible pseudonyms back gives what was there, whatever it was; another key or domain gives nothing."""

from __future__ import annotations

import os

import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from casemate.core import InputError, Verdict, memory_file
from casemate.core.wire import Frame
from casemate.privacy import Keys, anonymise_table, read_policy
from casemate.privacy.job import work

TEXTS = st.text(st.characters(exclude_categories=["Cs"]), max_size=40)  # a Parquet file holds no surrogate
KEYS = st.binary(min_size=32, max_size=32)


def hidden(values: list[str | None], domain: str, key: bytes) -> pa.Table:
    policy = read_policy(f'[columns.who]\ntreatment = "reversible"\ndomain = "{domain}"'.encode())
    report, made = anonymise_table(pa.table({"who": pa.array(values, pa.string())}), policy, keys=Keys(reversible=key))
    assert report.verdict is Verdict.CLEAN
    return made


def turned_back(table: pa.Table, domain: str, key: bytes, values: list[str] | None = None) -> list[str | None]:
    """As the confined job does it, over descriptors."""
    files = [memory_file("rows"), memory_file("back")]
    with os.fdopen(os.dup(files[0]), "wb") as rows:
        pq.write_table(table, rows)
    back = os.dup(files[1])
    try:
        message = {"do": "reidentify", "column": "who", "domain": domain, "values": values or []}
        answer = work(Frame(message, [bytearray(key)], files), None)
        found = pq.read_table(f"/proc/self/fd/{back}").column("who").to_pylist()
        assert answer.message == {"rows": len(found)}
        return found
    finally:
        os.close(files[0])
        os.close(back)


@settings(max_examples=60)
@given(values=st.lists(st.none() | TEXTS, min_size=1, max_size=8), domain=st.from_regex(r"[a-z]{1,8}", fullmatch=True), key=KEYS)  # fmt: skip
def test_what_was_hidden_comes_back(values: list[str | None], domain: str, key: bytes) -> None:
    made = hidden(values, domain, key)
    texts = made.column("who").to_pylist()
    assert [one is None for one in texts] == [one is None for one in values]
    assert turned_back(made, domain, key) == values
    for value, text in zip(values, texts, strict=True):
        if text is not None:
            assert turned_back(made, domain, key, [text]) == [one for one in values if one == value]


@settings(max_examples=40)
@given(value=TEXTS, key=KEYS, other=KEYS)
def test_another_key_or_domain_gives_nothing(value: str, key: bytes, other: bytes) -> None:
    made = hidden([value], "people", key)
    for domain, tried in (("others", key), ("people", other)):
        if (domain, tried) != ("people", key):
            with pytest.raises(InputError):
                turned_back(made, domain, tried)
