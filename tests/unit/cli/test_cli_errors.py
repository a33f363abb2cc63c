"""Whatever fails, a person reads one sentence and a program one code: never a traceback."""

from __future__ import annotations

import json
import os
import socket
import subprocess
import sys
from pathlib import Path

import click
import msgspec
import pytest

from casemate.cli import cli
from casemate.settings import Settings

LONG = "x" * 300  # no file system takes such a name


@pytest.mark.parametrize(
    ("words", "code"),
    [
        (["dataset", "push", "d", "d.csv", "--reason", "r" * 100_000], "bad-value"),
        (["dataset", "show", "../keys"], "bad-name"),
        (["audit", "log", "--actor", "a" * 100_000], "bad-value"),
        (["audit", "verify", "--against", LONG], "bad-file"),
        (["train", LONG, "--dataset", "d", "--model", "m"], "bad-file"),
        (["train", "/etc", "--dataset", "d", "--model", "m"], "no-file"),
        (["train", "/dev/null/x", "--dataset", "d", "--model", "m"], "no-file"),
        (["model", "scan", f"/tmp/{LONG}"], "scan-path"),
    ],
)
def test_what_a_person_names_wrongly_is_one_sentence(run, tmp_path: Path, words: list[str], code: str) -> None:
    (tmp_path / "d.csv").write_text("a\n1\n")
    out, err = run(*[str(tmp_path / word) if word == "d.csv" else word for word in words], "--json")
    assert code in out
    assert err.startswith(f"Error ({code}): ")
    assert err.count("\n") == 1


@pytest.mark.parametrize(
    "words",
    [
        ["dataset", "push", "d", b"bad\xff.csv"],
        ["--home", b"q\xff", "init"],
        ["key", "issue", b"k\xff", "--role", "caller"],
    ],
)
def test_bytes_that_are_no_text_are_one_sentence(settings: Settings, tmp_path: Path, words: list[str | bytes]) -> None:
    (tmp_path / os.fsdecode(b"bad\xff.csv")).write_text("a\n1\n")
    command = [sys.executable, "-m", "casemate", "--home", str(settings.home), *words, "--json"]
    environment = {**os.environ, "CASEMATE_KEYS": str(settings.keys)}
    done = subprocess.run(command, cwd=tmp_path, env=environment, capture_output=True, timeout=300, check=False)
    assert done.returncode == 2
    assert json.loads(done.stdout)["code"] == "bad-text"
    assert done.stderr.startswith(b"Error (bad-text): ")
    assert done.stderr.count(b"\n") == 1


@pytest.mark.parametrize("home", ["", "q\udcff"])
def test_a_home_that_is_no_path_is_one_sentence(run, home: str) -> None:
    out, _ = run("--home", home, "init", "--json")
    assert json.loads(out)["code"] == ("bad-text" if home else "bad-setting")


@pytest.mark.parametrize(
    ("server", "ca", "key", "code"),
    [
        ("https://127.0.0.1:1", "", "cm_x", "no-answer"),
        ("https://[", "", "cm_x", "no-answer"),
        ("https://127.0.0.1:x", "", "cm_x", "bad-server"),
        ("https://127.0.0.1:99999", "", "cm_x", "bad-server"),
        ("https://127.0.0.1:0", "", "cm_x", "bad-server"),
        ("https://:8444", "", "cm_x", "bad-server"),
        ("https://127.0.0.1:1", "/nowhere.pem", "cm_x", "bad-ca"),
        ("https://127.0.0.1:1", "/etc/hostname", "cm_x", "bad-ca"),
        ("https://127.0.0.1:1", "", "cm_é", "bad-key"),
        ("http://127.0.0.1:1", "", "cm_x", "bad-server"),
    ],
)
@pytest.mark.parametrize("verb", [["dataset", "list"], ["dataset", "pull", "d", "rows"]])
def test_a_server_that_cannot_be_spoken_to_is_one_sentence(  # noqa: PLR0917 a row of the table
    run, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, verb: list[str], server: str, ca: str, key: str, code: str
) -> None:
    monkeypatch.chdir(tmp_path)
    out, err = run(*verb, "--json", CASEMATE_SERVER=server, CASEMATE_CA=ca, CASEMATE_KEY=key)
    assert code in out
    assert err.count("\n") == 1


