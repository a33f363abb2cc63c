"""Names, refs and ids: what is a name, and what is not."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from casemate.core import (
    InputError,
    Ref,
    canonical,
    checked_name,
    checked_path,
    digest_of,
    new_id,
    parse_duration,
    parse_ref,
)


@pytest.mark.parametrize("text", ["", "A", "a" * 64, "a_b", "é", "a b", "a/b", "a\n", "-\u0430", "a.b"])
def test_what_is_no_name_is_refused(text: str) -> None:
    with pytest.raises(InputError, match="not valid"):
        checked_name(text)


@pytest.mark.parametrize(
    ("text", "ref"),
    [
        ("spam", Ref("spam")),
        ("spam@3", Ref("spam", 3)),
        ("spam@latest", Ref("spam", "latest")),
        ("team/spam@" + digest_of(b""), Ref("spam", digest_of(b""), "team")),
    ],
)
def test_refs_are_read_and_written_back(text: str, ref: Ref) -> None:
    assert parse_ref(text) == ref
    assert str(ref) == text


@pytest.mark.parametrize("text", ["spam@", "spam@0", "spam@-1", "spam@١", "spam@sha256:abc", "/spam", "a/b/c", "@1"])
def test_what_is_no_ref_is_refused(text: str) -> None:
    with pytest.raises(InputError):
        parse_ref(text)


def test_ids_sort_by_time_and_are_version_seven() -> None:
    ids = [new_id("x") for _ in range(2000)]
    assert len(set(ids)) == len(ids)
    assert [one[:14] for one in ids] == sorted(one[:14] for one in ids)
    assert {one.removeprefix("x_")[12] for one in ids} == {"7"}
    assert {one.removeprefix("x_")[16] for one in ids} <= set("89ab")


@pytest.mark.parametrize(
    "text", ["", "/a", "a/", "a//b", "../a", "a/../b", "./a", "a\\b", "a\0b", "a\nb", "x" * 513, "é" * 200 + "/a"]
)
def test_unsafe_paths_are_refused(text: str) -> None:
    with pytest.raises(InputError, match="not allowed"):
        checked_path(text)


@pytest.mark.parametrize("text", ["", "h", "0s", "1", "1w", "-1s", "1.5h", "1 h", "9" * 10 + "s", "١s"])
def test_what_is_no_duration_is_refused(text: str) -> None:
    with pytest.raises(InputError, match="duration"):
        parse_duration(text)


def test_durations_are_seconds() -> None:
    assert [parse_duration(text) for text in ("1s", "2m", "3h", "4d")] == [1, 120, 10800, 345600]


json_values = st.recursive(
    st.none() | st.booleans() | st.integers(-(2**53), 2**53) | st.text(),
    lambda inner: st.lists(inner, max_size=4) | st.dictionaries(st.text(), inner, max_size=4),
    max_leaves=10,
)


@given(st.dictionaries(st.text(), json_values))
def test_canonical_bytes_do_not_depend_on_the_order_of_keys(value: dict[str, object]) -> None:
    assert canonical(dict(reversed(value.items()))) == canonical(value)
