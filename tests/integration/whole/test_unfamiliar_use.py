"""A served home notices a key that is used from two far networks, and one that is refused again and again."""

from __future__ import annotations

import json
import ssl
from pathlib import Path
from typing import Any

import httpx
import pytest
from test_doors_keep_up import until
from test_vault_home import serving

from casemate.client import Casemate
from conftest import Walked

HERE, FAR = "127.0.0.1", "127.9.9.9"  # the loopback's own far network: they share no /16


@pytest.fixture
def home(tmp_path: Path) -> Walked:
    made = Walked(tmp_path / "home", tmp_path / "keys", [])
    made.run("init")
    return made


@pytest.mark.slow
def test_far_networks_and_refused_attempts_become_one_alert_each(home: Walked) -> None:
    trust = ssl.create_default_context(cafile=str(home.home / "tls" / "ca.pem"))
    with serving(home) as data, Casemate(socket=home.home / "run" / "control.sock") as casemate:
        good = casemate.issue_key("good", role="auditor", expires="1h")
        gone = casemate.issue_key("gone", role="caller", expires="1h")
        casemate.revoke_key(gone["id"])

        def ask(key: str, address: str) -> int:
            transport = httpx.HTTPTransport(verify=trust, local_address=address)
            headers = {"Authorization": f"Bearer {key}", "User-Agent": "planted-client/1.0"}
            with httpx.Client(base_url=data, transport=transport, headers=headers, timeout=120) as client:
                return client.get("/v2/models/nothing").status_code

        def alerts() -> list[dict[str, Any]]:
            return casemate.audit_entries(kind="alert")

        def both() -> bool:
            return len(alerts()) == 2

        for address in (HERE, FAR, HERE, FAR):
            assert ask(good["key"], address) == 403  # known, and may not: a use all the same
        for _ in range(12):
            assert ask(gone["key"], HERE) == 401
        assert ask(good["key"] + "x", HERE) == 401
        until(both)
        by = {entry["reason"]: entry for entry in alerts()}
        assert by["far-networks"]["credential"] == good["id"]
        assert by["far-networks"]["facts"]["networks"] == ["127.0.0.0/24", "127.9.9.0/24"]
        assert by["refused-attempts"]["credential"] == gone["id"]
        assert by["refused-attempts"]["facts"]["client"] == "planted-client/1.0"
        shown = casemate.key(good["id"])
        assert {seen["network"] for seen in shown["networks"]} == {"127.0.0.0/24", "127.9.9.0/24"}
        assert casemate.key(gone["id"])["networks"] == [], "a refused key was used nowhere"
        (row,) = (row for row in casemate.access_report() if row["credential"] == good["id"])
        assert set(row["networks"]) == {"127.0.0.0/24", "127.9.9.0/24"}
        assert "127.9.9.0/24" in home.run("key", "show", good["id"])
    with serving(home) as data:  # what was seen is remembered, and nothing is said twice
        for address in (FAR, HERE):
            ask(good["key"], address)
    assert len(json.loads(home.run("audit", "log", "--kind", "alert", "--json"))) == 2
    assert json.loads(home.run("audit", "verify", "--json"))["ok"]
