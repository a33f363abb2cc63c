"""SIGKILL at random points of `casemate keys rotate`: the home opens, everything reads, and the next run finishes it."""

from __future__ import annotations

import os
import random
import signal
import subprocess
import sys
import time
from pathlib import Path

import pytest
from sqlalchemy import insert, select
from tiny_models import doubling_model

from casemate.app.local import control_socket, init_home
from casemate.client import Casemate
from casemate.core import new_id
from casemate.keys import Keeper
from casemate.settings import Settings, load_settings
from casemate.storage import open_home, reading
from casemate.storage.database import blobs
from casemate.storage.pending import blob_context

KEYS = 4000  # data keys without a file, so that a rotation takes long enough to be killed in


@pytest.mark.parametrize("rounds", [1, pytest.param(60, marks=[pytest.mark.slow, pytest.mark.timeout(3000)])])
def test_a_killed_rotation_leaves_a_whole_home_and_is_finished_by_the_next(rounds: int, tmp_path: Path) -> None:
    settings = load_settings({}, home=tmp_path / "home", keys=tmp_path / "keys")
    init_home(settings)
    (tmp_path / "model.onnx").write_bytes(doubling_model(2.0))
    with control_socket(settings) as socket, Casemate(socket=socket) as casemate:
        casemate.push_model("one", tmp_path / "model.onnx")
        total = casemate.keyring.show()["keks"][0]["data_keys"] + KEYS
    add_keys(settings)
    begun = time.monotonic()
    rotate(settings).wait()
    length = time.monotonic() - begun
    moment = random.Random()
    for _ in range(rounds):
        process = rotate(settings)
        time.sleep(length * moment.uniform(0.2, 1.0))  # the moment of death is the test's input
        if process.poll() is None:
            os.killpg(process.pid, signal.SIGKILL)
        process.wait()
        check(settings, total)
    with control_socket(settings) as socket, Casemate(socket=socket) as casemate:
        casemate.keyring.rotate()
        casemate.keyring.retire()
        *older, newest = casemate.keyring.show()["keks"]
        assert {(kek["state"], kek["data_keys"]) for kek in older} == {("retired", 0)}
        assert newest["data_keys"] == total
        assert casemate.verify_models()["problems"] == []
    check(settings, total)


def rotate(settings: Settings) -> subprocess.Popen[bytes]:
    command = [sys.executable, "-m", "casemate", "--home", str(settings.home), "keys", "rotate"]
    environment = {**os.environ, "CASEMATE_KEYS": str(settings.keys)}
    return subprocess.Popen(command, env=environment, stderr=subprocess.DEVNULL, start_new_session=True)


def add_keys(settings: Settings) -> None:
    home = open_home(settings.home)
    keeper, engine = Keeper(settings.keys / home.id), home.open_database()
    rows = []
    for _ in range(KEYS):
        blob = new_id("blob")
        context = blob_context("default", "dataset/rows", blob)
        about = {"id": blob, "project": "default", "asset": "dataset/rows", "created_at": "", "size": 0, "digest": ""}
        rows.append({**about, "wrapped_key": keeper.wrap(blob.encode()[-32:], context)})
    with engine.begin() as connection:
        connection.execute(insert(blobs), rows)
    engine.dispose()


def check(settings: Settings, total: int) -> None:
    """Open the home as the next command would, and read everything."""
    with control_socket(settings) as socket, Casemate(socket=socket) as casemate:
        assert casemate.verify_models()["problems"] == []
        shown = casemate.keyring.show()
        counts = [kek["data_keys"] for kek in shown["keks"]]
        assert (sum(counts), shown["unknown"]) == (total, 0)
        assert casemate.audit_verify()["problems"] == []
        intents = {entry["id"] for entry in casemate.audit_entries(kind="intent", action="keys:rotate", limit=1000)}
        outcomes = casemate.audit_entries(kind="outcome", action="keys:rotate", limit=1000)
        assert intents == {entry["facts"]["intent"] for entry in outcomes}
    home = open_home(settings.home)
    keeper, engine = Keeper(settings.keys / home.id), home.open_database(read_only=True)
    with reading(engine) as connection:
        for row in connection.execute(select(blobs).where(blobs.c.size == 0)):
            key = keeper.unwrap(row.wrapped_key, blob_context(row.project, row.asset, row.id))
            assert key == row.id.encode()[-32:]
    engine.dispose()
