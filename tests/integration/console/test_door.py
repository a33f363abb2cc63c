"""Every route declares its action, stands behind the gate, and refuses who has no key."""

from __future__ import annotations

import asyncio
import re
from collections import Counter
from collections.abc import Iterable, Iterator
from pathlib import Path
from typing import Any

import click
import httpx
import pytest
from tiny_models import doubling_model

from casemate.cli import cli
from casemate.client import Casemate
from casemate.client.files import tar_stream
from casemate.console import Services, build_console, build_door
from casemate.core import Action, ConflictError
from casemate.doors import Recorder, RefusalLimit
from casemate.settings import Settings

ENROLMENT = {
    ("POST", "/api/v1/enrolment"),
    ("POST", "/api/v1/enrolment/confirmation"),
}
PASSKEYS = {
    ("POST", f"/api/v1/{path}")
    for path in ("session/passkey/options", "session/passkey", "enrolment/passkey/options", "enrolment/passkey")
}
PROVIDERS = {
    ("GET", "/api/v1/providers/public"),
    ("GET", "/api/v1/session/provider/{name}"),
    ("GET", "/api/v1/session/provider/{name}/callback"),
    ("GET", "/api/v1/session/provider-factor"),
    ("POST", "/api/v1/session/provider-factor"),
    ("POST", "/api/v1/session/provider-ticket"),
    ("POST", "/api/v1/session/command-ticket"),
}
# All but the first need a secret instead, or give a challenge, which is worth nothing without one.
PUBLIC = {("GET", "/api/v1/health"), ("POST", "/api/v1/session"), *ENROLMENT, *PASSKEYS, *PROVIDERS}
BESIDE = [("GET", "/api/openapi.json"), ("HEAD", "/api/openapi.json")]  # needs nobody and says nothing of the home
# Commands that act on this machine and not on a home's control plane; what each does instead.
LOCAL = {
    "policy check": "reads files, and the packaged policies",
    "approver new": "makes a key on a person's own machine",
    "approver pin": "writes beside the keeper's keys, where no door leads",
    "approver unpin": "writes beside the keeper's keys, where no door leads",
    "approver list": "reads beside the keeper's keys",
    "approver relax": "writes beside the keeper's keys, where no door leads",
    "init": "makes a home",
    "up": "starts the processes, which stand behind the door themselves",
    "demo": "walks through the doors as a user",
    "doctor": "looks at this machine",
    "home adopt": "says which of two copies is the home, before any door of it opens",
    "dataset personal": "needs no home",
    "dataset personal-key": "makes a key on a person's own machine",
    "model scan": "needs no home",
    "model attest": "signs what a trainer says, with a key of their own",
    "model claim": "a file or an address needs no home; a version is asked through its route",
    "model sign": "signs files on this machine, with a key of one's own",
    "mlflow import": "reads MLflow first; what it found goes on as model push",
    "database migrate": "changes tables, as their owner",
    "database roles": "prints SQL, or runs it as the tables' owner",
}


def call(app, method: str, path: str, address: str = "127.0.0.1", **request) -> httpx.Response:
    async def go() -> httpx.Response:
        transport = httpx.ASGITransport(app=app, client=(address, 50000))
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


def all_routes(routes: Iterable[Any]) -> Iterator[tuple[str, str]]:
    """Those that the document leaves out, too; whatever is mounted answers every method."""
    for route in routes:
        if inner := getattr(route, "original_router", None):
            yield from all_routes(inner.routes)
        else:
            yield from ((method, route.path) for method in getattr(route, "methods", None) or ("any",))


def test_nothing_answers_beside_the_door_but_the_document(app) -> None:
    """The pages, which are no routes of the API, are held to their own list by test_pages."""
    served = [(method, path) for method, path in all_routes(app.routes) if path.startswith("/api")]
    assert Counter(served) == Counter([*build_door().actions, *BESIDE])


