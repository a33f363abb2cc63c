"""Tags, restored versions and retention, over the real console."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pyarrow.parquet as pq
import pytest
from click.testing import CliRunner
from tiny_models import doubling_model

from casemate.cli import cli
from casemate.client import Casemate
from casemate.console import Services
from casemate.core import ConflictError, InputError, NotFoundError, Ref
from casemate.settings import Settings


def pushed(casemate: Casemate, folder: Path, name: str, values: list[int], **more: Any) -> None:
    for value in values:
        (folder / "rows.csv").write_text(f"a\n{value}\n")
        casemate.push_dataset(name, folder / "rows.csv", **more)


def test_a_tag_names_a_version_and_moves(casemate: Casemate, tmp_path: Path) -> None:
    pushed(casemate, tmp_path, "tagged", [1, 2, 3])
    assert casemate.versions.tag("tagged@1", "golden")["before"] is None
    assert casemate.dataset("tagged@golden")["version"] == 1
    assert casemate.versions.tag("tagged@2", "golden", reason="better")["before"] == 1
    shown = casemate.dataset("tagged@golden")
    assert (shown["version"], shown["tags"]) == (2, ["golden"])
    assert casemate.versions.diff("tagged@golden", "tagged")["to"]["version"] == 3
    casemate.pull_dataset("tagged@golden", tmp_path / "rows.parquet")
    assert pq.read_table(tmp_path / "rows.parquet").to_pydict() == {"a": [2]}
    assert casemate.versions.untag("tagged", "golden")["before"] == 2
    for ref in ("tagged@golden", "other@golden"):
        with pytest.raises(NotFoundError):
            casemate.dataset(ref)
    with pytest.raises(NotFoundError):
        casemate.versions.untag("tagged", "golden")


@pytest.mark.parametrize("tag", ["latest", "1", "Big", "", "a b", "sha256:" + "0" * 64, "a" * 64])
def test_what_is_no_tag_gets_one_sentence(casemate: Casemate, tmp_path: Path, tag: str) -> None:
    pushed(casemate, tmp_path, "odd-tags", [1])
    with pytest.raises(InputError, match=r"^[^\n]+$"):
        casemate.versions.tag("odd-tags@1", tag)


def test_a_tag_on_a_deleted_version_finds_nothing_and_deletes_nothing(casemate: Casemate, tmp_path: Path) -> None:
    pushed(casemate, tmp_path, "ended", [1, 2])
    casemate.versions.tag("ended@1", "old")
    with pytest.raises(InputError, match="the very version"):
        casemate.delete_dataset("ended@old")
    casemate.delete_dataset("ended@1")
    with pytest.raises(NotFoundError):
        casemate.dataset("ended@old")


def test_a_restored_version_is_the_newest_with_the_same_files(
    casemate: Casemate, services: Services, settings: Settings, tmp_path: Path
) -> None:
    pushed(casemate, tmp_path, "back", [1, 2])
    blobs = set(settings.home.rglob("blob_*"))
    made = casemate.versions.restore("back@1", reason="the second was wrong")
    assert (made["version"], made["restored"]) == (3, 1)
    assert set(settings.home.rglob("blob_*")) == blobs
    old, new = (services.datasets.find(Ref("back", number)).read_manifest() for number in (1, 3))
    assert new.files == old.files
    assert casemate.dataset("back")["restored"]["version"] == 1
    assert casemate.verify_datasets("back@3")["ok"]
    casemate.delete_dataset("back@1")  # its files live on in what was made from it
    casemate.pull_dataset("back", tmp_path / "rows.parquet")
    assert pq.read_table(tmp_path / "rows.parquet").to_pydict() == {"a": [1]}
    casemate.delete_dataset("back@3")
    assert len(list(settings.home.rglob("blob_*"))) == len(blobs) - 2
    assert casemate.verify_datasets()["ok"]


@pytest.mark.slow
def test_the_newest_is_not_restored_and_the_same_one_again_is(casemate: Casemate, tmp_path: Path) -> None:
    pushed(casemate, tmp_path, "again", [1, 2])
    with pytest.raises(ConflictError, match="newest version already"):
        casemate.versions.restore("again@2")
    assert casemate.versions.restore("again@1")["version"] == 3
    pushed(casemate, tmp_path, "again", [4])
    assert casemate.versions.restore("again@1")["version"] == 5


@pytest.mark.slow
def test_a_version_of_a_lower_class_comes_back_for_a_reason(casemate: Casemate, tmp_path: Path) -> None:
    pushed(casemate, tmp_path, "classed", [1])
    pushed(casemate, tmp_path, "classed", [2], data_class="health")
    with pytest.raises(InputError, match="Say why"):
        casemate.versions.restore("classed@1")
    assert casemate.versions.restore("classed@1", reason="they are public after all")["version"] == 3
    assert casemate.dataset("classed")["data_class"] == "internal"


@pytest.mark.slow
def test_what_is_needed_outlives_its_time(casemate: Casemate, services: Services, tmp_path: Path) -> None:
    pushed(casemate, tmp_path, "kept", [1, 2, 3, 4, 5])
    casemate.versions.tag("kept@1", "audited")
    (tmp_path / "model.onnx").write_bytes(doubling_model(2.0))
    casemate.push_model("from-kept", tmp_path / "model.onnx", dataset="kept@2")
    with pytest.raises(InputError, match="Say how many"):
        casemate.versions.retain("kept")
    trial = casemate.versions.retain("kept", keep=1, trial=True)
    assert trial["deleted"] == [3, 4]
    assert casemate.dataset("kept@3")["version"] == 3
    assert casemate.versions.retain("kept", life="1d")["deleted"] == []
    done = casemate.versions.retain("kept", keep=1, reason="we keep one")
    assert done["deleted"] == [3, 4]
    assert [(one["version"], one["why"].split()[0]) for one in done["kept"]] == [
        (1, "tagged"),
        (2, "from-kept@1"),
        (5, "the"),
    ]
    with pytest.raises(NotFoundError):
        casemate.dataset("kept@3")
    assert casemate.verify_datasets()["ok"]
    with pytest.raises(NotFoundError):
        casemate.versions.retain("nothing-there", keep=1)


@pytest.mark.slow
def test_the_commands_say_so(casemate: Casemate, settings: Settings, tmp_path: Path) -> None:
    pushed(casemate, tmp_path, "spoken", [1, 2, 3])
    environment = {"CASEMATE_HOME": str(settings.home), "CASEMATE_KEYS": str(settings.keys)}

    def run(*words: str) -> Any:
        return CliRunner().invoke(cli, ["dataset", *words], env=environment)

    assert json.loads(run("tag", "spoken@1", "first", "--json").stdout)["version"] == 1
    assert json.loads(run("restore", "spoken@first", "--json").stdout)["version"] == 4
    said = run("retain", "spoken", "--keep", "1", "--dry-run")
    assert "would be deleted: 2, 3" in said.output
    assert run("retain", "spoken").exit_code
    assert run("untag", "spoken", "first").exit_code == 0