@pytest.mark.parametrize("words", [["login"], ["login", "--name", "ada"], ["user", "enroll"], ["user", "password"]])
def test_a_question_that_nobody_answers_is_one_sentence(settings: Settings, words: list[str]) -> None:
    """As in a script or a job, where the standard input is empty and there is no terminal."""
    command = [sys.executable, "-m", "casemate", "--server", "https://127.0.0.1:1", *words, "--json"]
    environment = {**os.environ, "CASEMATE_HOME": str(settings.home), "CASEMATE_KEYS": str(settings.keys)}
    done = subprocess.run(
        command,
        stdin=subprocess.DEVNULL,
        capture_output=True,
        text=True,
        env=environment,
        timeout=300,
        check=False,
        start_new_session=True,
    )
    assert (done.returncode, json.loads(done.stdout)["code"]) == (2, "no-answer")
    assert "GetPassWarning" not in done.stderr


def test_keys_that_cannot_be_reached_are_one_sentence(run, settings: Settings) -> None:
    for words in (["init"], ["dataset", "list"], ["doctor"]):
        _, err = run(*words, CASEMATE_KEYS=f"/tmp/{LONG}")
        assert "Traceback" not in err
        assert "File name too long" in err


def test_a_child_that_cannot_reach_the_keys_says_so_in_one_line(settings: Settings) -> None:
    lost = msgspec.structs.replace(settings, keys=Path(f"/tmp/{LONG}"))
    done = subprocess.run(
        [sys.executable, "-m", "casemate.app.processes", "keeper"],
        input=msgspec.json.encode(lost, enc_hook=str),
        capture_output=True,
        timeout=300,
        check=False,
    )
    assert done.returncode == 2
    assert done.stdout.splitlines()[-1].startswith(b"failed [")
    assert b"File name too long" in done.stdout
    assert done.stderr == b""


def test_a_server_that_cannot_start_says_why_once(run) -> None:
    with socket.create_server(("127.0.0.1", 0)) as owner:
        port = str(owner.getsockname()[1])
        for taken in (["--data-port", port, "--control-port", "0"], ["--data-port", "0", "--control-port", port]):
            out, err = run("up", *taken)
            assert (out, err.count("\n")) == ("", 1)
            assert err.startswith("Error (cannot-listen): ")


@pytest.mark.parametrize(
    "words",
    [
        ["dataset", "fetch"],
        ["model", "push"],
        ["key", "issue", "k", "--role", "king"],
        ["up", "--port", "1"],
        ["model", "verify"],
    ],
)
def test_a_wrong_argument_is_an_error_like_any_other(run, words: list[str]) -> None:
    out, err = run(*words, "--json")
    told = json.loads(out)
    assert told["code"] == "bad-usage"
    assert err == f"Error (bad-usage): {told['error']}\n"
    _, err = run(*words)
    assert "Usage: casemate" in err
    assert told["error"] in err


def test_proofs_and_checkpoints_are_one_json_value_each(run, tmp_path: Path) -> None:
    run("dataset", "list", code=0)
    newest = json.loads(run("audit", "log", "--limit", "1", "--json", code=0)[0])[0]["id"]
    proof = json.loads(run("audit", "prove", newest, "--json", code=0)[0])
    run("audit", "prove", newest, "--to", str(tmp_path / "proof"), "--json", code=0)
    assert json.loads((tmp_path / "proof").read_text()).keys() == proof.keys()
    assert json.loads(run("audit", "checkpoint", "--json", code=0)[0])["checkpoint"].startswith("casemate.dev/")
    out, _ = run("audit", "checkpoint", "--to", str(tmp_path / "kept"), "--json", code=0)
    assert json.loads(out) == {"path": str(tmp_path / "kept")}


def test_every_command_but_up_takes_json() -> None:
    def leaves(group: click.Group) -> list[click.Command]:
        return [
            leaf for one in group.commands.values() for leaf in (leaves(one) if isinstance(one, click.Group) else [one])
        ]

    without = {leaf.name for leaf in leaves(cli) if "as_json" not in {option.name for option in leaf.params}}
    assert without == {"up"}
