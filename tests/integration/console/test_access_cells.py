"""Every cell of docs/access.md, tried over the real console and the real data plane; explain says the same of each."""

from __future__ import annotations

import csv
import importlib.util
import io
import json
import re
import sys
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from types import ModuleType, SimpleNamespace
from typing import Any

import pytest
from click.testing import CliRunner, Result
from fastapi.dependencies.utils import get_flat_params
from test_door import call
from tiny_models import doubling_model
from token_makers import Signer, github_claims

from casemate.app.tokens import GatewayTokens
from casemate.cli import cli
from casemate.client import Casemate
from casemate.client.files import tar_stream
from casemate.console import Services, build_door
from casemate.core import Action, CasemateError, InputError, Principal, Resource, Role, Signature, SystemClock, new_id
from casemate.gateway import ROUTES, Access, Recorder, RecorderConfig, ServedModel, build_app
from casemate.iam import Decision
from casemate.keys import SpentTokens, TokenKeys, make_private_folder
from casemate.settings import Settings

SCRIPT = Path(__file__).parents[3] / "docs" / "access.py"
CONTROL = [(method, path) for method, path in build_door().actions]
QUERY = {  # what the routes must be given; the rest has a default
    "filename": "a.csv",
    "dataset": "thing",
    "title": "example",
    "name": "example",  # as explain takes where it is not told
    "role": "caller",
    "expires": "30m",
    "model": "thing@1",
    "principal": "local",
    "provider": "file",
    "action": "key:read",
    "resource": "key",
    "group": "staff",
    "user": "",
    "subject": "1",
    "on": "*",
    "life": "10m",
    "audience": "casemate",
    "issuer": "https://idp.example",
    "algorithms": "ES256",
    "reason": "a cell is tried",
    "label": "label",
    "column": "name",
}
# Of each route: what it takes in its query.
TAKEN = [
    (how, re.compile(re.sub(r"\{\w+\}", "[^/]+", route.path)), {one.alias for one in get_flat_params(route.dependant)})
    for route in build_door().router.routes
    for how in route.methods
]
# Whoever asks these asks about their own; a service's key has no person of its own to look at.
ABOUT_OWN = {
    "/api/v1/reviews",
    "/api/v1/review-schedule",
    "/api/v1/grants",
    "/api/v1/sessions",
    "/api/v1/sessions/{session_id}",
}
ABOUT_OWN |= {path for _, path in CONTROL if path.startswith("/api/v1/session/") or path == "/api/v1/session"}
NEVER_OWN = {"/api/v1/users", "/api/v1/users/{user_id}", "/api/v1/reviews/{review_id}"}
NEVER_OWN |= {"/api/v1/reviews/{review_id}/answers"}
IN_BODIES = {"four-eyes-reviews"}  # looks at what is answered for: tried in test_reviews_door.py
NEVER_OWN |= {"/api/v1/policies/packaged"}  # for who sits at the home's own machine: no key does


def _loaded() -> ModuleType:
    spec = importlib.util.spec_from_file_location("access_page", SCRIPT)
    assert spec is not None
    assert spec.loader is not None
    module = importlib.util.module_from_spec(spec)
    sys.modules[spec.name] = module
    spec.loader.exec_module(module)
    return module


PAGE = _loaded()


def test_the_page_is_what_the_code_says() -> None:
    assert PAGE.PAGE.read_text() == PAGE.page(), "run: python docs/access.py"


def test_each_route_and_each_command_is_on_the_page() -> None:
    text = PAGE.PAGE.read_text()
    for method, path in CONTROL:
        assert f"| `{method} {path.removeprefix('/api/v1')}` |" in text
    for route in ROUTES:
        assert f"| `{route.method} {route.path}` |" in text
    for name, _ in PAGE.commands():
        assert f"`{name}`" in text


# What is tried where a cell says `if`: the same route with the condition met, and with it not met. ----------------------