@pytest.mark.parametrize(
    ("method", "path"),
    [("GET", "/api/v1/health"), ("GET", "/api/v1/models"), ("POST", "/api/v1/session"), ("GET", "/api/nowhere")],
)
def test_nobody_on_the_way_keeps_an_answer(app, method: str, path: str) -> None:
    """A session's token, a secret that is shown once, rows: whatever it is."""
    answer = call(app, method, path, "192.0.2.77")
    assert answer.headers["cache-control"] == "no-store"
    assert answer.headers["x-content-type-options"] == "nosniff"


def test_no_path_leads_to_the_host_that_a_client_names(app) -> None:
    for path in ("/api/v1/health/", "/api/v1/deployments/", "/api/openapi.json/"):
        answer = call(app, "GET", path, headers={"Host": "evil.example"})
        assert (answer.status_code, answer.json()["code"]) == (404, "no-route")
        assert "evil.example" not in str(answer.headers) + answer.text


def test_each_route_but_health_declares_an_action() -> None:
    undeclared = {route for route, action in build_door().actions.items() if action is None}
    assert undeclared == PUBLIC
    assert all(action in set(Action) for action in build_door().actions.values() if action)


def answers_of_strangers(method: str, path: str) -> tuple[int, ...]:
    """What a public route answers to who brings nothing."""
    if path.startswith("/api/v1/session/provider"):  # no provider of that name, no ticket
        return (200,) if (method, path) == ("GET", "/api/v1/session/provider-factor") else (400, 401, 404)
    return (200,) if method == "GET" or path.endswith("session/passkey/options") else (400,)


def test_each_route_but_health_refuses_who_has_no_key(app) -> None:
    for number, (method, path) in enumerate(build_door().actions):
        address = f"192.0.2.{number}"  # each of its own: whoever is refused too often is told no more than that
        answer = call(app, method, filled(path), address)
        if (method, path) in PUBLIC:
            assert answer.status_code in answers_of_strangers(method, path), (method, path, answer.text)
            continue
        # A required argument may be missed first; nothing else may come before the key.
        assert answer.status_code in (400, 401), (method, path, answer.text)
        for wrong in ("Bearer cm_" + "x" * 49, "Basic eDp4", "Bearer", "Bearer  "):
            answer = call(app, method, filled(path), address, headers={"Authorization": wrong}, params=EVERYTHING)
            assert answer.status_code == 401, (method, path, answer.text)
            assert answer.headers["content-type"] == "application/problem+json"
            assert answer.headers["www-authenticate"].startswith("Bearer")


def test_refused_credentials_are_on_record_and_limited_by_address(services: Services, casemate: Casemate) -> None:
    issued = casemate.issue_key("ended", role="auditor", expires="1h")
    casemate.revoke_key(issued["id"])
    ended, guessed = (f"Bearer {key}" for key in (issued["key"], "cm_" + "z" * 49))

    def tried(address: str, key: str) -> httpx.Response:
        return call(app, "GET", "/api/v1/keys", address, headers={"Authorization": key})

    with Recorder(services.sink, clock=services.clock) as recorder:  # leaving it hands in the rest of the window
        app = build_console(services, recorder)
        app.state.refusals = RefusalLimit(monotonic=lambda: 0.0)
        assert tried("198.51.100.7", ended).status_code == 401
        told = [tried("198.51.100.7", guessed) for _ in range(60)]
        assert [answer.status_code for answer in told] == [401] * 19 + [429] * 41
        assert told[-1].headers["retry-after"] == "1"
        assert tried("198.51.100.8", guessed).status_code == 401
    entries = [
        one
        for one in casemate.audit_entries(kind="decision", limit=200)
        if one["outcome"] == "refused" and not one["actor"]
    ]
    found = [one for one in entries if one["facts"]["address"] == "198.51.100.7"]
    assert {one.get("credential") for one in found if one["reason"] == "revoked-credential"} == {issued["id"]}
    assert sum(one["facts"]["count"] for one in found) == 61
    assert {one["reason"] for one in found} >= {"address-limited"}
    assert {one["action"] for one in found} == {"key:read"}


