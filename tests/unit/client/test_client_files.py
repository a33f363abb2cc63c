"""What a server sends is written below one folder, as plain new files, or not at all."""

from __future__ import annotations

import io
import os
import tarfile
from pathlib import Path

import pytest

from casemate.client.files import ByteStream, model_files, tar_stream, unpack, write_private_file
from casemate.core import CasemateError, InputError


def archive(data: bytes) -> tarfile.TarFile:
    pieces = iter([data[at : at + 700] for at in range(0, len(data), 700)])
    return tarfile.open(fileobj=ByteStream(pieces), mode="r|")


def test_what_is_sent_comes_back(tmp_path: Path) -> None:
    model = tmp_path / "model"
    (model / "deep").mkdir(parents=True)
    (model / "model.onnx").write_bytes(bytes(range(256)) * 20)
    (model / "deep" / "notes.txt").write_bytes(b"")
    unpack(archive(b"".join(tar_stream(model_files(model)))), tmp_path / "to")
    assert (tmp_path / "to" / "model.onnx").read_bytes() == bytes(range(256)) * 20
    assert (tmp_path / "to" / "deep" / "notes.txt").read_bytes() == b""
    assert (tmp_path / "to" / "model.onnx").stat().st_mode & 0o777 == 0o600


def member(name: str, kind: bytes = tarfile.REGTYPE, link: str = "") -> bytes:
    header = tarfile.TarInfo(name)
    header.type, header.linkname = kind, link
    with io.BytesIO() as file:
        with tarfile.open(fileobj=file, mode="w") as made:
            made.addfile(header)
        return file.getvalue()


@pytest.mark.parametrize(
    "sent",
    [
        member("../outside"),
        member("/tmp/casemate-outside"),
        member("a/../../outside"),
        member("link", tarfile.SYMTYPE, "/etc"),
        member("link", tarfile.LNKTYPE, "../outside"),
        member("pipe", tarfile.FIFOTYPE),
        member("device", tarfile.CHRTYPE),
    ],
    ids=["parent", "absolute", "detour", "symbolic-link", "hard-link", "pipe", "device"],
)
def test_a_hostile_server_writes_nothing_outside(tmp_path: Path, sent: bytes) -> None:
    with pytest.raises(CasemateError):
        unpack(archive(sent), tmp_path / "to")
    assert [path for path in tmp_path.rglob("*") if path.name != "to"] == []
    assert not Path("/tmp/casemate-outside").exists()


def test_a_name_that_comes_twice_leaves_nothing(tmp_path: Path) -> None:
    once = member("model.onnx")[: tarfile.BLOCKSIZE]
    with pytest.raises(FileExistsError):
        unpack(archive(once + once + bytes(2 * tarfile.BLOCKSIZE)), tmp_path / "to")
    assert list((tmp_path / "to").iterdir()) == []


def test_a_stream_that_breaks_off_leaves_nothing(tmp_path: Path) -> None:
    (tmp_path / "model.onnx").write_bytes(bytes(5000))
    whole = b"".join(tar_stream([("first", tmp_path / "model.onnx"), *model_files(tmp_path / "model.onnx")]))
    with pytest.raises(tarfile.TarError):
        unpack(archive(whole[:9000]), tmp_path / "to")
    assert list((tmp_path / "to").iterdir()) == []


def test_a_file_is_replaced_whole_and_nothing_beside_it_is_touched(tmp_path: Path) -> None:
    (tmp_path / "log").write_bytes(b"before")
    (tmp_path / "log.part").write_bytes(b"mine")
    write_private_file(tmp_path / "log", [b"one", b"two"])
    assert {path.name: path.read_bytes() for path in tmp_path.iterdir()} == {"log": b"onetwo", "log.part": b"mine"}
    assert (tmp_path / "log").stat().st_mode & 0o777 == 0o600

    def breaks_off():
        yield b"half"
        raise OSError("gone")

    with pytest.raises(OSError, match="gone"):
        write_private_file(tmp_path / "log", breaks_off())
    assert {path.name: path.read_bytes() for path in tmp_path.iterdir()} == {"log": b"onetwo", "log.part": b"mine"}


def test_what_is_no_plain_file_is_neither_replaced_nor_followed(tmp_path: Path) -> None:
    (tmp_path / "kept").write_bytes(b"kept")
    (tmp_path / "link").symlink_to("kept")
    (tmp_path / "dangling").symlink_to("new")
    (tmp_path / "folder").mkdir()
    os.mkfifo(tmp_path / "pipe")
    before = {path.name: path.lstat().st_mode for path in tmp_path.iterdir()}
    for name in ("link", "dangling", "folder", "pipe", "/dev/null", "/dev/stdout"):
        with pytest.raises(InputError) as refused:
            write_private_file(tmp_path / name, [b"x"])
        assert refused.value.code == "not-a-file"
    assert {path.name: path.lstat().st_mode for path in tmp_path.iterdir()} == before
    assert (tmp_path / "kept").read_bytes() == b"kept"