class Stage:
    """Keys of every role, and what the conditions are about. `key(role)`: a fresh one, issued by the home's owner."""

    def __init__(self, app: Any, casemate: Casemate, folder: Path) -> None:
        self.app, self.casemate = app, casemate
        self.keys = {role: casemate.issue_key(f"cell-{role}", role=role, expires="1h") for role in Role}
        (folder / "model.onnx").write_bytes(doubling_model(2.0))
        casemate.push_model("others", folder / "model.onnx")
        # The pusher's own version, and an approver whose key came from the pusher.
        pusher = casemate.issue_key("cell-pusher", role="owner", expires="1h")
        self.pushers = {Role.OWNER: pusher}
        made = self.send("POST", "/api/v1/keys", pusher, {"name": "cell-helper", "role": "approver", "expires": "30m"})
        self.pushers[Role.APPROVER] = made.json()
        body = b"".join(tar_stream([("model.onnx", folder / "model.onnx")]))
        pushed = self.send("POST", "/api/v1/models/own/versions", pusher, {}, content=body)
        assert pushed.json()["verdict"] == "clean", pushed.text

        self.dataset_pushers = {}
        for role in (Role.OWNER, Role.DATA_SCIENTIST, Role.APPROVER):
            self.dataset_pushers[role] = (
                self.pushers.get(role)
                or self.send(
                    "POST", "/api/v1/keys", pusher, {"name": f"cell-{role}-helper", "role": role, "expires": "30m"}
                ).json()
            )
        pushed = self.send(
            "POST", "/api/v1/datasets/own/versions", pusher, {"filename": "a.csv"}, content=b"age,label\n1,0\n2,1\n"
        )
        assert pushed.status_code == 200, pushed.text
        self.proposer = casemate.issue_key("cell-proposer", role="owner", expires="1h")
        (folder / "rows.csv").write_text("age,label\n41,1\n52,0\n63,1\n" * 4)
        casemate.push_dataset("plain", folder / "rows.csv", target="label")
        casemate.push_dataset("patients", folder / "rows.csv", target="label", data_class="health")
        casemate.push_dataset("calmed", folder / "rows.csv", data_class="public")
        casemate.push_dataset("calmed", folder / "rows.csv", data_class="health")
        casemate.push_dataset("purposed", folder / "rows.csv", target="label", purposes=["research"])
        casemate.push_model("plain", folder / "model.onnx")
        casemate.push_model("patients", folder / "model.onnx", dataset="patients")
        self.robots(casemate)

    def robots(self, casemate: Casemate) -> None:
        """A CI job for each role."""
        self.signer, self.jobs = Signer("RS256", kid="gh"), 0
        casemate.issuers.add("github", kind="github", audience="casemate-ci", jwks=self.signer.jwks())
        self.bound = {
            role: casemate.issuers.bind_token(
                "github",
                f"cell-{role}-job",
                claims={"repository": "acme/risk", "ref": "refs/heads/main", "job_workflow_ref": f"deploy-{role}"},
                role=role,
                on="*",
                expires="1h",
            )["id"]
            for role in Role
        }

    def robot(self, role: Role) -> dict:
        """A job's id and a token of its own, which counts once."""
        self.jobs += 1
        said = github_claims(SystemClock().now(), jti=f"job-{self.jobs}", job_workflow_ref=f"deploy-{role}")
        return {"id": self.bound[role], "key": self.signer.sign({**said, "aud": "casemate-ci"})}

    def send(self, method: str, path: str, key: dict | None, query: dict[str, str], **more: Any) -> Any:
        headers = {"Authorization": f"Bearer {key['key']}"} if key else {}
        taken = next((names for how, where, names in TAKEN if how == method and where.fullmatch(path)), set(query))
        query = {name: said for name, said in query.items() if name in taken}  # what the route takes, and no more
        return call(self.app, method, path, headers=headers, params=query, **more)

    def four_eyes(self, role: Role, *, met: bool) -> tuple[dict, dict[str, str], dict[str, str]]:
        key = self.keys[role] if met else self.pushers[role]
        return key, {"name": "others" if met else "own"}, {"environment": "production"}

    def four_eyes_datasets(self, role: Role, *, met: bool) -> tuple[dict, dict[str, str], dict[str, str]]:
        key = self.keys[role] if met else self.dataset_pushers[role]
        return key, {"name": "plain" if met else "own"}, {}

    def operator_caller_keys(self, role: Role, *, met: bool) -> tuple[dict, dict[str, str], dict[str, str]]:
        asked = "caller" if met else "owner"
        about = self.casemate.issue_key("cell-spare", role=asked, expires="1h")
        return self.keys[role], {"key_id": about["id"], "grant_id": self.requested(about, asked)}, {"role": asked}

    def requested(self, key: dict, role: str = "caller") -> str:
        """The id of a grant that `key` asks for."""
        made = self.send("POST", "/api/v1/grants", key, {**QUERY, "role": role})
        assert made.status_code == 200, made.text
        return made.json()["id"]

    def own_grants(self, role: Role, *, met: bool) -> tuple[dict, dict[str, str], dict[str, str]]:
        asking = self.keys[role] if met else self.casemate.issue_key("cell-asker", role=role, expires="1h")
        return self.keys[role], {"grant_id": self.requested(asking)}, {}

    def four_eyes_grants(self, role: Role, *, met: bool) -> tuple[dict, dict[str, str], dict[str, str]]:
        return self.own_grants(role, met=not met)

    def person_behind(self, role: Role, *, met: bool) -> tuple[dict, dict[str, str], dict[str, str]]:
        if not met:
            return self.robot(role), {}, {}
        key, parts, query = self.operator_caller_keys(role, met=True)  # and so are the other conditions
        return key, parts, {**query, "environment": "production"}

    def own_account(self, role: Role, *, met: bool) -> tuple[dict, dict[str, str], dict[str, str]]:
        del met  # the route says whose it is
        return self.keys[role], {}, {}

    def profile_open(self, role: Role, *, met: bool) -> tuple[dict, dict[str, str], dict[str, str]]:
        return self.keys[role], {}, {"environment": "production", "profile": "standard" if met else "open"}

    def policy_of_others(self, role: Role, *, met: bool) -> tuple[dict, dict[str, str], dict[str, str]]:
        """A proposal, by somebody else or by the very one who answers it."""
        by = self.proposer if met else self.keys[role]
        text = f'@id("cell-{new_id("x")}") forbid (principal, action == Action::"model:delete", resource) when {{ context.ci }};'
        made = self.send("POST", "/api/v1/policies/proposals", by, {"reason": "a cell is tried"}, content=text.encode())
        assert made.status_code == 200, made.text
        return self.keys[role], {"proposal": made.json()["id"]}, {}

    def about_people(self, role: Role, *, met: bool) -> tuple[dict, dict[str, str], dict[str, str]]:
        """Rows of a dataset, or a model made from it: nobody's health, or somebody's."""
        name = "plain" if met else "patients"
        return self.keys[role], {"name": name}, {"dataset": name}

    def lowered(self, role: Role, *, met: bool) -> tuple[dict, dict[str, str], dict[str, str]]:
        """A version of a lower class than the newest, pushed or restored; one of the same."""
        if met:
            return self.keys[role], {"name": "patients"}, {"data_class": "health"}
        return self.keys[role], {"name": "calmed"}, {"data_class": "public"}

    def purpose(self, role: Role, *, met: bool) -> tuple[dict, dict[str, str], dict[str, str]]:
        return self.keys[role], {}, {"dataset": "purposed", "purpose": "research" if met else "marketing"}


