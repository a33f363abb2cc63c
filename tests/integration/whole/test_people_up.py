"""A person's whole way with the command line, over a running server: invited, enrolled, signed in, stepped up, ended."""

from __future__ import annotations

import json
import os
import pty
import re
import signal
import subprocess
import sys
from collections.abc import Iterator
from dataclasses import dataclass
from datetime import timedelta
from pathlib import Path

import msgspec
import pyotp
import pytest
from tiny_models import doubling_model

from casemate.core import SystemClock
from casemate.iam import Session
from casemate.keys import Keeper
from casemate.storage import SealedRows, open_home, unwrap_people_key

WORDS, NEW_WORDS = "tidal-gravel-otter-plinth", "glacier tuba nickel fog"


@dataclass
class Place:
    folder: Path
    url: str = ""

    def environment(self, user: str = "") -> dict[str, str]:
        kept = {name: value for name, value in os.environ.items() if not name.startswith("CASEMATE_")}
        more = {"CASEMATE_KEYS": str(self.folder / "keys"), "XDG_CONFIG_HOME": str(self.folder / f"config-{user}")}
        return {**kept, **more, "CASEMATE_DATA_PORT": "0", "CASEMATE_CONTROL_PORT": "0"}

    def command(self, *words: str, local: bool = False) -> list[str]:
        where = ["--home", str(self.folder / "home")]
        if not local:
            where = ["--server", self.url, "--ca", str(self.folder / "home" / "tls" / "ca.pem")]
        return [sys.executable, "-m", "casemate", *where, *words]

    def run(self, *words: str, typed: tuple[str, ...] = (), user: str = "ada", local: bool = False, exits: int = 0):
        done = subprocess.run(
            self.command(*words, local=local),
            input="".join(f"{line}\n" for line in typed),
            capture_output=True,
            text=True,
            env=self.environment(user),
            timeout=300,
            check=False,
            start_new_session=True,  # without a terminal, so that what is typed is read from here
        )
        assert done.returncode == exits, (words, done.stdout, done.stderr)
        assert "Traceback" not in done.stderr
        return done

    def json(self, *words: str, **more) -> dict:
        return json.loads(self.run(*words, "--json", **more).stdout)


@pytest.fixture(scope="module")
def place(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Place]:
    made = Place(tmp_path_factory.mktemp("people"))
    made.run("init", local=True)
    process = subprocess.Popen(
        made.command("up", local=True), stdout=subprocess.PIPE, text=True, env=made.environment()
    )
    assert process.stdout is not None
    words = process.stdout.readline().split()
    assert words[:1] == ["ready"], "the server did not become ready"
    made.url = dict(word.split("=", 1) for word in words[1:])["control"]
    yield made
    process.send_signal(signal.SIGTERM)
    assert process.wait(timeout=300) == 0
    process.stdout.close()


@pytest.fixture(scope="module")
def enrolled(place: Place) -> tuple[str, list[str]]:
    """The secret of ada's second factor, and her recovery codes."""
    return enrol(place, "ada", "owner")


def enrol(place: Place, name: str, role: str) -> tuple[str, list[str]]:
    made = place.json("user", "invite", name, "--role", role, "--reason", "first", local=True)
    process = subprocess.Popen(
        place.command("user", "enroll"),
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
        env=place.environment(name),
        start_new_session=True,
    )
    assert process.stdin is not None
    assert process.stdout is not None
    assert process.stderr is not None
    process.stdin.write(f"{made['invitation']}\n{WORDS}\n{WORDS}\n")
    process.stdin.flush()
    said = ""
    while not (found := re.search(r"type the secret into it: ([A-Z2-7]{32})", said)):
        line = process.stderr.readline()
        assert line, said
        said += line
    process.stdin.write("000000\n")  # mistyped first
    process.stdin.write(f"{pyotp.TOTP(found[1]).now()}\n")
    process.stdin.close()
    codes = process.stdout.read().split()
    rest = process.stderr.read()
    assert process.wait(timeout=300) == 0, rest
    process.stdout.close()
    process.stderr.close()
    assert "This code does not fit" in rest
    assert len(codes) == 10
    return found[1], codes


