"""Sealed memory: what was digested is what stays."""

from __future__ import annotations

import mmap
import os

import pytest

from casemate.core import SealedFile, digest_of, memory_file, seal_bytes


def test_sealed_bytes_are_digested_and_readable_again() -> None:
    with seal_bytes([b"ab", bytearray(b"c")]) as sealed:
        assert (sealed.size, sealed.digest, sealed.read()) == (3, digest_of(b"abc"), b"abc")
        assert sealed.path.read_bytes() == b"abc"


def test_what_comes_a_few_bytes_at_a_time_is_all_of_it() -> None:
    data = os.urandom((2 << 20) + 5)
    with seal_bytes([data]) as sealed:
        assert [len(piece) for piece in sealed.chunks()] == [1 << 20, 1 << 20, 5]
        assert b"".join(sealed.chunks()) == data


@pytest.mark.parametrize(
    "change",
    [
        lambda fd: os.pwrite(fd, b"x", 0),
        lambda fd: os.ftruncate(fd, 1),
        lambda fd: os.ftruncate(fd, 10),
        lambda fd: mmap.mmap(fd, 3, mmap.MAP_SHARED, mmap.PROT_WRITE),
    ],
)
def test_nobody_can_change_sealed_bytes(change: object) -> None:
    with seal_bytes([b"abc"]) as sealed:
        with pytest.raises(OSError):
            change(sealed.fd)  # type: ignore[operator]
        assert sealed.read() == b"abc"


def test_a_file_that_somebody_can_still_write_is_not_sealed() -> None:
    fd = memory_file("test")
    os.write(fd, b"abc")
    with mmap.mmap(fd, 3, mmap.MAP_SHARED, mmap.PROT_WRITE), pytest.raises(OSError):
        SealedFile(fd)
