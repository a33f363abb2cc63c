"""A home whose log was altered does not open, and still says what was altered."""

from __future__ import annotations

import json
import os
import sqlite3
import subprocess
import sys
from pathlib import Path

import pytest

ALTERATIONS = {
    "changed": ("UPDATE entries SET actor = 'nobody' WHERE seq = 1", 1),
    "dropped": ("DELETE FROM entries WHERE seq = 1", 2),
    "cut": ("DELETE FROM entries WHERE seq = (SELECT max(seq) FROM entries)", None),
    "another body": ("UPDATE entries SET body = x'7b7d' WHERE seq = (SELECT max(seq) FROM entries)", None),
}


def casemate(folder: Path, *arguments: str) -> subprocess.CompletedProcess[str]:
    env = {"PATH": os.environ["PATH"], "HOME": str(folder), "CASEMATE_HOME": str(folder / "home")}
    env["CASEMATE_KEYS"] = str(folder / "keys")
    command = [sys.executable, "-m", "casemate", *arguments]
    return subprocess.run(command, capture_output=True, text=True, env=env, check=False, timeout=120)


@pytest.mark.parametrize("alteration", ALTERATIONS)
def test_verification_names_what_keeps_a_home_from_opening(tmp_path: Path, alteration: str) -> None:
    assert casemate(tmp_path, "init").returncode == 0
    for number in range(2):
        issued = casemate(tmp_path, "key", "issue", f"k{number}", "--role", "caller", "--expires", "1h", "--json")
        assert issued.returncode == 0, issued.stderr
    whole = json.loads(casemate(tmp_path, "audit", "verify", "--json").stdout)
    assert whole["ok"]
    statement, named = ALTERATIONS[alteration]
    with sqlite3.connect(tmp_path / "home" / "casemate.db") as database:
        database.execute(statement)
    database.close()
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
