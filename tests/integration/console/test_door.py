"""Every route declares its action, stands behind the gate, and refuses who has no key."""

from __future__ import annotations

import asyncio
import re
from pathlib import Path

import click
import httpx
import pytest
from tiny_models import doubling_model

from casemate.cli import cli
from casemate.client import Casemate
from casemate.client.files import tar_stream
from casemate.console import build_door
from casemate.core import Action, ConflictError
from casemate.settings import Settings

PUBLIC = {("GET", "/api/v1/health")}
# Commands that act on this machine and not on a home's control plane; what each does instead.
LOCAL = {
    "init": "makes a home",
    "up": "starts the processes, which stand behind the door themselves",
    "demo": "walks through the doors as a user",
    "doctor": "looks at this machine",
    "model scan": "needs no home",
}


def call(app, method: str, path: str, **request) -> httpx.Response:
    async def go() -> httpx.Response:
        transport = httpx.ASGITransport(app=app)
        async with httpx.AsyncClient(transport=transport, base_url="https://casemate") as client:
            return await client.request(method, path, **request)

    return asyncio.run(go())


def filled(path: str) -> str:
    return (
        re.sub(r"\{version\}", "1", re.sub(r"\{\w+\}", "thing", path))
        if "{version}" in path
        else re.sub(r"\{\w+\}", "thing", path)
    )


def test_each_route_of_the_application_came_through_the_door(app) -> None:
    served = {(method.upper(), path) for path, methods in app.openapi()["paths"].items() for method in methods}
    assert served == set(build_door().actions)


def test_each_route_but_health_declares_an_action() -> None:
    undeclared = {route for route, action in build_door().actions.items() if action is None}
    assert undeclared == PUBLIC
    assert all(action in set(Action) for action in build_door().actions.values() if action)


def test_each_route_but_health_refuses_who_has_no_key(app) -> None:
    for method, path in build_door().actions:
        answer = call(app, method, filled(path))
        if (method, path) in PUBLIC:
            assert answer.status_code == 200
            continue
        # A required argument may be missed first; nothing else may come before the key.
        assert answer.status_code in (400, 401), (method, path, answer.text)
        for wrong in ("Bearer cm_" + "x" * 49, "Basic eDp4", "Bearer", "Bearer  "):
            answer = call(app, method, filled(path), headers={"Authorization": wrong}, params=EVERYTHING)
            assert answer.status_code == 401, (method, path, answer.text)
            assert answer.headers["content-type"] == "application/problem+json"
            assert answer.headers["www-authenticate"].startswith("Bearer")


EVERYTHING = {
    "filename": "a.csv",
    "dataset": "thing",
    "name": "thing",
    "role": "caller",
    "model": "thing@1",
    "environment": "dev",
}


def test_a_caller_key_opens_no_control_route(app, casemate: Casemate) -> None:
    key = casemate.issue_key("caller", role="caller", deployment="thing", expires="1h")["key"]
    for (method, path), action in build_door().actions.items():
        if action is None or action is Action.DEPLOYMENT_READ:
            continue
        answer = call(app, method, filled(path), headers={"Authorization": f"Bearer {key}"}, params=EVERYTHING)
        assert answer.status_code in (403, 404), (method, path, answer.status_code, answer.text)


def test_what_is_no_route_is_a_problem_document(app) -> None:
    for method, path, status in [("GET", "/", 404), ("GET", "/api/v1/nothing", 404), ("PATCH", "/api/v1/models", 405)]:
        answer = call(app, method, path)
        assert answer.status_code == status
        assert answer.headers["content-type"] == "application/problem+json"


def commands(group: click.Group, prefix: str = "") -> list[str]:
    found = []
    for name, command in group.commands.items():
        found += commands(command, f"{prefix}{name} ") if isinstance(command, click.Group) else [prefix + name]
    return found


def test_each_command_is_local_or_speaks_to_a_declared_route() -> None:
    named = set(commands(cli))
    assert set(LOCAL) <= named
    remote = named - set(LOCAL)
    assert remote == set(SPOKEN), "a new command must name the action that its route declares"
    declared = set(build_door().actions.values())
    assert {action for actions in SPOKEN.values() for action in actions} <= declared


SPOKEN = {
    "status": [Action.STATUS_READ],
    "dataset push": [Action.DATASET_PUSH],
    "dataset list": [Action.DATASET_READ],
    "dataset show": [Action.DATASET_READ],
    "dataset pull": [Action.DATASET_EXPORT],
    "dataset verify": [Action.DATASET_VERIFY],
    "dataset delete": [Action.DATASET_DELETE],
    "train": [Action.MODEL_TRAIN],
    "model push": [Action.MODEL_PUSH],
    "model list": [Action.MODEL_READ],
    "model show": [Action.MODEL_READ],
    "model lineage": [Action.MODEL_READ],
    "model pull": [Action.MODEL_EXPORT],
    "model verify": [Action.MODEL_VERIFY],
    "model approve": [Action.MODEL_APPROVE],
    "model revoke": [Action.MODEL_REVOKE],
    "model delete": [Action.MODEL_DELETE],
    "deploy": [Action.DEPLOYMENT_DEPLOY],
    "rollback": [Action.DEPLOYMENT_ROLLBACK],
    "deployment list": [Action.DEPLOYMENT_READ],
    "deployment show": [Action.DEPLOYMENT_READ],
    "deployment pause": [Action.DEPLOYMENT_PAUSE],
    "deployment resume": [Action.DEPLOYMENT_PAUSE],
    "key issue": [Action.KEY_ISSUE],
    "key list": [Action.KEY_READ],
    "key revoke": [Action.KEY_REVOKE],
    "audit log": [Action.AUDIT_READ],
    "audit verify": [Action.AUDIT_VERIFY],
    "audit prove": [Action.AUDIT_READ],
    "audit checkpoint": [Action.AUDIT_READ],
    "audit export": [Action.AUDIT_READ],
}


