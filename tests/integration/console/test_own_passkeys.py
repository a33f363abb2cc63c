"""The home's owner as a person with passkeys, with the command line and the client; and what any other caller is told."""

from __future__ import annotations

import json
from typing import Any

import pytest
from click.testing import CliRunner
from soft_passkey import SoftPasskey
from test_door import call

from casemate.cli import cli
from casemate.client import Casemate
from casemate.core import InputError
from casemate.doors import Rate, RefusalLimit
from casemate.settings import Settings

SITE = "https://localhost:8444"


@pytest.fixture(scope="module")
def recovery(app, casemate: Casemate) -> list[str]:
    """Recovery codes of the home's owner, who has enrolled with a passkey."""
    app.state.attempts = RefusalLimit(Rate(per_second=1000, burst=1000))
    invitation = casemate.people.invite("keeper", role="owner", local=True)["invitation"]
    asked = call(app, "POST", "/api/v1/enrolment/passkey/options", json={"invitation": invitation})
    passkey = SoftPasskey().create(asked.json(), SITE)
    body = {"invitation": invitation, "passkey": passkey, "name": "desk"}
    done = call(app, "POST", "/api/v1/enrolment/passkey", json=body)
    assert done.status_code == 200, done.text
    assert done.json()["token"].startswith("cms_")
    return list(done.json()["recovery_codes"])


def run(settings: Settings, monkeypatch: pytest.MonkeyPatch, *words: str) -> Any:
    monkeypatch.setenv("CASEMATE_KEYS", str(settings.keys))
    return CliRunner().invoke(cli, ["--home", str(settings.home), "user", "passkey", *words])


def test_the_owner_lists_names_and_keeps_the_last_one(
    settings: Settings, casemate: Casemate, recovery: list[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    (held,) = json.loads(run(settings, monkeypatch, "list", "--json").output)
    assert (held["name"], held["works_here"]) == ("desk", True)
    with pytest.raises(Exception, match="second factor"):
        casemate.people.rename_passkey(held["id"], "shelf")
    casemate.people.verify(recovery.pop())
    done = run(settings, monkeypatch, "rename", held["id"], "shelf")
    assert done.exit_code == 0, done.output
    assert casemate.people.passkeys()[0]["name"] == "shelf"
    assert "shelf" in run(settings, monkeypatch, "list").output
    with pytest.raises(InputError, match="all that you can sign in with"):
        casemate.people.remove_passkey(held["id"])
    with pytest.raises(InputError, match="not an id"):
        casemate.people.remove_passkey("../x")


def test_a_service_has_no_passkeys(casemate: Casemate, socket_path: Any, app) -> None:
    key = casemate.issue_key("no-person", role="caller", expires="1h")["key"]
    answer = call(app, "GET", "/api/v1/session/passkeys", headers={"Authorization": f"Bearer {key}"})
    assert (answer.status_code, answer.json()["code"]) == (400, "no-second-factor")