def sessions_of(place: Place) -> tuple[SealedRows, list[Session]]:
    home = open_home(place.folder / "home")
    key = unwrap_people_key(home.path, home.id, Keeper(place.folder / "keys" / home.id))
    rows = SealedRows(home.open_database(), key, home_id=home.id)
    person = place.json("user", "show", "ada", local=True)["id"]
    return rows, [session for _, session in rows.of(person, Session, now=SystemClock().now())]


def make_stale(place: Place) -> None:
    rows, found = sessions_of(place)
    for session in found:
        old = msgspec.structs.replace(session, verified_at=session.verified_at - timedelta(minutes=10))
        rows.put(session.row, old, ends_at=old.ends_at, principal=old.principal)
    rows._engine.dispose()


def test_the_enrolled_person_is_signed_in_and_is_who_they_are(place: Place, enrolled) -> None:
    who = place.json("whoami")
    assert (who["name"], who["kind"]) == ("ada", "user")
    assert place.json("user", "list")[0]["state"] == "active"
    (file,) = (place.folder / "config-ada" / "casemate" / "sessions").iterdir()
    assert file.stat().st_mode & 0o777 == 0o600
    assert place.json("whoami", local=True)["kind"] == "user"


def test_sign_in_from_another_machine_and_out_from_here(place: Place, enrolled) -> None:
    _, codes = enrolled
    place.run("whoami", user="laptop", exits=2)
    place.run("login", "--name", "ada", typed=("wrong-wrong-wrong", codes[0]), user="laptop", exits=1)
    place.run("login", typed=("ada", WORDS, codes.pop()), user="laptop")
    there = place.json("whoami", user="laptop")["session"]["id"]
    assert there in {one["id"] for one in place.json("session", "list")}
    place.run("session", "revoke", there, "--reason", "left it in the train")
    refused = place.run("whoami", user="laptop", exits=1)
    assert "sign in again" in refused.stderr
    place.run("login", typed=("ada", WORDS, codes.pop()), user="laptop")
    place.run("logout", user="laptop")
    place.run("whoami", user="laptop", exits=2)


def test_what_wants_a_fresh_factor_says_so_without_a_terminal(place: Place, enrolled) -> None:
    _, codes = enrolled
    make_stale(place)
    issue = ("key", "issue", "robot", "--role", "operator", "--expires", "1h")
    refused = place.run(*issue, exits=1)
    assert "casemate login --verify" in refused.stderr
    assert place.json("key", "list") == []
    place.run("login", "--verify", typed=(codes.pop(),))
    assert place.json(*issue)["key"].startswith("cm_")


def test_on_a_terminal_the_code_is_asked_for_and_the_command_goes_on(place: Place, enrolled) -> None:
    _, codes = enrolled
    make_stale(place)
    outer, inner = pty.openpty()
    process = subprocess.Popen(
        place.command("key", "issue", "typed", "--role", "operator", "--expires", "1h", "--json"),
        stdin=inner,
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
        env=place.environment("ada"),
        start_new_session=True,
    )
    os.write(outer, f"{codes.pop()}\n".encode())
    said, errors = process.communicate(timeout=300)
    os.close(inner)
    os.close(outer)
    assert process.returncode == 0, errors
    assert json.loads(said)["name"] == "typed"
    assert "Code of your second factor" in errors
    place.json("whoami")  # under the new token, which was kept