def test_the_same_request_twice_is_done_once(casemate: Casemate) -> None:
    headers = {"Idempotency-Key": "again"}
    query = {"name": "once", "role": "caller", "deployment": "thing", "expires": "1h"}
    first = casemate._send("POST", "/keys", query=query, headers=headers).json()
    second = casemate._send("POST", "/keys", query=query, headers=headers).json()
    assert second == {name: value for name, value in first.items() if name != "key"}
    issued = casemate.keys()
    assert [key["name"] for key in issued].count("once") == 1


def test_a_request_that_failed_is_not_done_under_the_same_key(casemate: Casemate) -> None:
    headers = {"Idempotency-Key": "fails"}
    assert casemate._send("POST", "/deployments/none/rollback", headers=headers).status_code == 404
    with pytest.raises(ConflictError, match="new Idempotency-Key"):
        casemate._answer(casemate._send("POST", "/deployments/none/rollback", headers=headers))


def test_a_key_may_not_issue_more_than_it_holds(app, casemate: Casemate) -> None:
    operator = casemate.issue_key("operator", role="operator", expires="1h")["key"]
    headers = {"Authorization": f"Bearer {operator}"}
    fine = call(app, "POST", "/api/v1/keys", headers=headers, params={"name": "c", "role": "caller", "expires": "30m"})
    assert fine.status_code == 200
    for role in ("owner", "approver", "operator", "auditor", "data-scientist"):
        answer = call(
            app, "POST", "/api/v1/keys", headers=headers, params={"name": "x", "role": role, "expires": "30m"}
        )
        assert answer.status_code == 403, role


def test_a_revoked_key_is_refused_at_once(app, casemate: Casemate) -> None:
    issued = casemate.issue_key("brief", role="auditor", expires="1h")
    headers = {"Authorization": f"Bearer {issued['key']}"}
    assert call(app, "GET", "/api/v1/keys", headers=headers).status_code == 200
    casemate.revoke_key(issued["id"])
    app.state.services.access.refresh()
    assert call(app, "GET", "/api/v1/keys", headers=headers).status_code == 401


def test_no_key_is_ever_recorded(casemate: Casemate, settings: Settings) -> None:
    key = casemate.issue_key("secret", role="caller", deployment="thing", expires="1h", reason="see cm_" + "y" * 49)[
        "key"
    ]
    for file in settings.home.rglob("*"):
        if file.is_file():
            data = file.read_bytes()
            assert key.encode() not in data, file
            assert b"cm_" + b"y" * 49 not in data, file


def test_a_refusal_is_on_record_with_its_policy(app, casemate: Casemate) -> None:
    auditor = casemate.issue_key("looks", role="auditor", expires="1h")
    headers = {"Authorization": f"Bearer {auditor['key']}"}
    answer = call(app, "PUT", "/api/v1/deployments/thing", headers=headers, params={"model": "thing@1"})
    assert answer.status_code == 403
    entry = casemate.audit_entries(action="deployment:deploy", limit=1)[0]
    assert (entry["outcome"], entry["credential"]) == ("refused", auditor["id"])


def test_who_got_their_key_from_the_pusher_approves_alone_and_every_record_says_so(
    app, casemate: Casemate, tmp_path: Path
) -> None:
    """The signed approval, the answer and the log agree; only in `dev` may it happen at all."""
    (tmp_path / "model.onnx").write_bytes(doubling_model(2.0))
    pusher = casemate.issue_key("pusher", role="owner", expires="1h")["key"]
    helper = call(
        app, "POST", "/api/v1/keys", headers={"Authorization": f"Bearer {pusher}"},
        params={"name": "helper", "role": "approver", "expires": "30m"},
    ).json()["key"]  # fmt: skip
    body = b"".join(tar_stream([("model.onnx", tmp_path / "model.onnx")]))
    pushed = call(
        app, "POST", "/api/v1/models/eyes/versions", headers={"Authorization": f"Bearer {pusher}"}, content=body
    )
    assert pushed.json()["verdict"] == "clean", pushed.text
    approve = {"headers": {"Authorization": f"Bearer {helper}"}}
    url = "/api/v1/models/eyes/versions/1/approvals"
    assert call(app, "POST", url, params={"environment": "staging"}, **approve).status_code == 403
    said = call(app, "POST", url, params={"environment": "dev"}, **approve).json()
    assert said["self_approved"] is True
    outcome = casemate.audit_entries(action="model:approve", kind="outcome", limit=1)[0]
    assert outcome["facts"]["self_approved"] is True
