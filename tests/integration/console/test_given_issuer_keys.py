"""Who brings an issuer's keys themselves could sign for all that is bound to it, and is asked as for binding it."""

from __future__ import annotations

from typing import Any

import pytest
from test_door import call
from test_people_routes import Person, stale
from token_makers import Signer

from casemate.client import Casemate
from casemate.console import Services
from casemate.doors import Rate, RefusalLimit

ISSUER = "https://idp.example"


@pytest.fixture(autouse=True)
def _unhurried(app) -> None:
    app.state.attempts = RefusalLimit(Rate(per_second=1000, burst=1000))


@pytest.fixture(scope="module")
def idp(casemate: Casemate) -> str:
    """An issuer, and a service that its tokens prove as an owner, for thirty days."""
    signer = Signer("ES256")
    casemate.issuers.add("idp", audience="casemate", issuer=ISSUER, algorithms=["ES256"], jwks=signer.jwks())
    bound = casemate.issuers.bind_token("idp", "robot", claims={"sub": "robot"}, role="owner", on="*", expires="30d")
    assert bound["id"].startswith("bnd_")
    return "idp"


def give(app: Any, key: str, name: str = "idp") -> Any:
    headers = {"Authorization": f"Bearer {key}"}
    content = Signer("ES256", kid="mine").jwks()
    return call(app, "POST", f"/api/v1/issuers/{name}/keys", headers=headers, content=content)


def kept(casemate: Casemate) -> list[str]:
    return next(one["keys"] for one in casemate.issuers.all() if one["name"] == "idp")


def test_keys_are_given_by_nobody_whose_roles_end_before_what_they_would_sign_for(
    app: Any, casemate: Casemate, idp: str
) -> None:
    """An owner for an hour would otherwise be one for thirty days."""
    before = kept(casemate)
    refused = give(app, casemate.issue_key("brief", role="owner", expires="1h")["key"])
    assert (refused.status_code, refused.json()["code"]) == (403, "forbidden")
    assert "outlive" in refused.json()["detail"]
    assert kept(casemate) == before
    entry = casemate.audit_entries(action="issuer:bind", limit=1)[0]
    assert (entry["outcome"], entry["resource"]) == ("refused", "default/issuer:idp")
    assert give(app, casemate.issue_key("long", role="owner", expires="60d")["key"]).status_code == 200
    assert kept(casemate) == ["mine"]


def test_keys_are_given_with_a_fresh_second_factor(app: Any, casemate: Casemate, services: Services, idp: str) -> None:
    ada = Person(app, casemate, "ada", "owner")
    stale(services, ada)
    answer = give(app, ada.token)
    assert (answer.status_code, answer.json()["code"]) == (401, "step-up-required")
    asked = ada.ask("POST", "issuers/idp/keys")
    assert asked.json()["code"] == "no-jwks", "keys that the issuer names itself are no trust of ours in anybody"
    verified = ada.ask("POST", "session/verification", json={"code": ada.recovery.pop()})
    assert give(app, verified.json()["token"]).status_code == 200


def test_an_unknown_issuer_is_not_found(app: Any, casemate: Casemate) -> None:
    key = casemate.issue_key("finder", role="owner", expires="1h")["key"]
    assert give(app, key, "nowhere").json()["code"] == "issuer-not-found"