EVERYTHING = {
    "audience": "casemate",
    "filename": "a.csv",
    "dataset": "thing",
    "name": "thing",
    "title": "thing",
    "role": "caller",
    "model": "thing@1",
    "environment": "dev",
    "on": "deployment:thing",
    "life": "1h",
    "reason": "test",
    "principal": "local",
    "provider": "file",
    "action": "key:read",
    "resource": "key",
    "group": "staff",
    "user": "ada",
    "subject": "1",
    "label": "label",
    "column": "name",
}
# What any key may do: ask for a grant, and look at its own and at itself.
OWN_LISTS = {"/api/v1/grants", "/api/v1/reviews", "/api/v1/review-schedule"}
ANYBODY = {Action.DEPLOYMENT_READ, Action.GRANT_REQUEST}


def test_a_caller_key_opens_no_control_route(app, casemate: Casemate) -> None:
    key = casemate.issue_key("caller", role="caller", deployment="thing", expires="1h")["key"]
    for (method, path), action in build_door().actions.items():
        if action is None or action in ANYBODY or path in OWN_LISTS or path.startswith("/api/v1/session"):
            continue
        answer = call(app, method, filled(path), headers={"Authorization": f"Bearer {key}"}, params=EVERYTHING)
        assert answer.status_code == 403, (method, path, answer.status_code, answer.text)


