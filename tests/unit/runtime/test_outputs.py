from __future__ import annotations

import os
from pathlib import Path

import pytest

from casemate.runtime.outputs import MAX_FILES, collect_outputs


def test_regular_files_are_taken_with_their_paths(tmp_path: Path) -> None:
    (tmp_path / "a").mkdir()
    (tmp_path / "a" / "model.onnx").write_bytes(b"weights")
    (tmp_path / "empty").touch()
    outputs = collect_outputs(tmp_path, max_bytes=100)
    assert {path: file.read() for path, file in outputs.files.items()} == {"a/model.onnx": b"weights", "empty": b""}
    assert outputs.refused == []


def test_nothing_is_followed_out_of_the_folder(tmp_path: Path) -> None:
    outside, folder = tmp_path / "outside", tmp_path / "output"
    outside.mkdir()
    (outside / "secret").write_text("s")
    folder.mkdir()
    (folder / "file").symlink_to(outside / "secret")
    (folder / "folder").symlink_to(outside)
    (folder / "hard").hardlink_to(outside / "secret")
    os.mkfifo(folder / "pipe")
    outputs = collect_outputs(folder, max_bytes=100)
    assert outputs.files == {}
    assert sorted(text.partition(":")[0] for text in outputs.refused) == ["'file'", "'folder'", "'hard'", "'pipe'"]


def test_an_output_folder_that_is_a_link_is_not_followed(tmp_path: Path) -> None:
    (tmp_path / "real").mkdir()
    (tmp_path / "real" / "x").write_text("x")
    (tmp_path / "output").symlink_to(tmp_path / "real")
    for name in ("output", "missing"):
        outputs = collect_outputs(tmp_path / name, max_bytes=100)
        assert outputs.files == {}
        assert len(outputs.refused) == 1


def test_size_count_and_depth_are_bounded(tmp_path: Path) -> None:
    (tmp_path / "a").write_bytes(b"x" * 60)
    (tmp_path / "b").write_bytes(b"x" * 60)
    assert list(collect_outputs(tmp_path, max_bytes=100).files) == ["a"]
    deep = tmp_path / "/".join("d" * 1 for _ in range(12))
    deep.mkdir(parents=True)
    (deep / "deep").touch()
    for number in range(MAX_FILES + 5):
        (tmp_path / f"c{number:03}").touch()
    outputs = collect_outputs(tmp_path, max_bytes=1000)
    assert len(outputs.files) == MAX_FILES
    assert len([text for text in outputs.refused if "files" in text]) == 7
    assert len([text for text in outputs.refused if "deep" in text]) == 1


@pytest.mark.parametrize("name", [b"a\nb", b"\xff", b"back\\slash"])
def test_a_name_that_no_asset_can_have_is_refused(tmp_path: Path, name: bytes) -> None:
    with open(os.fsencode(tmp_path) + b"/" + name, "wb"):  # noqa: PTH123 raw bytes
        pass
    outputs = collect_outputs(tmp_path, max_bytes=100)
    assert outputs.files == {}
    assert outputs.refused[0].isprintable()
    assert outputs.refused[0].isascii()