CONDITIONS: dict[str, Callable[..., tuple[dict, dict[str, str], dict[str, str]]]] = {
    "ci-deploys-approved": Stage.person_behind,
    "ci-never": Stage.person_behind,
    "four-eyes": Stage.four_eyes,
    "four-eyes-datasets": Stage.four_eyes_datasets,
    "four-eyes-grants": Stage.four_eyes_grants,
    "four-eyes-policies": Stage.policy_of_others,
    "packaged-policies-local": Stage.own_account,
    "rows-about-people": Stage.about_people,
    "data-class-lowered": Stage.lowered,
    "training-purpose": Stage.purpose,
    "operator-caller-keys": Stage.operator_caller_keys,
    "own-account": Stage.own_account,
    "own-reviews": Stage.own_account,
    "own-grants": Stage.own_grants,
    "own-break-glass": Stage.own_grants,
    "profile-open-in-dev-only": Stage.profile_open,
}


@pytest.fixture(scope="module")
def stage(app, casemate: Casemate, tmp_path_factory: pytest.TempPathFactory) -> Stage:
    return Stage(app, casemate, tmp_path_factory.mktemp("cells"))


def version_of(path: str, parts: dict[str, str]) -> str:
    """The first; of what is made anonymous the newest, whose class is not to fall."""
    return "2" if path.endswith("/anonymisation") and parts.get("name") == "calmed" else "1"


