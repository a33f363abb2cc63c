"""What is done is what the gate decided on: no name is looked up twice, and no clock is read twice."""

from __future__ import annotations

import asyncio
import os
from collections.abc import AsyncIterator, Callable
from pathlib import Path
from typing import Any

import httpx
import pytest
from tiny_models import doubling_model

from casemate.client import Casemate
from casemate.console import Services, build_console
from casemate.core import CasemateError, Environment, new_id
from casemate.doors import Recorder
from casemate.iam import issue_key, key_request, local_owner

DEV = Environment.DEV


@pytest.mark.parametrize("ref", ["pinned", "pinned@latest"])
def test_an_approval_names_the_very_version(casemate: Casemate, tmp_path: Path, ref: str) -> None:
    (tmp_path / "model.onnx").write_bytes(doubling_model(3.0))
    casemate.push_model("pinned", tmp_path / "model.onnx")
    with pytest.raises(CasemateError) as refused:
        casemate.approve(ref)
    assert refused.value.code == "bad-version"
    assert casemate.approve("pinned@1")["version"] == 1


class AfterAnother:
    """In the place of a name's lock: lets another change through first, as one that came earlier would be."""

    def __init__(self, switches: dict[str, Any], name: str, change: Callable[[], Any]) -> None:
        self._switches, self._name, self._change = switches, name, change

    def __enter__(self) -> None:
        del self._switches[self._name]
        self._change()

    def __exit__(self, *_: object) -> None:
        pass


@pytest.mark.parametrize(
    "act", ["deploy", *(pytest.param(one, marks=pytest.mark.slow) for one in ("rollback", "resume"))]
)
def test_a_change_that_waited_is_made_only_where_it_was_allowed(
    services: Services, casemate: Casemate, tmp_path: Path, act: str
) -> None:
    """Allowed in `dev`, where the name was free; by the time it is its turn, the name serves production."""
    name = f"waits-{act}"
    made = issue_key(
        key_request(name, role="operator", scope=f"deployment:{name}", now=services.clock.now(), environment=DEV),
        issuer=local_owner(os.geteuid()),
    )
    services.commit(made.entries, new_id("int"))
    for factor in (2.0, 3.0):
        (tmp_path / "model.onnx").write_bytes(doubling_model(factor))
        casemate.push_model(name, tmp_path / "model.onnx")
    for version in (1, 2):
        approver = casemate.issue_key(f"approves-{act}", role="approver", expires="1h")["key"]
        approve_in_production(services, approver, f"{name}@{version}")
    switches = services.deployments._switches

    def others() -> None:
        for version in (1, 2):
            casemate.deploy(name, f"{name}@{version}", environment="production")

    switches[name] = AfterAnother(switches, name, others)
    with Recorder(services.sink, clock=services.clock) as recorder:
        app = build_console(services, recorder)
        method, path = ("PUT", "") if act == "deploy" else ("POST", f"/{act}")
        url = f"/api/v1/deployments/{name}{path}"
        query = {"model": f"{name}@1"} if act == "deploy" else {}
        told = send(app, method, url, made.key, query)
        assert (told.status_code, told.json()["code"]) == (409, "changed-meanwhile")
        assert send(app, method, url, made.key, query).status_code == 403  # as it stands now
    standing = casemate.deployment(name)
    assert (standing["environment"], standing["version"]) == ("production", 2)


def send(app, method: str, url: str, key: str, query: dict[str, str]) -> httpx.Response:
    async def go() -> httpx.Response:
        async with httpx.AsyncClient(transport=httpx.ASGITransport(app=app), base_url="https://casemate") as client:
            return await client.request(method, url, params=query, headers={"Authorization": f"Bearer {key}"})

    return asyncio.run(go())


def approve_in_production(services: Services, key: str, ref: str) -> None:
    with Recorder(services.sink, clock=services.clock) as recorder:
        name, _, version = ref.partition("@")
        url = f"/api/v1/models/{name}/versions/{version}/approvals"
        told = send(build_console(services, recorder), "POST", url, key, {"environment": "production"})
        assert told.status_code == 200, told.text


def test_a_key_in_a_reason_stays_out_of_the_signed_state(services: Services, casemate: Casemate) -> None:
    secret = casemate.issue_key("pasted", role="caller", expires="1h", reason="first")["key"]
    before = services.datasets._stores.state.entries()[-1].number
    issued = casemate.issue_key("reasoned", role="caller", expires="1h", reason=f"instead of {secret}")
    rotated = casemate.rotate_key(issued["id"], expires="2h", reason=f"leaked: {secret}")
    casemate.revoke_key(rotated["id"], reason=f"was {secret}")
    written = services.datasets._stores.state.entries(after=before)
    assert {entry.kind for entry in written} == {"principal", "credential", "grant"}
    assert secret not in str(written)
    assert str(written).count("[API key]") >= 4


def test_a_key_ends_when_the_gate_said(casemate: Casemate) -> None:
    issued = casemate.issue_key("decided", role="caller", expires="1h")
    intent = casemate.audit_entries(action="key:issue", kind="intent", limit=1)[0]
    assert intent["facts"]["expires_at"] == issued["expires_at"]


def test_a_dataset_that_comes_while_a_script_is_sent_is_not_trained_on(
    services: Services, casemate: Casemate, tmp_path: Path
) -> None:
    """Nothing was there to decide on; by the time the script is, it is health data."""
    key = casemate.issue_key("trains", role="data-scientist", expires="1h")["key"]
    path = tmp_path / "rows.csv"
    path.write_text("a,b\n1,2\n3,4\n")

    def newcomer() -> None:
        assert casemate.audit_entries(action="model:train", kind="intent", limit=1)
        casemate.push_dataset("newcomer", path, data_class="health")

    async def script() -> AsyncIterator[bytes]:
        await asyncio.to_thread(newcomer)
        yield b"raise SystemExit('it must not run')"

    async def go(app: Any) -> httpx.Response:
        async with httpx.AsyncClient(transport=httpx.ASGITransport(app=app), base_url="https://casemate") as client:
            headers, query = {"Authorization": f"Bearer {key}"}, {"dataset": "newcomer"}
            return await client.post("/api/v1/models/m/train", headers=headers, params=query, content=script())

    with Recorder(services.sink, clock=services.clock) as recorder:
        told = asyncio.run(go(build_console(services, recorder)))
    assert (told.status_code, told.json()["code"]) == (409, "changed-meanwhile")
