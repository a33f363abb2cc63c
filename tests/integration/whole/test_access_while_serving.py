"""Access that changes while a gateway serves: lent, taken back, rotated, revoked."""

from __future__ import annotations

import json
import ssl
import subprocess
import sys
import time
from collections.abc import Iterator
from pathlib import Path

import httpx
import pytest

from conftest import Server, Walked

BODY = {"inputs": [{"name": "X", "shape": [1, 30], "datatype": "FP32", "data": [1.0] * 30}]}
PATIENCE = 180  # seconds after which something is broken; a bound, not an aim


class Caller:
    """Who holds a key at both doors of a running server."""

    def __init__(self, walked: Walked, server: Server, http: httpx.Client, key: str) -> None:
        self.walked, self.server, self.http, self.key = walked, server, http, key

    def predict(self) -> int:
        url = f"{self.server.data}/v2/models/diagnosis/infer"
        return self.http.post(url, json=BODY, headers={"Authorization": f"Bearer {self.key}"}).status_code

    def until(self, status: int) -> None:
        """Ask until it is answered so. A revoked key is refused with 401, and with 429 when refused too often."""
        give_up = time.monotonic() + PATIENCE
        while (found := self.predict()) != status:
            assert time.monotonic() < give_up, f"still {found} and not {status}"

    def run(self, *words: str) -> dict:
        """A command with this key, as on another machine."""
        place = ["--server", self.server.control, "--ca", str(self.walked.home / "tls" / "ca.pem")]
        environment = {**self.walked.environment(), "CASEMATE_KEY": self.key}
        command = [sys.executable, "-m", "casemate", *place, *words, "--json"]
        done = subprocess.run(command, capture_output=True, text=True, env=environment, timeout=300, check=False)
        assert done.returncode == 0, done.stderr
        return json.loads(done.stdout)


@pytest.fixture
def http(walked: Walked) -> Iterator[httpx.Client]:
    with httpx.Client(
        verify=ssl.create_default_context(cafile=str(walked.home / "tls" / "ca.pem")), timeout=120
    ) as one:
        yield one


def owner(walked: Walked, *words: str) -> dict:
    return json.loads(walked.run(*words, "--json"))


def test_a_role_is_lent_and_taken_back_while_the_gateway_serves(
    walked: Walked, server: Server, http: httpx.Client
) -> None:
    issued = owner(walked, "key", "issue", "lent", "--role", "auditor", "--expires", "1h")
    caller = Caller(walked, server, http, issued["key"])
    assert caller.predict() == 403
    asked = caller.run(
        "grant", "request", "caller", "--on", "deployment:diagnosis", "--for", "10m", "--reason", "a spot check"
    )
    assert asked["state"] == "pending"
    assert caller.predict() == 403
    owner(walked, "grant", "approve", asked["id"], "--reason", "go ahead")
    caller.until(200)
    assert [one["state"] for one in caller.run("grant", "list") if one["id"] == asked["id"]] == ["active"]
    owner(walked, "grant", "revoke", asked["id"], "--reason", "enough")
    caller.until(403)


def test_a_rotated_key_ends_with_its_overlap_and_a_revoked_one_at_once(
    walked: Walked, server: Server, http: httpx.Client
) -> None:
    issued = owner(walked, "key", "issue", "turns", "--role", "caller", "--deployment", "diagnosis", "--expires", "1h")
    old = Caller(walked, server, http, issued["key"])
    assert old.predict() == 200
    rotated = owner(walked, "key", "rotate", issued["id"], "--overlap", "3s")
    new = Caller(walked, server, http, rotated["key"])
    new.until(200)
    old.until(401)
    assert new.predict() == 200
    owner(walked, "key", "revoke", rotated["id"])
    new.until(401)


@pytest.mark.slow
def test_a_change_of_policy_reaches_the_gateway_that_serves(
    walked: Walked, server: Server, http: httpx.Client, tmp_path: Path
) -> None:
    """And so does the way back, while nothing is started anew."""
    web = owner(walked, "key", "issue", "closing", "--role", "caller", "--deployment", "diagnosis", "--expires", "1h")
    second = owner(walked, "key", "issue", "second", "--role", "owner", "--expires", "1h")
    caller, approves = (Caller(walked, server, http, one["key"]) for one in (web, second))
    caller.until(200)
    file = tmp_path / "closed.cedar"
    file.write_text('@id("closed") forbid (principal, action == Action::"deployment:predict", resource);')
    proposed = owner(walked, "policy", "propose", str(file), "--reason", "closed for the night")
    assert caller.predict() == 200, "a proposal gives and takes nothing"
    approves.run("policy", "approve", proposed["id"], "--reason", "good night")
    caller.until(403)
    assert caller.predict() == 403
    owner(walked, "policy", "revert", "--packaged", "--reason", "good morning")
    caller.until(200)


def test_the_list_of_keys_shows_a_prediction_as_last_use(walked: Walked, server: Server, http: httpx.Client) -> None:
    issued = owner(walked, "key", "issue", "used", "--role", "caller", "--deployment", "diagnosis", "--expires", "1h")
    assert Caller(walked, server, http, issued["key"]).predict() == 200
    give_up = time.monotonic() + PATIENCE
    used = None
    while used is None and time.monotonic() < give_up:  # `standard` writes within 50 ms of the answer
        (row,) = [row for row in json.loads(walked.run("key", "list", "--json")) if row["id"] == issued["id"]]
        used = row["last_used_at"]
    assert used
    assert row["last_used_from"] == "127.0.0.1"