def named(path: str, parts: dict[str, str]) -> str:
    known = {"version": version_of(path, parts), **parts}
    if path.endswith("/approvals"):
        known = {"name": "others", **known}
    if path.endswith("/verdicts"):
        known = {"name": "plain", **known}
    return re.sub(r"\{(\w+)\}", lambda found: known.get(found[1], "thing"), path)


def is_allowed(status: int) -> bool:
    return status not in (401, 403)


def tries(
    stage: Stage, role: Role, action: Action, path: str
) -> Iterator[tuple[bool, dict, dict[str, str], dict[str, str]]]:
    """What a cell promises: whether it is allowed, by which key, on what, with which query."""
    found = PAGE.cell(role, action)
    for policy in found.policies:
        if policy in IN_BODIES:
            continue
        for met in (True,) if path in ABOUT_OWN else (False,) if path in NEVER_OWN else (True, False):
            yield met, *CONDITIONS[policy](stage, role, met=met)
    if not found.policies:
        yield found.may, stage.keys[role], {}, {}


def test_each_condition_on_the_page_is_tried_here() -> None:
    named = {policy for role in Role for action in Action for policy in PAGE.cell(role, action).policies}
    assert named == set(CONDITIONS) | IN_BODIES


@pytest.mark.parametrize(("method", "path"), CONTROL, ids=lambda value: value)
def test_every_cell_of_the_control_plane(stage: Stage, method: str, path: str) -> None:
    action = build_door().actions[method, path]
    if action is None:
        if "/session/provider" in path:  # what those answer without a provider, test_door says
            return
        needs_nothing = method == "GET" or path.endswith("/session/passkey/options")
        assert stage.send(method, path, None, {}).status_code == (200 if needs_nothing else 400)
        return
    assert stage.send(method, named(path, {}), None, QUERY).status_code == 401
    for role in Role:
        for may, key, parts, query in tries(stage, role, action, path):
            said = explained(stage, key, action, path=path, parts=parts, query=query)
            answer = stage.send(method, named(path, parts), key, {**QUERY, **query})
            assert answer.status_code == 403 or may, (role, parts, query, answer.status_code, answer.text)
            assert is_allowed(answer.status_code) == may, (role, parts, query, answer.status_code, answer.text)
            assert said["allowed"] == may, (role, said)
            if not may:
                assert answer.json()["code"] == "forbidden"
                assert said["reason"] in answer.json()["detail"], "the very refusal"


def explained(
    stage: Stage, key: dict, action: Action, *, path: str, parts: dict[str, str], query: dict[str, str]
) -> dict[str, Any]:
    """What explain says of the same request, asked by the home's owner."""
    kind = action.partition(":")[0]
    asked = re.search(r"\{(name|key_id|grant_id|binding_id|user_id|session_id|proposal|review_id)\}", path)
    name = named(path, parts).split("/")[path.split("/").index(asked[0])] if asked else ""
    version = f"@{version_of(path, parts)}" if "{version}" in path else ""
    giving = (Action.KEY_ISSUE, Action.GRANT_REQUEST, Action.USER_INVITE)
    facts = {"role": query.get("role")} if action in giving else {}
    lasting = (Action.KEY_ISSUE, Action.KEY_ROTATE, Action.ISSUER_BIND, Action.USER_INVITE, Action.PROVIDER_MAP)
    facts |= {"expires": QUERY["expires"]} if action in lasting else {}
    facts |= {
        fact: query[fact] for fact in ("environment", "profile", "dataset", "data_class", "purpose") if fact in query
    }
    return stage.casemate.explain_access(key["id"], action, f"{kind}:{name}{version}" if name else kind, **facts)


