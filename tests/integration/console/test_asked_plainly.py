"""What a request says besides what its route takes is refused, not passed over."""

from __future__ import annotations

from typing import Any

import httpx
import pytest
from test_door import call

from casemate.client import Casemate


@pytest.fixture(scope="module")
def key(casemate: Casemate) -> str:
    return str(casemate.issue_key("plain", role="owner", expires="1d")["key"])


def send(app: Any, key: str, method: str, path: str, **query: str) -> httpx.Response:
    return call(app, method, f"/api/v1/{path}", headers={"Authorization": f"Bearer {key}"}, params=query)


def names(casemate: Casemate) -> set[str]:
    return {str(one["name"]) for one in casemate.keys()}  # noqa: SIM118 - a client, not a mapping


@pytest.mark.parametrize("misspelt", ["on", "environment", "Deployment", "life"])
def test_a_misspelt_limit_issues_nothing(app: Any, casemate: Casemate, key: str, misspelt: str) -> None:
    """It would be a key for everything: other routes say `on`, this one says `deployment`."""
    name = f"misspelt-{misspelt.lower()}"
    answer = send(app, key, "POST", "keys", name=name, role="operator", expires="1h", **{misspelt: "shop"})
    assert (answer.status_code, answer.json()["code"]) == (400, "unknown-parameter")
    assert misspelt in answer.json()["detail"]
    assert name not in names(casemate)


def test_what_a_route_takes_is_taken_wherever_it_is_declared(app: Any, key: str) -> None:
    asked = {"name": "spelt", "role": "operator", "expires": "1h", "deployment": "shop", "reason": "a test"}
    assert send(app, key, "POST", "keys", **asked).status_code == 200
    assert send(app, key, "GET", "models").status_code == 200
    assert send(app, key, "GET", "audit/entries", limit="1", kind="intent").status_code == 200
    assert send(app, key, "GET", "models", all="yes").json()["code"] == "unknown-parameter"


def test_who_is_nobody_is_told_that_alone(app: Any) -> None:
    assert call(app, "GET", "/api/v1/models", params={"all": "yes"}).status_code == 401


def test_who_may_not_do_it_is_told_that(app: Any, casemate: Casemate) -> None:
    caller = str(casemate.issue_key("not-plain", role="caller", expires="1h")["key"])
    assert send(app, caller, "POST", "keys", name="x", role="caller", life="1h").status_code == 403
    assert send(app, caller, "GET", "models", all="yes").status_code == 403


def test_a_secret_in_the_place_of_a_name_is_not_echoed(app: Any, key: str) -> None:
    answer = send(app, key, "GET", "models", **{key: "1"})
    assert answer.json()["code"] == "unknown-parameter"
    assert key not in answer.text