def test_what_is_no_route_is_a_problem_document(app) -> None:
    for method, path, status in [
        ("GET", "/none", 404),
        ("GET", "/api/v1/nothing", 404),
        ("PATCH", "/api/v1/models", 405),
    ]:
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
    "issuer add": [Action.ISSUER_ADD],
    "issuer list": [Action.ISSUER_READ],
    "issuer show": [Action.ISSUER_READ],
    "issuer bindings": [Action.ISSUER_READ],
    "issuer refresh": [Action.ISSUER_REFRESH],
    "issuer bind": [Action.ISSUER_BIND],
    "issuer certificate": [Action.ISSUER_BIND],
    "issuer key": [Action.ISSUER_BIND],
    "issuer revoke": [Action.ISSUER_REVOKE],
    "issuer unbind": [Action.ISSUER_REVOKE],
    "signer add": [Action.SIGNER_ADD],
    "signer list": [Action.SIGNER_READ],
    "signer remove": [Action.SIGNER_REMOVE],
    "status": [Action.STATUS_READ],
    "dataset push": [Action.DATASET_PUSH],
    "dataset list": [Action.DATASET_READ],
    "dataset show": [Action.DATASET_READ],
    "dataset pull": [Action.DATASET_EXPORT],
    "dataset preview": [Action.DATASET_READ, Action.DATASET_EXPORT],
    "dataset datasheet": [Action.DATASET_READ],
    "dataset anonymize": [Action.DATASET_ANONYMIZE, Action.DATASET_PUSH],  # a file needs no home
    "dataset reidentify": [Action.DATASET_REIDENTIFY, Action.DATASET_EXPORT],  # of a file, the key file is the wall
    "dataset diff": [Action.DATASET_READ, Action.DATASET_EXPORT],
    "dataset tag": [Action.DATASET_TAG],
    "dataset untag": [Action.DATASET_TAG],
    "dataset restore": [Action.DATASET_RESTORE],
    "dataset retain": [Action.DATASET_DELETE],
    "dataset retention": [Action.DATASET_READ, Action.DATASET_CONFIGURE],
    "dataset verify": [Action.DATASET_VERIFY],
    "dataset revoke": [Action.DATASET_REVOKE],
    "dataset delete": [Action.DATASET_DELETE],
    "dataset screen": [Action.DATASET_SCREEN],  # a file needs no home
    "dataset screening": [Action.DATASET_SCREEN],
    "dataset configure": [Action.DATASET_CONFIGURE],
    "dataset stop-screening": [Action.DATASET_CONFIGURE],
    "dataset quarantine": [Action.DATASET_QUARANTINE],
    "dataset suspects": [Action.DATASET_EXPORT],
    "dataset verdict": [Action.DATASET_JUDGE],
    "train": [Action.MODEL_TRAIN, Action.MODEL_READ],
    "model training": [Action.MODEL_READ, Action.MODEL_EXPORT],
    "model push": [Action.MODEL_PUSH],
    "model convert": [Action.MODEL_CONVERT],  # without --push it needs no home
    "model list": [Action.MODEL_READ],
    "model show": [Action.MODEL_READ],
    "model lineage": [Action.MODEL_READ],
    "model pull": [Action.MODEL_EXPORT],
    "model verify": [Action.MODEL_VERIFY],
    "model approve": [Action.MODEL_APPROVE],
    "model revoke": [Action.MODEL_REVOKE],
    "model card": [Action.MODEL_READ],
    "model describe": [Action.MODEL_DESCRIBE],
    "model bom": [Action.MODEL_READ],
    "model reproduce": [Action.MODEL_VERIFY],
    "model evaluate": [Action.MODEL_EVALUATE],
    "model evaluation": [Action.MODEL_VERIFY],
    "model gates": [Action.MODEL_READ, Action.MODEL_CONFIGURE],
    "model except": [Action.MODEL_CONFIGURE],
    "model fingerprint": [Action.MODEL_EXPORT],
    "model delete": [Action.MODEL_DELETE],
    "deploy": [Action.DEPLOYMENT_DEPLOY],
    "rollback": [Action.DEPLOYMENT_ROLLBACK],
    "deployment list": [Action.DEPLOYMENT_READ],
    "deployment show": [Action.DEPLOYMENT_READ],
    "deployment pause": [Action.DEPLOYMENT_PAUSE],
    "deployment resume": [Action.DEPLOYMENT_PAUSE],
    "key issue": [Action.KEY_ISSUE],
    "key list": [Action.KEY_READ],
    "key show": [Action.KEY_READ],
    "key rotate": [Action.KEY_ROTATE],
    "key revoke": [Action.KEY_REVOKE],
    "keys show": [Action.KEYS_READ],
    "keys rotate": [Action.KEYS_ROTATE],
    "keys move-signing": [Action.KEYS_MOVE],
    "login": [Action.SESSION_VERIFY],  # signing in itself needs nobody
    "logout": [Action.SESSION_REVOKE],
    "whoami": [Action.SESSION_READ],
    "session list": [Action.SESSION_READ],
    "session revoke": [Action.SESSION_REVOKE],
    "user enroll": [],  # needs an invitation's code and nobody
    "user list": [Action.USER_READ],
    "user show": [Action.USER_READ],
    "user invite": [Action.USER_INVITE],
    "user reset": [Action.USER_RESET],
    "user revoke": [Action.USER_REVOKE],
    "user sign-out": [Action.USER_REVOKE],
    "user password": [Action.USER_UPDATE],
    "user second-factor": [Action.USER_UPDATE],
    "user recovery-codes": [Action.USER_UPDATE],
    "user passkey list": [Action.SESSION_READ],
    "user passkey rename": [Action.USER_UPDATE],
    "user passkey remove": [Action.USER_UPDATE],
    "grant list": [Action.GRANT_READ],
    "grant show": [Action.GRANT_READ],
    "grant request": [Action.GRANT_REQUEST],
    "grant approve": [Action.GRANT_APPROVE],
    "grant deny": [Action.GRANT_APPROVE],
    "grant revoke": [Action.GRANT_REVOKE],
    "grant break-glass": [Action.GRANT_BREAK_GLASS],
    "grant account": [Action.GRANT_ACCOUNT],
    "grant accept": [Action.GRANT_ACCEPT],
    "access explain": [Action.ACCESS_READ],
    "access report": [Action.ACCESS_READ],
    "provider list": [Action.PROVIDER_READ],
    "provider show": [Action.PROVIDER_READ],
    "provider add": [Action.PROVIDER_ADD],
    "provider map": [Action.PROVIDER_MAP],
    "provider bind": [Action.PROVIDER_BIND],
    "provider revoke": [Action.PROVIDER_REVOKE],
    "review open": [Action.REVIEW_OPEN],
    "review list": [Action.REVIEW_READ],
    "review show": [Action.REVIEW_READ],
    "review keep": [Action.REVIEW_ANSWER],
    "review revoke": [Action.REVIEW_ANSWER],
    "review accept-proposals": [Action.REVIEW_READ, Action.REVIEW_ANSWER],
    "review close": [Action.REVIEW_CLOSE],
    "review export": [Action.REVIEW_READ, Action.AUDIT_READ],
    "review schedule": [Action.REVIEW_READ, Action.REVIEW_SCHEDULE],
    "policy show": [Action.POLICY_READ],
    "policy list": [Action.POLICY_READ],
    "policy diff": [Action.POLICY_READ],
    "policy propose": [Action.POLICY_PROPOSE],
    "policy approve": [Action.POLICY_APPROVE],
    "policy deny": [Action.POLICY_APPROVE],
    "policy withdraw": [Action.POLICY_PROPOSE],
    "policy revert": [Action.POLICY_REVERT, Action.POLICY_PROPOSE],
    "prediction list": [Action.PREDICTION_READ],
    "prediction show": [Action.PREDICTION_READ],
    "audit log": [Action.AUDIT_READ],
    "audit verify": [Action.AUDIT_VERIFY],
    "audit prove": [Action.AUDIT_READ],
    "audit checkpoint": [Action.AUDIT_READ],
    "audit export": [Action.AUDIT_READ],
}