def test_a_rotation_is_explained_with_all_that_the_new_secret_opens(stage: Stage, casemate: Casemate) -> None:
    operator = stage.keys[Role.OPERATOR]
    web = casemate.issue_key("cell-lent", role="caller", expires="1h")
    rotation = f"/api/v1/keys/{web['id']}/rotation"
    assert casemate.explain_access(operator["id"], "key:rotate", f"key:{web['id']}", expires="30m")["allowed"]
    casemate.grants.approve(stage.requested(web, "auditor"), reason="for the yearly audit")
    said = casemate.explain_access(operator["id"], "key:rotate", f"key:{web['id']}", expires="30m")
    answer = stage.send("POST", rotation, operator, {"expires": "30m"})
    assert (said["allowed"], answer.status_code) == (False, 403)
    assert said["reason"] in answer.json()["detail"]
    assert said["stated"]["role"] == "auditor"


def test_a_key_that_is_asked_about_is_named_by_its_id_and_never_said_back(casemate: Casemate) -> None:
    key = casemate.issue_key("asked-about", role="caller", expires="1h")["key"]
    with pytest.raises(InputError, match="by its id") as refused:
        casemate.explain_access("local", "key:revoke", f"key:{key}")
    assert key not in refused.value.message


def test_a_grant_that_would_outlive_whoever_lends_it_is_explained(stage: Stage, casemate: Casemate) -> None:
    brief = casemate.issue_key("cell-brief", role="owner", expires="5m")
    asked = stage.requested(stage.keys[Role.CALLER])
    said = casemate.explain_access(brief["id"], "grant:approve", f"grant:{asked}")
    answer = stage.send("POST", f"/api/v1/grants/{asked}/approval", brief, QUERY)
    assert (said["allowed"], answer.status_code) == (False, 403)
    assert said["reason"] in answer.json()["detail"]
    assert any("ends too early" in lack for lack in said["missing"])


def test_what_takes_no_role_is_not_put_down_to_a_grant(stage: Stage, casemate: Casemate) -> None:
    web = casemate.issue_key("cell-own", role="caller", expires="1h")
    said = casemate.explain_access(web["id"], "grant:request", "grant", role="owner", expires="2h", deployment="x")
    assert (said["allowed"], said["policies"], said["stated"]["role"]) == (True, ["own-grants"], "owner")
    assert (said["stated"]["scope"], said["stated"]["life"]) == ("deployment:x", 7200)
    assert [(grant["gives"], grant["why"]) for grant in said["grants"]] == [(False, "this takes no role")]
    casemate.revoke_key(web["id"], reason="left")
    said = casemate.explain_access(web["id"], "grant:request", "grant")
    assert not said["allowed"]
    assert len(said["missing"]) == 1
    assert "was revoked" in said["missing"][0]
    assert said["next_step"] == "Ask an owner for a new key: any key may do this."


# The data plane ---------------------------------------------------------------------------------------------------------


class Nothing:
    """No deployment: who may predict learns that, and nobody else."""

    def current(self, name: str) -> None:
        return None

    def recorded(self, name: str) -> None:
        return None


class Kept:
    def append(self, events: list) -> None:
        pass


@contextmanager
def data_plane_over(services: Services, deployments: Any, authorize: Any, tokens: Any = None) -> Iterator[Any]:
    clock = SystemClock()
    with Recorder(Kept(), RecorderConfig(), clock=clock) as recorder:
        yield build_app(
            authenticate=services.authorizer.authenticate,
            authorize=authorize,
            rate_of=lambda _: None,
            deployments=deployments,
            recorder=recorder,
            clock=clock,
            monotonic=time.monotonic,
            tokens=tokens,
        )


