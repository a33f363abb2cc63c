"""Tink's streaming format: the tink package reads ours and we read its; nothing altered gets through."""

from __future__ import annotations

import io
import os

import pytest
import tink
from hypothesis import given, settings
from hypothesis import strategies as st
from tink import secret_key_access, streaming_aead
from tink.proto import aes_gcm_hkdf_streaming_pb2, common_pb2, tink_pb2

from casemate.core import VerificationError, memory_file
from casemate.storage import StreamReader, StreamWriter

MIB = 1 << 20
FIRST, FULL = MIB - 56, MIB - 16  # bytes of plain text in the first segment, and in those after it
EDGES = [0, 1, FIRST - 1, FIRST, FIRST + 1, FIRST + FULL - 1, FIRST + FULL, FIRST + FULL + 1, 3 * MIB + 12345]
KEY, ABOUT = bytes(range(32)), b"about"
PLAIN = os.urandom(4 * MIB)


def sealed(plain: bytes, pieces: list[int] = [], about: bytes = ABOUT) -> bytes:  # noqa: B006 never changed
    file = io.BytesIO()
    writer = StreamWriter(file, KEY, about)
    for size in pieces:
        writer.write(plain[:size])
        plain = plain[size:]
    writer.write(plain)
    writer.close()
    return file.getvalue()


def opened(data: bytes, about: bytes = ABOUT, key: bytes = KEY) -> bytes:
    return StreamReader(io.BytesIO(data), key, about).readall() or b""


def tink_primitive() -> streaming_aead.StreamingAead:
    streaming_aead.register()
    key = aes_gcm_hkdf_streaming_pb2.AesGcmHkdfStreamingKey(key_value=KEY)
    key.params.ciphertext_segment_size = MIB
    key.params.derived_key_size = 32
    key.params.hkdf_hash_type = common_pb2.SHA256
    keyset = tink_pb2.Keyset(primary_key_id=1)
    entry = keyset.key.add(key_id=1, status=tink_pb2.ENABLED, output_prefix_type=tink_pb2.RAW)
    entry.key_data.type_url = "type.googleapis.com/google.crypto.tink.AesGcmHkdfStreamingKey"
    entry.key_data.value = key.SerializeToString()
    entry.key_data.key_material_type = tink_pb2.KeyData.SYMMETRIC
    handle = tink.proto_keyset_format.parse(keyset.SerializeToString(), secret_key_access.TOKEN)
    return handle.primitive(streaming_aead.StreamingAead)


class Unclosed(io.BytesIO):
    def close(self) -> None:
        """Tink closes what it wrote to; the bytes are still wanted."""


@pytest.mark.parametrize("size", EDGES)
def test_tink_reads_ours_and_we_read_tinks(size: int) -> None:
    primitive, plain = tink_primitive(), PLAIN[:size]
    with primitive.new_decrypting_stream(io.BytesIO(sealed(plain)), ABOUT) as stream:
        assert stream.read() == plain
    target = Unclosed()
    with primitive.new_encrypting_stream(target, ABOUT) as stream:
        stream.write(plain)
    assert opened(target.getvalue()) == plain


@settings(max_examples=30, deadline=None)
@given(size=st.sampled_from(EDGES), pieces=st.lists(st.integers(0, 2 * MIB), max_size=4), about=st.binary(max_size=50))
def test_whatever_the_pieces_the_whole_comes_back(size: int, pieces: list[int], about: bytes) -> None:
    assert opened(sealed(PLAIN[:size], pieces, about), about) == PLAIN[:size]


@settings(max_examples=60, deadline=None)
@given(reads=st.lists(st.tuples(st.integers(0, 3 * MIB + 100), st.integers(0, 2 * MIB + 50)), min_size=1, max_size=5))
def test_reads_at_random_equal_slices(reads: list[tuple[int, int]]) -> None:
    plain = PLAIN[: 2 * MIB + 777]
    reader = StreamReader(io.BytesIO(STORED), KEY, ABOUT)
    assert reader.size == len(plain)
    for start, size in reads:
        reader.seek(start)
        assert reader.read(size) == plain[start : start + size]


STORED = sealed(PLAIN[: 2 * MIB + 777])