def test_the_same_request_twice_is_done_once(casemate: Casemate) -> None:
    headers = {"Idempotency-Key": "again"}
    query = {"name": "once", "role": "caller", "deployment": "thing", "expires": "1h"}
    first = casemate._connection.send("POST", "/keys", query=query, headers=headers).json()
    second = casemate._connection.send("POST", "/keys", query=query, headers=headers).json()
    assert second == {name: value for name, value in first.items() if name != "key"}
    issued = casemate.keys()
    assert [key["name"] for key in issued].count("once") == 1


def test_a_request_that_failed_is_not_done_under_the_same_key(casemate: Casemate) -> None:
    headers = {"Idempotency-Key": "fails"}
    assert casemate._connection.send("POST", "/deployments/none/rollback", headers=headers).status_code == 404
    with pytest.raises(ConflictError, match="new Idempotency-Key"):
        casemate._connection.answer(casemate._connection.send("POST", "/deployments/none/rollback", headers=headers))


def test_a_key_that_came_with_another_request_is_refused_and_answers_nothing(app, casemate: Casemate) -> None:
    headers = {"Idempotency-Key": "one for all"}
    issued = casemate.issue_key("leaked", role="auditor", expires="1h")
    query = {"name": "first", "role": "caller", "deployment": "thing", "expires": "1h"}
    assert casemate._connection.send("POST", "/keys", query=query, headers=headers).status_code == 200
    for method, path, other in [
        ("DELETE", f"/keys/{issued['id']}", {}),
        ("POST", "/keys", {**query, "name": "second"}),
    ]:
        answer = casemate._connection.send(method, path, query=other, headers=headers)
        assert (answer.status_code, answer.json()["code"]) == (409, "key-reused")
    entry = casemate.audit_entries(action="key:revoke", limit=1)[0]
    assert (entry["kind"], entry["outcome"]) == ("decision", "allowed")
    key = {"Authorization": f"Bearer {issued['key']}"}
    assert call(app, "GET", "/api/v1/keys", headers=key).status_code == 200  # nobody was told that it had ended
    assert (
        casemate._connection.send("DELETE", f"/keys/{issued['id']}", headers={"Idempotency-Key": "its own"}).status_code
        == 200
    )
    assert call(app, "GET", "/api/v1/keys", headers=key).status_code == 401


def test_a_key_is_bound_to_the_body(casemate: Casemate, tmp_path: Path) -> None:
    headers, query = {"Idempotency-Key": "one body"}, {"filename": "rows.csv"}

    def push(rows: str) -> httpx.Response:
        return casemate._connection.send(
            "POST", "/datasets/bound/versions", query=query, headers=headers, content=rows.encode()
        )

    first = push("a,b\n1,2\n")
    assert first.json()["version"] == 1
    assert push("a,b\n1,2\n").json()["version"] == 1
    assert push("a,b\n1,3\n").json()["code"] == "key-reused"
    assert len(casemate.audit_entries(action="dataset:push", kind="intent", resource="default/dataset:bound")) == 1