@pytest.fixture(scope="module")
def data_plane(services: Services, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Any]:
    folder = tmp_path_factory.mktemp("token") / "keys"
    make_private_folder(folder)
    keys, spent = TokenKeys(folder, audience="us", now=time.time), SpentTokens(folder, now=time.time)
    keeper = SimpleNamespace(issue=keys.issue, jwks=keys.jwks, spend=spent.spend)
    tokens = GatewayTokens(
        access=services.access, keeper=keeper, issuer=lambda: "https://us", audience="us", clock=SystemClock()
    )
    with data_plane_over(services, Nothing(), services.authorizer.decide, tokens) as plane:
        yield plane


@pytest.mark.parametrize("route", ROUTES, ids=lambda route: f"{route.method} {route.path}")
def test_every_cell_of_the_data_plane(stage: Stage, data_plane, route) -> None:
    path = named(route.path, {})
    without = call(data_plane, route.method, path)
    if route.access is Access.PUBLIC:
        assert without.status_code == 200
        return
    if route.access is Access.CLIENT:
        form = {"grant_type": "client_credentials", "client_id": stage.keys[Role.CALLER]["id"]}
        assert call(data_plane, route.method, path, data=form).status_code == 401
        for role in Role:
            key = stage.keys[role]
            shown = {**form, "client_id": key["id"], "client_secret": key["key"]}
            assert call(data_plane, route.method, path, data=shown).status_code == 200
        return
    assert without.status_code == 401
    for role in Role:
        answer = call(data_plane, route.method, path, headers={"Authorization": f"Bearer {stage.keys[role]['key']}"})
        if route.access is Access.KEY:
            assert answer.status_code == 200
            continue
        found = PAGE.cell(role, route.access)
        assert not found.policies, "a condition here must be tried"
        assert answer.status_code == (404 if found.may else 403), (role, answer.text)
        said = stage.casemate.explain_access(stage.keys[role]["id"], route.access, "deployment:thing")
        assert said["allowed"] == found.may


def test_a_prediction_is_explained_on_the_resource_that_the_gateway_asks_about(
    stage: Stage, casemate: Casemate, services: Services
) -> None:
    approval = "/api/v1/models/others/versions/1/approvals"
    approved = stage.send("POST", approval, stage.keys[Role.APPROVER], {"environment": "staging"})
    assert approved.status_code == 200, approved.text
    casemate.deploy("live", "others@1", environment="staging", profile="standard")
    asked = []

    def authorize(principal: Principal, action: Action, resource: Resource, *, address: str) -> Decision:
        asked.append(resource)
        return services.authorizer.decide(principal, action, resource, address=address)

    class Live(Nothing):
        def current(self, name: str) -> ServedModel:
            found = services.deployments.find(name)
            return ServedModel(
                name=name,
                version=1,
                digest=found.model.digest,
                signature=Signature(inputs=(), outputs=(), runtime="onnx"),
                profile=found.profile,
                environment=found.environment,
                project=found.project,
                infer=None,
            )

    key = stage.keys[Role.CALLER]
    with data_plane_over(services, Live(), authorize) as plane:
        answer = call(plane, "GET", "/v2/models/live", headers={"Authorization": f"Bearer {key['key']}"})
    assert answer.status_code == 200
    said = casemate.explain_access(key["id"], "deployment:predict", "deployment:live")
    (resource,) = asked
    assert said["allowed"]
    assert (said["resource"], said["environment"], said["stated"]) == (
        str(resource), resource.environment, resource.attributes
    )  # fmt: skip


# Over HTTP --------------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("question", "code"),
    [
        (("nobody", "key:read", "key"), "no-principal"),
        (("local", "key:explode", "key"), "bad-action"),
        (("local", "key:read", "model"), "bad-resource"),
        (("local", "model:push", "model"), "bad-resource"),
        (("local", "deployment:predict", "deployment"), "bad-resource"),
        (("local", "grant:approve", "grant"), "bad-resource"),
        (("local", "grant:request", "grant"), "bad-grant"),
        (("local", "model:read", "model:Risk"), "bad-name"),
        (("local", "model:read", "model:risk@x!"), "bad-version"),
        (("local", "model:approve", "model:none@1"), "not-found"),
        (("local", "deployment:deploy", "deployment:a/b"), "bad-name"),
    ],
)
def test_a_bad_question_is_one_sentence(casemate: Casemate, question: tuple[str, str, str], code: str) -> None:
    with pytest.raises(CasemateError) as caught:
        casemate.explain_access(*question)
    assert caught.value.code == code
    assert caught.value.message.count(". ") == 0


