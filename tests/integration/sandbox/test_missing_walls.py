"""On a machine that lacks a wall nothing starts, and the message says which wall and how to mend it.

With `--insecure-no-sandbox` it starts all the same, and says so each time.
"""

from __future__ import annotations

import json
import logging
import subprocess
import sys
from pathlib import Path

import pytest

from casemate.core.errors import SandboxError
from casemate.sandbox import Need, Walls, run_confined, spawn
from casemate.sandbox.walls import MENDS, Wall

HERE = Path(__file__).parent
FLOOR = Walls(namespaces=Need.NEVER, cgroups=Need.NEVER)
MISSING = [
    ("landlock_create_ruleset", Wall.LANDLOCK),
    ("seccomp", Wall.SECCOMP),
    ("capset", Wall.PRIVILEGES),
    ("prlimit64", Wall.LIMITS),
]
TRY = """
import json, logging, sys
from pathlib import Path
from casemate.core.errors import SandboxError
from casemate.sandbox import Need, Walls, spawn
logging.basicConfig(stream=sys.stderr, format="%(levelname)s %(message)s")
try:
    with spawn("guests:echo", walls=Walls(namespaces=Need.NEVER, cgroups=Need.NEVER), paths=[Path(sys.argv[1])],
               insecure=sys.argv[2] == "insecure") as cell:
        cell.channel.send("hello")
        print(json.dumps({"got": cell.channel.recv(timeout=120).message["got"], "walls": cell.walls}))
except SandboxError as error:
    print(json.dumps({"code": error.code, "message": error.message, "wall": error.details.get("wall")}))
"""
PROBE = """
import json
from casemate.sandbox import probe_walls
print(json.dumps({status.name: [status.present, status.mend] for status in probe_walls()}))
"""


def on_a_poorer_machine(call: str, *program: str | Path) -> subprocess.CompletedProcess[str]:
    return subprocess.run(poorer(call, *program), capture_output=True, text=True, check=False, timeout=300)


def poorer(call: str, *program: str | Path) -> list[str | Path]:
    return [sys.executable, HERE / "poorer.py", call, *program]


@pytest.mark.parametrize(("call", "wall"), MISSING)
def test_missing_wall_refuses_to_start_and_says_how_to_mend_it(call, wall):
    done = on_a_poorer_machine(call, "-c", TRY, HERE, "secure")
    answer = json.loads(done.stdout)
    assert (answer["code"], answer["wall"]) == ("walls-missing", wall.value), done.stderr
    assert answer["message"].startswith(f"The wall {wall.value} cannot be raised (")
    assert answer["message"].endswith(MENDS[wall])
    assert "WITHOUT SANDBOX" not in done.stderr


@pytest.mark.parametrize(("call", "wall"), MISSING)
def test_insecure_goes_on_where_a_wall_is_missing_and_says_so(call, wall):
    done = on_a_poorer_machine(call, "-c", TRY, HERE, "insecure")
    assert json.loads(done.stdout) == {"got": "hello", "walls": []}, done.stderr
    assert "WARNING WITHOUT SANDBOX: guests:echo runs with your own rights" in done.stderr


@pytest.mark.parametrize(("call", "wall"), MISSING)
def test_doctor_names_the_wall_that_is_missing(call, wall):
    seen = json.loads(on_a_poorer_machine(call, "-c", PROBE).stdout)
    assert seen[wall.value] == [False, MENDS[wall]]


def test_command_line_refuses_without_a_wall_and_goes_on_when_told_to(tmp_path):
    model = tmp_path / "model.json"
    model.write_text("{}")
    scan = ("-m", "casemate", "model", "scan", model)
    refused = on_a_poorer_machine("landlock_create_ruleset", *scan)
    assert refused.returncode not in (0, 1)
    assert "The wall landlock cannot be raised" in " ".join(refused.stderr.split())
    assert "lsm= list" in " ".join(refused.stderr.split())
    told = on_a_poorer_machine("landlock_create_ruleset", "-m", "casemate", "--insecure-no-sandbox", *scan[2:])
    assert "WITHOUT SANDBOX" in told.stderr
    assert "cannot be raised" not in told.stderr


