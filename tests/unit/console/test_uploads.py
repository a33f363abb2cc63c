"""A tar stream becomes plain files or one clear refusal; never a link, never a half file."""

from __future__ import annotations

import asyncio
import io
import tarfile
from collections.abc import AsyncIterator

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from casemate.console.uploads import BodyReader, files_in_tar
from casemate.core import InputError


def tar_of(
    name: str, data: bytes = b"x" * 3000, *, kind: bytes = tarfile.REGTYPE, form: int = tarfile.USTAR_FORMAT
) -> bytes:
    out = io.BytesIO()
    with tarfile.open(fileobj=out, mode="w|", format=form) as archive:
        member = tarfile.TarInfo(name)
        member.type, member.linkname, member.size = kind, "/etc/passwd", len(data) if kind == tarfile.REGTYPE else 0
        archive.addfile(member, io.BytesIO(data))
    return out.getvalue()


def received(raw: bytes, piece: int = 700) -> list[tuple[str, bytes]]:
    async def go() -> list[tuple[str, bytes]]:
        async def body() -> AsyncIterator[bytes]:
            for start in range(0, len(raw), piece):
                yield raw[start : start + piece]

        reader = BodyReader(body(), asyncio.get_running_loop())
        return await asyncio.to_thread(lambda: [(path, b"".join(chunks)) for path, chunks in files_in_tar(reader)])

    return asyncio.run(go())


def test_files_arrive_whole() -> None:
    assert received(tar_of("a/model.onnx", b"y" * 5000)) == [("a/model.onnx", b"y" * 5000)]


@pytest.mark.parametrize(
    "raw",
    [
        tar_of("link", kind=tarfile.SYMTYPE),
        tar_of("hard", kind=tarfile.LNKTYPE),
        tar_of("pipe", kind=tarfile.FIFOTYPE),
        tar_of("disk", kind=tarfile.BLKTYPE),
        tar_of("../up"),
        tar_of("/etc/passwd"),
        tar_of("n" * 130 + "/n", form=tarfile.GNU_FORMAT),
        tar_of("é" * 90, form=tarfile.PAX_FORMAT),
        tar_of("twice")[:3584] + tar_of("twice"),
        b"",
        b"not a tar stream",
        bytes(1024),
    ],
)
def test_what_is_no_plain_file_is_refused(raw: bytes) -> None:
    with pytest.raises(InputError):
        received(raw)


@given(st.integers(1, 4000))
@settings(max_examples=40, deadline=None)
def test_a_cut_stream_is_refused(end: int) -> None:
    whole = tar_of("model.onnx", b"z" * 2000)
    with pytest.raises(InputError):
        received(whole[: min(end, 512 + 1999)])