def test_asking_is_recorded_and_changes_nothing(casemate: Casemate, services: Services) -> None:
    before, deleted = services.access.snapshot, casemate.audit_entries(action="model:delete")
    casemate.explain_access("local", "model:delete", "model:others@1")
    entry = casemate.audit_entries(action="access:read", limit=1)[0]
    assert (entry["kind"], entry["outcome"], entry["facts"]["policies"]) == ("decision", "allowed", ["owner"])
    asked = {name: value for name, value in entry["facts"].items() if name.startswith("asked_")}
    assert asked == {
        "asked_principal": "local",
        "asked_action": "model:delete",
        "asked_resource": "model:others@1",
    }
    assert casemate.audit_entries(action="model:delete") == deleted
    assert services.access.snapshot is before


def test_the_report_tells_a_key_that_was_never_used_from_one_that_was(app, casemate: Casemate) -> None:
    used, unused = (casemate.issue_key(name, role="auditor", expires="1h") for name in ("report-a", "report-b"))
    call(app, "GET", "/api/v1/keys", headers={"Authorization": f"Bearer {used['key']}"})
    found = {row["credential"]: row for row in casemate.access_report()}
    newest = casemate.audit_entries(action="key:read", limit=1)[0]
    assert found[used["id"]]["last_used"] == newest["at"]
    assert found[unused["id"]]["last_used"] is None
    casemate.revoke_key(used["id"], reason="done")
    after = {row["credential"]: row for row in casemate.access_report()}[used["id"]]
    assert (after["state"], after["last_used"]) == ("revoked", newest["at"])
    assert after["ended"].endswith("by local: done")


def test_no_secret_is_in_the_report(casemate: Casemate) -> None:
    key = casemate.issue_key("report-secret", role="auditor", expires="1h")["key"]
    text = str(casemate.access_report())
    assert key not in text
    assert "hash" not in text


# On the command line ----------------------------------------------------------------------------------------------------


def typed(settings: Settings, *words: str) -> Result:
    return CliRunner().invoke(cli, ["--home", str(settings.home), "access", *words])


def test_the_command_says_no_with_exit_1_and_the_next_step(settings: Settings, stage: Stage) -> None:
    key = stage.keys[Role.CALLER]["id"]
    done = typed(settings, "explain", key, "model:delete", "model:others@1")
    assert done.exit_code == 1
    assert re.search(
        r"^denied cell-caller \(key_\w+\): model:delete on default/model:others$", done.stdout, re.MULTILINE
    )
    assert "missing a grant of owner that covers default/model:others" in done.stdout
    assert "next Ask an owner for a key that may: casemate key issue NAME --role owner" in done.stdout
    said = typed(settings, "explain", "local", "model:delete", "model:others@1", "--json")
    assert said.exit_code == 0
    assert json.loads(said.stdout)["policies"] == ["owner"]


def test_the_report_comes_in_each_format_with_hostile_reasons_made_harmless(
    settings: Settings, casemate: Casemate
) -> None:
    reason = '=HYPERLINK("http://x")[/bold]\x1b[31m<script>alert(1)</script>'
    made = casemate.issue_key("evil-reason", role="auditor", expires="1h", reason=reason)
    table, sheet, page, value = (
        typed(settings, "report", "--format", form).stdout for form in ("table", "csv", "html", "json")
    )
    assert "evil-reason" in table
    assert "\x1b" not in table + sheet + page
    (row,) = [row for row in csv.DictReader(io.StringIO(sheet)) if row["credential"] == made["id"]]
    assert row["reason"].startswith("'=HYPERLINK")
    assert "<script" not in page
    assert made["id"] in page
    assert {row["credential"]: row for row in json.loads(value)}[made["id"]]["reason"] == reason
    assert json.loads(typed(settings, "report", "--json").stdout)
