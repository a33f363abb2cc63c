"""Whatever its own OpenAPI document allows to be asked, the control plane answers as documented, and never with a 500."""

from __future__ import annotations

import asyncio
from dataclasses import replace
from typing import Any, NoReturn

import httpx
import pytest
import schemathesis
from fastapi import FastAPI
from hypothesis import HealthCheck, Phase, given, note, settings
from hypothesis import strategies as st
from schemathesis.specs.openapi.checks import (
    content_type_conformance,
    response_headers_conformance,
    response_schema_conformance,
    status_code_conformance,
)
from tiny_models import doubling_model

from casemate.client import Casemate
from casemate.console import Services, build_console, build_door
from casemate.console.callers import LOCAL_OWNER
from casemate.core import UpstreamError
from casemate.doors import Recorder
from casemate.iam import local_owner

CHECKS = [
    status_code_conformance,
    content_type_conformance,
    response_headers_conformance,
    response_schema_conformance,
]
OPERATIONS = {
    (made.method.upper(), made.path): made
    for made in (
        result.ok()
        for result in schemathesis.openapi.from_dict(build_console(None, None).openapi()).get_all_operations()  # type: ignore[arg-type]
    )
}
KNOWN = {  # what is there, so that what is asked does not end at "not found" each time
    "name": ["diagnosis", "nothing"],
    "version": ["1", "latest", "0", "9" * 30],
    "user_id": ["ada", "usr_" + "0" * 32],
    "entry": ["1", "evt_" + "0" * 32],
    "model": ["diagnosis@1", "diagnosis"],
    "dataset": ["rows@1", ""],
    "role": ["caller", "auditor"],
    "on": ["*", "deployment:diagnosis"],
    "expires": ["1h", "0s"],
    "life": ["1h", "1e999d"],
    "provider": ["file", "vault"],
    "kind": ["oidc", "github"],
}


class NoLimit:
    """Of rates: how often is asked here is not what is tried."""

    def count(self, *_: object) -> None:
        return

    def is_counted(self, *_: object) -> bool:
        return False


def unreachable(_: str) -> NoReturn:
    raise UpstreamError("Nothing outside is asked here.", code="bad-source")


@pytest.fixture(scope="module")
def stage(services: Services, casemate: Casemate, tmp_path_factory: pytest.TempPathFactory):
    folder = tmp_path_factory.mktemp("asked")
    (folder / "model.onnx").write_bytes(doubling_model(2.0))
    casemate.push_model("diagnosis", folder / "model.onnx")
    casemate.approve("diagnosis@1")
    casemate.people.invite("ada", role="auditor")
    key = casemate.issue_key("asked", role="caller", deployment="diagnosis", expires="1h")["key"]
    with Recorder(services.sink, clock=services.clock) as recorder:
        app = build_console(replace(services, fetch_keys=unreachable), recorder)
        app.state.requests = app.state.refusals = app.state.attempts = app.state.decision_refusals = NoLimit()
        yield app, key


def ask(app: FastAPI, case: schemathesis.Case, who: str, key: str) -> httpx.Response:
    async def as_owner(scope: Any, receive: Any, send: Any) -> None:
        await app({**scope, LOCAL_OWNER: local_owner(1000)} if who == "owner" else scope, receive, send)

    async def go() -> httpx.Response:
        async with httpx.AsyncClient(transport=httpx.ASGITransport(app=as_owner)) as client:
            given = case.as_transport_kwargs(base_url="https://casemate")
            given["headers"] = {name: value for name, value in dict(given["headers"] or {}).items() if name.isascii()}
            given["headers"].pop("authorization", None)
            if who == "caller":
                given["headers"]["Authorization"] = f"Bearer {key}"
            for unused in ("files", "cookies"):  # no route takes a form, or a cookie but the session's
                given.pop(unused, None)
            if isinstance(given.get("data"), bytes):
                given["content"] = given.pop("data")
            return await client.request(**given)

    return asyncio.run(go())


def answers_as_documented(stage: Any, operation: tuple[str, str], examples: int) -> None:
    """Each example is sent without credentials, as a caller, and as the home's owner."""
    app, key = stage

    @settings(
        max_examples=examples,
        phases=[Phase.generate],
        derandomize=True,
        database=None,
        deadline=None,
        suppress_health_check=list(HealthCheck),
    )
    @given(OPERATIONS[operation].as_strategy(), st.data())
    def tried(case: schemathesis.Case, data: st.DataObject) -> None:
        for place in (case.path_parameters, case.query):
            for name in [name for name in place or {} if name in KNOWN]:
                if data.draw(st.booleans()):
                    place[name] = data.draw(st.sampled_from(KNOWN[name]))
        note(case.as_curl_command())
        for who in ("nobody", "caller", "owner"):
            answer = ask(app, case, who, key)
            assert answer.status_code != 500, (who, answer.text)
            case.validate_response(answer, checks=CHECKS)
            if who == "nobody" and operation not in PUBLIC:
                assert answer.status_code in (400, 401, 404), answer.text

    tried()


PUBLIC = {route for route, action in build_door().actions.items() if action is None}


def test_the_document_describes_every_route() -> None:
    assert set(OPERATIONS) == set(build_door().actions)


@pytest.mark.parametrize("operation", list(OPERATIONS), ids=" ".join)
def test_a_few_of_everything(stage: Any, operation: tuple[str, str]) -> None:
    answers_as_documented(stage, operation, 3)


@pytest.mark.slow
@pytest.mark.timeout(900)
@pytest.mark.parametrize("operation", list(OPERATIONS), ids=" ".join)
def test_many_of_everything(stage: Any, operation: tuple[str, str]) -> None:
    answers_as_documented(stage, operation, 60)
