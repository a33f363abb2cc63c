from __future__ import annotations

import json
import os
import subprocess
import sys
from pathlib import Path

import pytest
from storage_house import NOW, House

from casemate.core import ConflictError, NotFoundError, StorageError
from casemate.storage import HomeLock, create_home, open_home, upgrade_home


def test_a_home_is_made_once_and_is_private(tmp_path: Path) -> None:
    one, two = (create_home(tmp_path / "h", now=NOW) for _ in range(2))
    assert one.id == two.id
    assert {path.stat().st_mode & 0o077 for path in (one.path, *one.path.iterdir())} == {0}


@pytest.mark.parametrize("left", ["casemate.db-wal", ".home.json.0a1b2c3d", "lock", "casemate.toml"])
def test_init_goes_on_after_a_crash(tmp_path: Path, left: str) -> None:
    home = create_home(tmp_path / "h", now=NOW)
    (home.path / "home.json").unlink()
    (home.path / left).touch()
    create_home(tmp_path / "h", now=NOW)
    assert open_home(tmp_path / "h").path == tmp_path / "h"


def test_a_folder_with_other_things_is_left_alone(tmp_path: Path) -> None:
    (tmp_path / "letter.txt").write_text("dear")
    with pytest.raises(StorageError, match="empty folder") as refused:
        create_home(tmp_path, now=NOW)
    assert refused.value.code == "not-a-home"
    assert [path.name for path in tmp_path.iterdir()] == ["letter.txt"]


def rewritten(path: Path, **change: object) -> None:
    about = json.loads((path / "home.json").read_text()) | change
    (path / "home.json").write_text(json.dumps(about))


@pytest.mark.parametrize(
    ("change", "code"),
    [({"schema": 2, "more": 1}, "newer-home"), ({"id": "../../etc"}, "broken-home"), ({"id": 1}, "broken-home")],
)
def test_a_home_we_cannot_know_is_refused(tmp_path: Path, change: dict, code: str) -> None:
    create_home(tmp_path / "h", now=NOW)
    rewritten(tmp_path / "h", **change)
    with pytest.raises(StorageError) as refused:
        open_home(tmp_path / "h")
    assert refused.value.code == code


def test_an_open_home_is_refused_with_the_command_that_mends_it(tmp_path: Path) -> None:
    (create_home(tmp_path / "h", now=NOW)).path.chmod(0o755)
    with pytest.raises(StorageError, match="chmod 700"):
        open_home(tmp_path / "h")


@pytest.mark.parametrize("name", ["blobs", "tmp", "tls", "run", "public", "lost"])
def test_a_home_whose_folder_leads_elsewhere_is_refused(tmp_path: Path, name: str) -> None:
    home = create_home(tmp_path / "h", now=NOW)
    (home.path / name).rmdir()
    (tmp_path / "elsewhere").mkdir()
    (home.path / name).symlink_to(tmp_path / "elsewhere")
    with pytest.raises(StorageError, match="is a link") as refused:
        open_home(home.path)
    assert refused.value.code == "folder-is-link"


@pytest.mark.parametrize("act", [open_home, lambda path: HomeLock(path).__enter__()])
def test_no_home_says_how_to_make_one(tmp_path: Path, act) -> None:
    with pytest.raises(NotFoundError, match="casemate init"):
        act(tmp_path / "h")
    assert not (tmp_path / "h").exists()


HOLD = "import sys, pathlib, casemate.storage as s\nwith s.HomeLock(pathlib.Path(sys.argv[1])):\n print('held', flush=True)\n sys.stdin.read()"


def test_the_lock_names_its_holder_and_dies_with_it(tmp_path: Path) -> None:
    create_home(tmp_path / "h", now=NOW)
    holder = subprocess.Popen(
        [sys.executable, "-c", HOLD, str(tmp_path / "h")], stdin=subprocess.PIPE, stdout=subprocess.PIPE
    )
    with holder:
        assert holder.stdout.readline() == b"held\n"
        with pytest.raises(ConflictError, match=f"process {holder.pid}") as refused, HomeLock(tmp_path / "h"):
            pass
        assert refused.value.code == "home-locked"
        holder.kill()
        holder.wait()
        with HomeLock(tmp_path / "h") as lock:
            assert os.fstat(lock.fileno()).st_size > 0


@pytest.mark.only("sqlite")
def test_a_database_that_is_none_is_refused(tmp_path: Path) -> None:
    house = House(tmp_path)
    house.engine.dispose()
    for path in house.home.path.glob("casemate.db*"):
        path.unlink()
    house.home.database.write_bytes(b"not a database, by any means" * 100)
    with pytest.raises(StorageError) as refused:
        upgrade_home(house.home)
    assert refused.value.code == "broken-database"


def test_a_lock_that_outlived_its_holder_does_not_name_a_dead_process_as_its_user(tmp_path: Path) -> None:
    home = create_home(tmp_path / "home", now=NOW)
    ended = subprocess.Popen(["true"])
    ended.wait()
    with HomeLock(home.path) as lock:
        os.pwrite(lock.fileno(), f"process {ended.pid} (casemate up)".ljust(300).encode(), 0)
        with (
            pytest.raises(ConflictError, match=f"what process {ended.pid} .* had started") as refused,
            HomeLock(home.path),
        ):
            pass
    assert refused.value.code == "home-locked"


def test_a_lock_is_taken_whatever_the_command_was_called_with(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    home = create_home(tmp_path / "h", now=NOW)
    monkeypatch.setattr(sys, "argv", ["casemate", "bad\udcff.csv"])
    with HomeLock(home.path):
        assert "bad\\udcff.csv" in (home.path / "lock").read_text()
    with HomeLock(home.path):  # nothing of the first one is left open
        pass
