"""The table of routes: each declares its access, nothing else answers."""

from __future__ import annotations

import asyncio

import pytest
from gateway_door import KEY, head, open_door, served, world
from test_gateway_predictions import parsed

from casemate.core import Action
from casemate.gateway import ROUTES, Access


def ask(folder, *raws: bytes, given=None):
    async def scenario():
        async with open_door(folder, given) as door:
            return [parsed(await door.raw(raw)) for raw in raws]

    return asyncio.run(scenario())


def get(path: str, method: str = "GET", **options) -> bytes:
    return head(method, path, Connection="close", **options)


@pytest.mark.parametrize("route", ROUTES, ids=lambda route: f"{route.method} {route.path}")
def test_every_route_but_health_needs_a_key_and_a_grant(tmp_path, route):
    path = route.path.replace("{name}", "diagnosis").replace("{version}", "4")
    if route.name.startswith("oauth-"):  # this door gives out no tokens; tests/integration/whole has one that does
        assert [status for status, *_ in ask(tmp_path, get(path, route.method))] == [404]
        return
    without, stranger = ask(tmp_path, get(path, route.method, key=None), get(path, route.method, key=KEY + "-stranger"))
    if route.access is Access.PUBLIC:
        assert path.startswith("/v2/health/")
        assert without[0] == 200
    else:
        assert without[0] == 401
        assert stranger[0] == (403 if isinstance(route.access, Action) else 200)


def test_metadata_tells_what_to_send_and_not_the_training_range(tmp_path):
    ((status, _, document),) = ask(tmp_path, get("/v2/models/diagnosis"))
    assert status == 200
    assert (document["name"], document["versions"], document["platform"]) == ("diagnosis", ["4"], "onnx")
    assert document["inputs"] == [
        {
            "name": "x",
            "datatype": "FP32",
            "shape": [-1, 3],
            "parameters": {"features": ["radius", "texture", "area"]},
        }
    ]


def test_readiness(tmp_path):
    given = world()
    given.models["paused"] = served("paused", paused=True)
    live, ready, model, paused, missing, server = ask(
        tmp_path,
        get("/v2/health/live", key=None),
        get("/v2/health/ready", key=None),
        get("/v2/models/diagnosis/ready"),
        get("/v2/models/paused/ready"),
        get("/v2/models/nothing/ready"),
        get("/v2"),
        given=given,
    )
    assert [reply[0] for reply in (live, ready, model, paused, missing, server)] == [200, 200, 200, 503, 404, 200]
    assert paused[2] == {"name": "paused", "ready": False}
    assert server[2]["name"] == "casemate"


@pytest.mark.parametrize(
    "path",
    [
        "/",
        "/v2/",
        "/v1/models",
        "/v2/models",
        "/v2/models/UPPER",
        "/v2/models/diagnosis/",
        "/v2/models//infer",
        "/v2/models/diagnosis/versions/0/infer",
        "/v2/models/diagnosis/versions/4/../../x/infer",
        "/v2/models/diagnosis%2finfer",
        "/v2/models/%64iagnosis/infer",
        "/v2/models/" + "a" * 64 + "/infer",
        "/v2/repository/index",
        "/metrics",
        "/docs",
        "//v2",
    ],
)
def test_anything_else_is_404(tmp_path, path):
    ((status, _, document),) = ask(tmp_path, get(path))
    assert (status, document["code"]) == (404, "no-such-route")


@pytest.mark.parametrize(
    ("method", "path", "allow"),
    [
        ("DELETE", "/v2/models/diagnosis", "GET, HEAD"),
        ("GET", "/v2/models/diagnosis/infer", "POST"),
        ("OPTIONS", "/v2/models/diagnosis/infer", "POST"),
        ("POST", "/v2/health/live", "GET, HEAD"),
        ("TRACE", "/v2", "GET, HEAD"),
    ],
)
def test_wrong_method_is_405_with_allow(tmp_path, method, path, allow):
    ((status, headers, document),) = ask(tmp_path, get(path, method))
    assert (status, headers["allow"], document["code"]) == (405, allow, "method-not-allowed")


def test_head_is_get_without_the_body(tmp_path):
    ((status, headers, document),) = ask(tmp_path, get("/v2/health/live", "HEAD", key=None))
    assert (status, document) == (200, {})
    assert headers["content-length"] == "13"


def test_absolute_targets_and_queries_reach_the_same_route(tmp_path):
    absolute, query = ask(
        tmp_path, get("https://localhost/v2/health/live", key=None), get("/v2/health/live?x=1", key=None)
    )
    assert (absolute[0], query[0]) == (200, 200)


def test_answers_are_not_to_be_stored_or_sniffed(tmp_path):
    ((_, headers, _),) = ask(tmp_path, get("/v2/models/diagnosis"))
    assert headers["cache-control"] == "no-store"
    assert headers["x-content-type-options"] == "nosniff"
    assert "server" not in headers