@settings(max_examples=60, deadline=None)
@given(place=st.integers(0, len(STORED) - 1), bit=st.integers(0, 7))
def test_any_flipped_bit_is_refused(place: int, bit: int) -> None:
    bad = bytearray(STORED)
    bad[place] ^= 1 << bit
    with pytest.raises(VerificationError) as refused:
        opened(bytes(bad))
    assert refused.value.code == "blob-altered"


CUTS = st.integers(0, len(STORED) - 1) | st.sampled_from([0, 39, 40, 55, 56, MIB, MIB + 1, 2 * MIB, len(STORED) - 1])


@settings(max_examples=60, deadline=None)
@given(size=CUTS)
def test_any_cut_is_refused_before_a_byte_is_read(size: int) -> None:
    with pytest.raises(VerificationError):
        StreamReader(io.BytesIO(STORED[:size]), KEY, ABOUT)


@pytest.mark.parametrize("extra", [b"x", b"x" * 16, b"x" * MIB, STORED[MIB : 2 * MIB], STORED])
def test_extended_streams_are_refused(extra: bytes) -> None:
    with pytest.raises(VerificationError):
        StreamReader(io.BytesIO(STORED + extra), KEY, ABOUT)


def test_an_extended_whole_segment_is_refused() -> None:
    whole = sealed(PLAIN[: FIRST + FULL])
    assert len(whole) == 2 * MIB
    with pytest.raises(VerificationError):
        StreamReader(io.BytesIO(whole + whole[MIB:]), KEY, ABOUT)


def test_moved_segments_are_refused() -> None:
    whole = sealed(PLAIN[: FIRST + 3 * FULL])
    parts = [whole[i : i + MIB] for i in range(0, len(whole), MIB)]
    for order in ([0, 2, 1, 3], [0, 1, 1, 3], [0, 1, 3], [0, 1, 2, 2]):
        with pytest.raises(VerificationError):
            opened(b"".join(parts[i] for i in order))
    other = sealed(PLAIN[: FIRST + 3 * FULL])
    with pytest.raises(VerificationError):
        opened(whole[:MIB] + other[MIB : 2 * MIB] + whole[2 * MIB :])


def test_another_key_or_associated_data_is_refused() -> None:
    for about, key in ((b"abouT", KEY), (b"", KEY), (ABOUT, KEY[::-1])):
        with pytest.raises(VerificationError):
            opened(STORED, about, key)


def test_a_refused_segment_leaves_nothing_in_the_buffer() -> None:
    bad = bytearray(STORED)
    bad[MIB + 500] ^= 1
    reader = StreamReader(io.BytesIO(bytes(bad)), KEY, ABOUT)
    reader.seek(FIRST)
    buffer = bytearray(FULL)
    with pytest.raises(VerificationError):
        reader.readinto(buffer)
    assert buffer == bytes(FULL)


def test_a_writer_that_was_not_closed_is_refused() -> None:
    file = io.BytesIO()
    StreamWriter(file, KEY, ABOUT).write(PLAIN[: 2 * MIB])
    with pytest.raises(VerificationError):
        opened(file.getvalue())


def test_all_goes_into_a_descriptor() -> None:
    fd = memory_file("test")
    StreamReader(io.BytesIO(STORED), KEY, ABOUT).decrypt_to_fd(fd)
    assert os.pread(fd, 3 * MIB, 0) == PLAIN[: 2 * MIB + 777]
    os.close(fd)


def test_a_closed_reader_gives_nothing() -> None:
    reader = StreamReader(io.BytesIO(STORED), KEY, ABOUT)
    reader.close()
    with pytest.raises(ValueError, match="closed"):
        reader.read(1)


class Full(io.BytesIO):
    """A disk that refuses the second segment once."""

    refusals = 0

    def write(self, data: object) -> int:
        if self.tell() == MIB and not self.refusals:
            self.refusals += 1
            raise OSError("full")
        return super().write(data)  # type: ignore[arg-type]


def test_going_on_after_a_failed_write_uses_no_nonce_twice() -> None:
    file = Full()
    writer = StreamWriter(file, KEY, ABOUT)
    with pytest.raises(OSError, match="full"):
        writer.write(PLAIN[: 3 * MIB])
    writer.write(PLAIN[3 * MIB :])
    writer.close()
    with pytest.raises(VerificationError):  # the segment that was refused is missing, and its place is not taken
        opened(file.getvalue())
