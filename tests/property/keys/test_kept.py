"""A kept text is the newest or, after a torn write, the one before; never anything else."""

from __future__ import annotations

from pathlib import Path

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from casemate.core import StorageError
from casemate.keys.kept import SLOT, KeptText

TEXTS = st.text(st.characters(exclude_categories=["Cs"], exclude_characters="\0"), max_size=900)


@pytest.fixture(scope="module")
def path(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return tmp_path_factory.mktemp("kept") / "note"


@settings(deadline=None, max_examples=60)
@given(texts=st.lists(TEXTS, min_size=2, max_size=5), torn=st.integers(0, SLOT))
def test_a_torn_write_leaves_the_text_before_it(path: Path, texts: list[str], torn: int) -> None:
    path.unlink(missing_ok=True)
    kept = KeptText(path)
    for text in texts[:-1]:
        kept.write(text)
        assert kept.read() == text
    before = path.read_bytes()
    kept.write(texts[-1])
    after = path.read_bytes()
    assert kept.read() == texts[-1]
    start = next(at for at in (0, SLOT) if before[at : at + SLOT] != after[at : at + SLOT])
    path.write_bytes(before[:start] + after[start : start + torn] + before[start + torn :])
    assert kept.read() in (texts[-2], texts[-1])
    kept.write("next")
    assert kept.read() == "next"


@settings(deadline=None, max_examples=60)
@given(at=st.integers(0, 2 * SLOT - 1), bit=st.integers(0, 7))
def test_a_flipped_bit_is_never_read(path: Path, at: int, bit: int) -> None:
    path.unlink(missing_ok=True)
    kept = KeptText(path)
    kept.write("old")
    kept.write("new")
    data = bytearray(path.read_bytes())
    data[at] ^= 1 << bit
    path.write_bytes(data)
    assert kept.read() in ("old", "new")


def test_a_file_whose_slots_are_both_broken_is_refused_and_left(path: Path) -> None:
    path.touch(0o600)
    path.write_bytes(b"x" * 2 * SLOT)
    for act in (KeptText(path).read, lambda: KeptText(path).write("more")):
        with pytest.raises(StorageError) as caught:
            act()
        assert caught.value.code == "key-file-broken"
    assert path.read_bytes() == b"x" * 2 * SLOT


def test_what_an_earlier_release_wrote_is_read_and_replaced(path: Path) -> None:
    path.touch(0o600)
    path.write_text("alone\n")
    assert KeptText(path).read() == "alone\n"
    KeptText(path).write("in slots")
    assert (KeptText(path).read(), path.stat().st_size) == ("in slots", 2 * SLOT)


def test_a_file_that_others_may_read_is_refused(path: Path) -> None:
    KeptText(path).write("private")
    path.chmod(0o644)
    try:
        for act in (KeptText(path).read, lambda: KeptText(path).write("more")):
            with pytest.raises(StorageError) as caught:
                act()
            assert caught.value.code == "open-to-others"
    finally:
        path.chmod(0o600)
