"""SIGKILL at random points of push, train, deploy, rollback and the log's commits: nothing acknowledged is lost."""

from __future__ import annotations

import json
import os
import random
import signal
import subprocess
import sys
import time
from pathlib import Path
from typing import Any

import pytest

from casemate.app.local import control_socket, init_home
from casemate.client import Casemate
from casemate.settings import Settings, load_settings

HERE = Path(__file__).parent


@pytest.mark.parametrize("rounds", [2, pytest.param(100, marks=[pytest.mark.slow, pytest.mark.timeout(3000)])])
def test_a_killed_home_is_whole_when_it_opens_again(rounds: int, tmp_path: Path) -> None:
    settings = load_settings({}, home=tmp_path / "home", keys=tmp_path / "keys")
    init_home(settings)
    moment = random.Random(rounds)
    acknowledged: list[dict[str, Any]] = []
    for seed in range(rounds):
        acknowledged += act_until_killed(settings, seed, acts=moment.randint(0, 6), after=moment.uniform(0.0, 1.0))
        check(settings, acknowledged)
    assert {"push", "deploy"} <= {line["act"] for line in acknowledged}


def act_until_killed(settings: Settings, seed: int, *, acts: int, after: float) -> list[dict[str, Any]]:
    """Let it acknowledge so many acts, then kill it so many seconds into the next ones."""
    command = [sys.executable, str(HERE / "kill_worker.py"), str(settings.home), str(settings.keys), str(seed)]
    process = subprocess.Popen(command, stdout=subprocess.PIPE, start_new_session=True)
    assert process.stdout is not None
    try:
        ready = process.stdout.readline()
        assert b"ready" in ready, "the actor could not open the home"
        output = b"".join(process.stdout.readline() for _ in range(acts))
        time.sleep(after)  # the moment of death is the test's input
    finally:
        os.killpg(process.pid, signal.SIGKILL)
        process.wait()
    output += process.stdout.read()
    process.stdout.close()
    lines = [json.loads(line) for line in output.splitlines(keepends=True) if line.endswith(b"\n")]
    assert not [line for line in lines if line["act"] == "error" and "nothing-earlier" not in line["error"]], lines
    return lines


def check(settings: Settings, acknowledged: list[dict[str, Any]]) -> None:
    """Open the home as the next command would, and compare it with everything that was ever acknowledged."""
    with control_socket(settings) as socket, Casemate(socket=socket) as casemate:
        assert casemate.audit_verify()["problems"] == []
        assert casemate.verify_models()["problems"] == []
        assert casemate.verify_datasets()["problems"] == []
        issued = casemate.keys()
        keys = {key["id"] for key in issued}
        for line in acknowledged:
            if line["act"] == "push":
                assert casemate.model(f"double@{line['version']}")["digest"] == line["digest"]
            elif line["act"] == "dataset":
                assert casemate.dataset(f"rows@{line['version']}")["digest"] == line["digest"]
            elif line["act"] == "approve":
                assert casemate.model(f"double@{line['version']}")["approvals"]
            elif line["act"] == "key":
                assert line["id"] in keys
        deployed = [line["version"] for line in acknowledged if line["act"] == "deploy"]
        if deployed:
            served = casemate.deployment("twice")
            assert set(deployed) <= {entry["version"] for entry in served["history"]}
        open_intents = casemate.audit_entries(kind="intent", limit=100_000)
        outcomes = {entry["facts"]["intent"] for entry in casemate.audit_entries(kind="outcome", limit=100_000)}
        mine = casemate.audit_entries(kind="intent", action="audit:verify", limit=1)
        assert {entry["id"] for entry in open_intents} - outcomes <= {entry["id"] for entry in mine}
    assert not list((settings.home / "tmp").iterdir())