def test_a_repeat_asks_the_gate_again(app, casemate: Casemate) -> None:
    """The answer of a request that changed what it was about comes again, to who may still ask for it."""
    owner = casemate.issue_key("may", role="owner", expires="1h")
    issued = casemate.issue_key("rotates", role="auditor", expires="1h")
    headers = {"Authorization": f"Bearer {owner['key']}", "Idempotency-Key": "once more"}
    path = f"/api/v1/keys/{issued['id']}/rotation"
    first = call(app, "POST", path, headers=headers, params={"expires": "30m"})
    assert first.status_code == 200, first.text
    again = call(app, "POST", path, headers=headers, params={"expires": "30m"})
    assert again.json() == {name: value for name, value in first.json().items() if name != "key"}
    asked = casemate.audit_entries(action="key:rotate", kind="decision", limit=1)[0]
    assert (asked["outcome"], asked["credential"]) == ("allowed", owner["id"])


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
    # Refusals that were counted for others may come in meanwhile.
    found = [
        one
        for one in casemate.audit_entries(action="deployment:deploy", limit=20)
        if one["credential"] == auditor["id"]
    ]
    assert [entry["outcome"] for entry in found] == ["refused"]


def test_what_a_verification_found_is_on_record(casemate: Casemate) -> None:
    found = casemate._connection.send("POST", "/audit/verify", content=b"no checkpoint").json()
    assert found["ok"] is False
    recorded = casemate.audit_entries(action="audit:verify", kind="outcome", limit=1)[0]["facts"]["answer"]
    assert (recorded["ok"], recorded["size"]) == (False, found["size"])
    assert recorded["problems"][0]["problem"] == found["problems"][0]["problem"]


def test_a_refusal_does_not_tell_which_versions_exist(app, casemate: Casemate, tmp_path: Path) -> None:
    """Not even to who got their key from the one who pushed, where four eyes would forbid the one that is there."""
    (tmp_path / "model.onnx").write_bytes(doubling_model(3.0))
    owner = casemate.issue_key("brings", role="owner", expires="1h")["key"]
    body = b"".join(tar_stream([("model.onnx", tmp_path / "model.onnx")]))
    by_owner = {"headers": {"Authorization": f"Bearer {owner}"}}
    assert call(app, "POST", "/api/v1/models/quiet/versions", content=body, **by_owner).json()["version"] == 1
    made = call(
        app, "POST", "/api/v1/keys", params={"name": "asks", "role": "auditor", "expires": "30m"}, **by_owner
    ).json()  # fmt: skip
    told = []
    for version in ("1", "2"):
        path = f"/api/v1/models/quiet/versions/{version}/approvals"
        headers = {"Authorization": f"Bearer {made['key']}"}
        answer = call(app, "POST", path, headers=headers, params={"environment": "staging"})
        entry = casemate.audit_entries(action="model:approve", limit=1)[0]
        assert (entry["outcome"], entry["credential"]) == ("refused", made["id"])
        told.append((answer.status_code, answer.json()))
    assert told[0] == told[1]
    assert told[0][0] == 403
    missing = call(app, "POST", "/api/v1/models/quiet/versions/2/approvals", **by_owner)
    assert missing.status_code == 404
    assert casemate.audit_entries(action="model:approve", limit=1)[0]["outcome"] == "allowed"


def test_what_is_asked_about_another_is_not_on_record_as_theirs(app, services: Services, casemate: Casemate) -> None:
    asked = casemate.issue_key("asked-about", role="approver", expires="1h")
    auditor = casemate.issue_key("asks-about", role="auditor", expires="1h")
    query = {"principal": asked["id"], "action": "model:approve", "resource": "model:nosuch@3"}
    told = call(
        app, "GET", "/api/v1/access/explain", params=query, headers={"Authorization": f"Bearer {auditor['key']}"}
    )
    assert told.json()["code"] == "not-found"
    listed = casemate.keys()
    assert [key["last_used_at"] for key in listed if key["id"] == asked["id"]] == [None]
    newest = casemate.audit_entries(kind="decision", limit=20)
    assert {entry.get("credential") for entry in newest} >= {auditor["id"]}
    assert asked["id"] not in {entry.get("credential") for entry in newest}


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
