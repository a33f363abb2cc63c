"""A home that was altered does not open; its log is still verified, read, proved and exported, and says so."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest
from database_words import change
from every_home import WHERE
from sqlalchemy import select

from casemate.auditlog.offline import check
from casemate.auditlog.read import any_text
from casemate.storage import open_home, reading
from casemate.storage.database import checkpoints, entries

ALTERATIONS = {
    "changed": ("UPDATE entries SET actor = 'nobody' WHERE seq = 1", 1),
    "dropped": ("DELETE FROM entries WHERE seq = 1", 2),
    "cut": ("DELETE FROM entries WHERE seq = (SELECT max(seq) FROM entries)", None),
    "another body": ("UPDATE entries SET body = x'7b7d' WHERE seq = (SELECT max(seq) FROM entries)", None),
}


CLOSING = {  # what keeps the home from opening, and whether the log itself still verifies
    "a body that is no event": ("UPDATE entries SET body = x'ff0a' WHERE seq = (SELECT max(seq) FROM entries)", False),
    "text for bytes": (
        "UPDATE entries SET body = CAST(x'ff' AS TEXT) WHERE seq = (SELECT max(seq) FROM entries)",
        False,
    ),
    "cut": ("DELETE FROM entries WHERE seq = (SELECT max(seq) FROM entries)", False),
    "checkpoints": ("UPDATE checkpoints SET text = 'x'", False),
    "the signed state": ("UPDATE ledger SET body = x'00' WHERE number = (SELECT max(number) FROM ledger)", True),
}


def some(altered: dict[str, Any], *quick: str) -> list[Any]:
    """All of them, those that are not named here in the slow lane: each starts a dozen commands."""
    return [one if one in quick else pytest.param(one, marks=pytest.mark.slow) for one in altered]


def casemate(folder: Path, *arguments: str) -> subprocess.CompletedProcess[str]:
    env = {"PATH": os.environ["PATH"], "HOME": str(folder), "CASEMATE_HOME": str(folder / "home")}
    env["CASEMATE_KEYS"] = str(folder / "keys")
    env |= {name: os.environ[name] for name in (WHERE, "PYTHONPATH") if name in os.environ}
    command = [sys.executable, "-m", "casemate", *arguments]
    return subprocess.run(command, capture_output=True, text=True, env=env, check=False, timeout=300)


@pytest.mark.parametrize("alteration", some(ALTERATIONS, "another body"))
def test_verification_names_what_keeps_a_home_from_opening(tmp_path: Path, alteration: str) -> None:
    assert casemate(tmp_path, "init").returncode == 0
    for number in range(2):
        issued = casemate(tmp_path, "key", "issue", f"k{number}", "--role", "caller", "--expires", "1h", "--json")
        assert issued.returncode == 0, issued.stderr
    whole = json.loads(casemate(tmp_path, "audit", "verify", "--json").stdout)
    assert whole["ok"]
    statement, named = ALTERATIONS[alteration]
    change(tmp_path / "home", statement)
    verified = casemate(tmp_path, "audit", "verify", "--json")
    report = json.loads(verified.stdout)
    assert (verified.returncode, report["ok"]) == (1, False)
    assert report["problems"]
    if named is not None:
        assert named in {problem["seq"] for problem in report["problems"]}
    if "not open" in verified.stderr:
        started = casemate(tmp_path, "up", "--data-port", "0", "--control-port", "0")
        assert started.returncode != 0
        assert "casemate audit verify" in started.stderr
        assert "Traceback" not in started.stderr


def stored(folder: Path) -> dict[str, str]:
    """Every row of the home's log and every file of its keys."""
    files = {str(path): path.read_bytes().hex() for path in (folder / "keys").rglob("*") if path.is_file()}
    return files | {"rows": stored_rows(folder)}


def stored_rows(folder: Path) -> str:
    engine = open_home(folder / "home").open_database(read_only=True)
    with reading(engine) as connection, any_text(connection):
        rows = [repr(connection.execute(select(table)).all()) for table in (entries, checkpoints)]
    engine.dispose()
    return "".join(rows)


@pytest.mark.parametrize("closing", some(CLOSING, "the signed state"))
def test_the_log_of_a_home_that_does_not_open_is_read_with_a_warning(tmp_path: Path, closing: str) -> None:
    statement, whole = CLOSING[closing]
    assert casemate(tmp_path, "init").returncode == 0
    assert casemate(tmp_path, "key", "issue", "k", "--role", "caller", "--expires", "1h").returncode == 0
    asked = casemate(tmp_path, "audit", "log", "--json")
    known = json.loads(asked.stdout)
    assert (asked.returncode, asked.stderr, {"verified"} & set(known[0])) == (0, "", set())
    change(tmp_path / "home", statement)
    before, exported = stored(tmp_path), tmp_path / "log.jsonl"

    asked = casemate(tmp_path, "audit", "log", "--json")
    rows = json.loads(asked.stdout)
    assert asked.returncode == 1
    assert {row["verified"] for row in rows} == {whole}
    assert known[-1] | {"verified": whole} in rows
    assert ("does not verify" in asked.stderr) is not whole
    assert "not recorded" in asked.stderr

    asked = casemate(tmp_path, "audit", "export", str(exported), "--json")
    assert (asked.returncode, json.loads(asked.stdout)) == (1, {"path": str(exported), "verified": whole})
    assert json.loads(exported.read_bytes().splitlines()[0])["id"] == known[-1]["id"]
    assert exported.stat().st_mode & 0o077 == 0

    asked = casemate(tmp_path, "audit", "prove", known[-1]["id"], "--to", str(tmp_path / "proof.json"))
    assert asked.returncode == 1
    assert "Traceback" not in asked.stderr
    if (tmp_path / "proof.json").exists():  # what is proved is true, whatever became of the rest
        assert check(json.loads((tmp_path / "proof.json").read_text()), public(tmp_path))["id"] == known[-1]["id"]
    else:
        assert closing in ("cut", "checkpoints")
    assert stored(tmp_path) == before


def public(folder: Path) -> bytes:
    return (folder / "home" / "public" / "checkpoint.pem").read_bytes()


def test_a_missing_checkpoint_beside_the_keys_is_a_problem_of_the_log(tmp_path: Path) -> None:
    assert casemate(tmp_path, "init").returncode == 0
    assert casemate(tmp_path, "key", "issue", "k", "--role", "caller", "--expires", "1h").returncode == 0
    next((tmp_path / "keys").rglob("checkpoint.txt")).unlink()
    verified = casemate(tmp_path, "audit", "verify", "--json")
    assert (verified.returncode, json.loads(verified.stdout)["ok"]) == (1, False)
