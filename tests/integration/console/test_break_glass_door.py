"""Break-glass through the door: a person alone, at night, with a fresh code; told to all, and accounted for."""

from __future__ import annotations

from datetime import timedelta
from typing import Any

import pytest
from test_people_routes import Person, stale

from casemate.client import Casemate
from casemate.console import Services, tend_break_glass
from casemate.core import Event, new_id
from casemate.doors import Rate, RefusalLimit
from casemate.iam import break_glass_alerts

WHY = {"reason": "the model answers nonsense, and nobody else is awake"}


@pytest.fixture(scope="module")
def night(app, casemate: Casemate) -> Person:
    app.state.attempts = app.state.refusals = RefusalLimit(Rate(per_second=1000, burst=1000))
    return Person(app, casemate, "night", "caller")


def asked(night: Person, casemate: Casemate, **more: str) -> str:
    query = {"role": "operator", "on": "*", "life": "90d", "emergency": "true", **WHY, **more}
    made = night.ask("POST", "grants", params=query)
    assert made.status_code == 200, made.text
    casemate.grants.approve(made.json()["id"], reason="on call")
    return made.json()["id"]


def test_a_night_from_asking_to_acceptance(night: Person, casemate: Casemate, services: Services) -> None:
    ready = asked(night, casemate)
    assert casemate.grants.all(state="ready")[-1]["id"] == ready
    assert night.ask("GET", "keys").status_code == 403
    stale(services, night)
    late = night.ask("POST", f"grants/{ready}/break-glass", params={"life": "1h", **WHY})
    assert (late.status_code, late.json()["code"]) == (401, "step-up-required")
    night.token = night.sign_in().json()["token"]

    opened = night.ask("POST", f"grants/{ready}/break-glass", params={"life": "1h", **WHY})
    assert opened.status_code == 200, opened.text
    grant = opened.json()
    assert (grant["state"], grant["opens"], grant["account"]) == ("active", ready, "owed")
    assert night.ask("GET", "keys").status_code == 200
    outcome = casemate.audit_entries(action="grant:break-glass", kind="outcome", limit=1)[0]
    (alert,) = break_glass_alerts([_event(outcome)])
    assert alert.facts["subject"] == night.id
    assert alert.facts["answer"]["expires_at"] == grant["expires_at"]

    again = night.ask("POST", f"grants/{ready}/break-glass", params={"life": "1h", **WHY})
    assert (again.status_code, again.json()["code"]) == (409, "account-owed")
    assert night.ask("POST", f"grants/{grant['id']}/acceptance", params=WHY).status_code == 403
    assert [one["id"] for one in casemate.grants.all(state="owed")] == [grant["id"]]
    said = night.ask("POST", f"grants/{grant['id']}/account", params={"reason": "read the keys, rolled nothing back"})
    assert said.json()["account"] == "given"
    shown = casemate.grants.show(grant["id"])
    acts = [one["action"] for one in shown["acts"]]
    assert acts[-1] == "grant:account"
    assert "key:read" in acts
    assert casemate.grants.accept_account(grant["id"], reason="as the record says")["account"] == "accepted"
    assert casemate.audit_verify()["ok"]


def test_what_nobody_accounts_for_is_told_once(
    night: Person, casemate: Casemate, services: Services, monkeypatch: pytest.MonkeyPatch
) -> None:
    ready = asked(night, casemate)
    night.token = night.sign_in().json()["token"]
    opened = night.ask("POST", f"grants/{ready}/break-glass", params={"life": "1h", **WHY}).json()
    assert tend_break_glass(services) == []
    assert not _alerts(casemate, opened["id"])
    later = services.clock.now() + timedelta(hours=74)
    monkeypatch.setattr(services.access, "instant", lambda now: max(now, later))
    assert tend_break_glass(services) == tend_break_glass(services) == []
    monkeypatch.undo()
    assert len(_alerts(casemate, opened["id"])) == 1


def test_a_service_asks_for_none(casemate: Casemate, app) -> None:
    from test_door import call

    key = casemate.issue_key("robot-at-night", role="operator", expires="1h")
    query = {"role": "operator", "on": "*", "life": "90d", "emergency": "true", **WHY}
    answer = call(app, "POST", "/api/v1/grants", headers={"Authorization": f"Bearer {key['key']}"}, params=query)
    assert (answer.status_code, answer.json()["code"]) == (400, "bad-grant")
    assert "person" in answer.json()["detail"]


def _alerts(casemate: Casemate, grant_id: str) -> list[dict[str, Any]]:
    found = casemate.audit_entries(kind="alert", limit=50)
    return [one for one in found if one["reason"] == "break-glass-unaccounted" and grant_id in one["resource"]]


def _event(entry: dict[str, Any]) -> Event:
    kept = ("kind", "action", "actor", "outcome", "facts")
    return Event(id=new_id("evt"), at=entry["at"], **{name: entry[name] for name in kept})
