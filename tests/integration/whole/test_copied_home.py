"""A copy of a home is not the home: it is refused while the original is there, and the original goes on."""

from __future__ import annotations

import json
import os
import shutil
import subprocess
import sys
from pathlib import Path

import pytest


def casemate(folder: Path, home: str, *words: str, code: int = 0) -> subprocess.CompletedProcess[str]:
    env = {"PATH": os.environ["PATH"], "HOME": str(folder), "CASEMATE_KEYS": str(folder / "keys")}
    command = [sys.executable, "-m", "casemate", "--home", str(folder / home), *words]
    done = subprocess.run(command, capture_output=True, text=True, env=env, check=False, timeout=300)
    assert done.returncode == code, (words, done.stdout, done.stderr)
    return done


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    casemate(tmp_path, "home", "init")
    shutil.copytree(tmp_path / "home", tmp_path / "copy", symlinks=True)
    return tmp_path


def moves(folder: Path, home: str) -> list[dict[str, object]]:
    return json.loads(casemate(folder, home, "audit", "log", "--kind", "home.moved", "--json").stdout)


def contents(folder: Path) -> dict[str, bytes]:
    """Every file but those that reading a database needs beside it."""
    passing = {"lock", "casemate.db-shm", "casemate.db-wal"}
    return {str(path): path.read_bytes() for path in folder.rglob("*") if path.is_file() and path.name not in passing}


def test_a_copy_is_refused_and_the_original_goes_on(folder: Path) -> None:
    before = contents(folder)
    for words in (["status"], ["init"], ["up"], ["key", "list"]):
        said = casemate(folder, "copy", *words, code=2 if words == ["up"] else 1).stderr
        assert "home-copied" in said
        assert str(folder / "home") in said
        assert "home adopt" in said
    assert contents(folder) == before
    assert json.loads(casemate(folder, "home", "status", "--json").stdout)["home"] == str(folder / "home")


@pytest.mark.slow
def test_the_log_of_a_copy_can_be_read(folder: Path) -> None:
    casemate(folder, "home", "key", "issue", "k", "--role", "caller", "--expires", "1h")
    shutil.rmtree(folder / "copy")
    shutil.copytree(folder / "home", folder / "copy")
    before = contents(folder)
    assert json.loads(casemate(folder, "copy", "audit", "verify", "--json").stdout)["ok"]
    read = casemate(folder, "copy", "audit", "log", "--json", code=1)
    assert json.loads(read.stdout)[0]["verified"] is True
    assert "altered" not in read.stderr
    assert contents(folder) == before


@pytest.mark.slow
def test_a_home_that_moved_is_adopted_and_that_is_on_record(folder: Path) -> None:
    (folder / "home").rename(folder / "moved")
    casemate(folder, "moved", "status")
    (found,) = moves(folder, "moved")
    assert (found["outcome"], found["resource"]) == ("done", f"default/home:{id_of(folder, 'moved')}")
    casemate(folder, "copy", "status", code=1)


def test_a_home_restored_after_a_loss_is_adopted(folder: Path) -> None:
    shutil.rmtree(folder / "home")
    casemate(folder, "copy", "status")
    assert len(moves(folder, "copy")) == 1


def test_a_copy_is_adopted_on_request_and_refuses_the_original(folder: Path) -> None:
    adopted = json.loads(casemate(folder, "copy", "home", "adopt", "--json").stdout)
    assert adopted == {"home": str(folder / "copy"), "id": id_of(folder, "copy"), "before": str(folder / "home")}
    casemate(folder, "copy", "status")
    assert "home-copied" in casemate(folder, "home", "status", code=1).stderr
    assert json.loads(casemate(folder, "copy", "home", "adopt", "--json").stdout)["before"] is None


@pytest.mark.slow
def test_an_older_copy_is_never_adopted(folder: Path) -> None:
    casemate(folder, "home", "key", "issue", "k", "--role", "caller", "--expires", "1h")
    casemate(folder, "copy", "home", "adopt", code=1)
    casemate(folder, "home", "status")


@pytest.mark.slow
def test_a_link_to_a_home_is_that_home(folder: Path) -> None:
    (folder / "link").symlink_to(folder / "home")
    casemate(folder, "link", "status")
    assert moves(folder, "home") == []


def id_of(folder: Path, home: str) -> str:
    return str(json.loads((folder / home / "home.json").read_bytes())["id"])