@pytest.fixture
def home(tmp_path, monkeypatch):
    monkeypatch.setenv("CASEMATE_HOME", str(tmp_path / "home"))
    monkeypatch.setenv("CASEMATE_KEYS", str(tmp_path / "keys"))
    monkeypatch.setenv("CASEMATE_DATA_PORT", "0")
    monkeypatch.setenv("CASEMATE_CONTROL_PORT", "0")
    subprocess.run([sys.executable, "-m", "casemate", "init"], capture_output=True, check=True, timeout=300)
    return tmp_path / "home"


@pytest.mark.parametrize(("call", "wall"), MISSING)
def test_up_serves_nothing_without_the_floor_and_says_how_to_mend_it(home, call, wall):
    refused = on_a_poorer_machine(call, "-m", "casemate", "up")
    said = " ".join(refused.stderr.split())
    assert (refused.returncode, refused.stdout) == (2, "")
    assert f"The wall {wall.value} cannot be raised (" in said
    assert MENDS[wall] in said
    assert not list(home.rglob("*.sock"))  # not even the keeper was started


def test_up_serves_without_the_floor_when_told_to_and_says_so(home):
    command = poorer("landlock_create_ruleset", "-m", "casemate", "--insecure-no-sandbox", "up")
    with subprocess.Popen(command, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True) as server:
        assert server.stdout.readline().startswith("ready ")
        server.terminate()
        assert "WITHOUT SANDBOX" in server.stderr.read()
    assert server.returncode == 0


def test_required_namespaces_that_are_missing_are_named(monkeypatch):
    monkeypatch.setattr("casemate.sandbox.bubblewrap.shutil.which", lambda *_, **__: None)
    with pytest.raises(SandboxError) as caught:
        spawn("guests:echo", walls=Walls(namespaces=Need.REQUIRED), paths=[HERE])
    assert (caught.value.code, caught.value.details["wall"]) == ("walls-missing", "namespaces")
    assert "bwrap is not installed" in caught.value.message
    assert "apt-get install bubblewrap" in caught.value.message


def test_required_groups_that_are_missing_are_named(monkeypatch, tmp_path):
    (tmp_path / "none").touch()
    monkeypatch.setattr("casemate.sandbox.cgroups._MOUNTS", tmp_path / "none")
    with pytest.raises(SandboxError) as caught:
        spawn("guests:echo", walls=Walls(namespaces=Need.NEVER, cgroups=Need.REQUIRED), paths=[HERE])
    assert (caught.value.code, caught.value.details["wall"]) == ("walls-missing", "cgroups")
    assert "Delegate=yes" in caught.value.message


def test_walls_on_top_that_are_missing_and_not_required_are_done_without(monkeypatch, tmp_path):
    (tmp_path / "none").touch()
    monkeypatch.setattr("casemate.sandbox.cgroups._MOUNTS", tmp_path / "none")
    monkeypatch.setattr("casemate.sandbox.bubblewrap.shutil.which", lambda *_, **__: None)
    with spawn("guests:echo", paths=[HERE]) as cell:
        assert cell.walls == ("privileges", "limits", "landlock", "seccomp")


def test_insecure_says_so_each_time_and_walls_say_nothing(caplog):
    with caplog.at_level(logging.INFO, logger="casemate"):
        spawn("guests:echo", walls=FLOOR, paths=[HERE]).__exit__()
        assert not caplog.records
        spawn("guests:echo", paths=[HERE], insecure=True).__exit__()
        run_confined("casemate.sandbox.doctor:nothing", None, insecure=True)
    assert [(record.name, record.levelname) for record in caplog.records] == [("casemate.sandbox", "WARNING")] * 2
    assert "guests:echo" in caplog.text
    assert "--insecure-no-sandbox" in caplog.text