@pytest.mark.slow
def test_strict_takes_two_people_who_sign_with_keys_of_their_own(place: Place, enrolled, tmp_path: Path) -> None:
    """Made where they work, pinned where the home's keys are, and verified by the gateway that serves."""
    enrol(place, "bea", "approver")
    (tmp_path / "model.onnx").write_bytes(doubling_model(2.0))
    (tmp_path / "words").write_text("correct horse battery\n")
    digest = place.json("model", "push", "double", str(tmp_path / "model.onnx"), local=True)["digest"]
    deploy = ("deploy", "double", "double@1", "--profile", "strict", "--environment", "production")

    def approve(user: str, *more: str, exits: int = 0):
        opened = ("--key", str(tmp_path / f"{user}.pem"), "--passphrase-file", str(tmp_path / "words"))
        words = ("model", "approve", "double@1", "--environment", "production", *opened, *more)
        return place.run(*words, user=user, exits=exits)

    for user in ("ada", "bea"):
        key = str(tmp_path / f"{user}.pem")
        place.run("approver", "new", "--out", key, "--passphrase-file", str(tmp_path / "words"), local=True)
        assert (tmp_path / f"{user}.pem").stat().st_mode & 0o777 == 0o600
        if user == "bea":
            assert "not pinned" in approve("bea", "--digest", digest, exits=1).stderr
        place.run("approver", "pin", user, key + ".pub", local=True)
        place.run("login", "--verify", typed=(enrolled[1].pop(),)) if user == "ada" else None
        assert f"--digest {digest}" in approve(user, exits=2).stderr  # nobody is there to be asked
        assert "nothing was signed" in approve(user, "--digest", "sha256:" + "0" * 64, exits=1).stderr
        refused = place.run(*deploy, local=True, exits=1)
        assert "approv" in refused.stderr
        assert json.loads(approve(user, "--digest", digest, "--json").stdout)["own_signature"] is True
    assert "does not say intended_use" in place.run(*deploy, local=True, exits=1).stderr
    (tmp_path / "card.toml").write_text(
        'intended_use = "doubling"\nowner = "us"\nlicence = "MIT"\nlimits = "doubles only"\n'
        '[[metrics]]\nname = "error"\nvalue = 0.0\n'
    )
    place.run("model", "describe", "double@1", str(tmp_path / "card.toml"), local=True)
    assert "model evaluate double@1" in " ".join(place.run(*deploy, local=True, exits=1).stderr.split())
    place.run("model", "except", "double@1", "--reason", "it doubles", local=True)
    assert place.json(*deploy, local=True)["version"] == 1
    assert place.json("deployment", "show", "double", local=True)["state"] == "serving"

    weaker = ("deploy", "double", "double@1", "--profile", "standard")
    assert "casemate approver relax double" in place.run(*weaker, local=True, exits=1).stderr
    assert place.json("approver", "unpin", "bea", local=True)["unpinned"][0]["name"] == "bea"
    assert "1 of the 2" in place.run(*deploy, local=True, exits=1).stderr
    place.run("approver", "relax", "double", local=True)
    place.run(*weaker, local=True)
    changes = [one["facts"] for one in place.json("audit", "log", "--kind", "approvers", local=True)]
    assert changes[0]["relaxed"].keys() == {"double"}
    assert [[pin["name"] for pin in one["pinned"]] for one in changes] == [["ada"], ["ada"], ["ada", "bea"], ["ada"]]


def test_a_new_password_takes_the_place_of_the_old(place: Place, enrolled) -> None:
    _, codes = enrolled
    place.run("user", "password", typed=(WORDS, NEW_WORDS, NEW_WORDS))
    place.json("whoami")
    place.run("login", typed=("ada", WORDS, codes[-1]), user="laptop", exits=1)
    place.run("login", typed=("ada", NEW_WORDS, codes.pop()), user="laptop")


def test_no_secret_is_written_anywhere_in_the_home(place: Place, enrolled) -> None:
    secret, codes = enrolled
    needles = [one.encode() for one in (WORDS, NEW_WORDS, secret, *codes)]
    for file in (place.folder / "home").rglob("*"):
        if file.is_file():
            held = file.read_bytes()
            assert not [one for one in needles if one in held], file


def test_revoked_is_out_at_once(place: Place, enrolled) -> None:
    place.run("user", "revoke", "ada", "--reason", "left", local=True)
    assert place.run("whoami", exits=1).stderr
    assert place.json("audit", "verify", local=True)["ok"]
