"""What one person could do alone, or after their end, through somebody or something of their own making."""

from __future__ import annotations

import pytest
from test_break_glass_door import asked
from test_people_routes import Person, stale

from casemate.cli.review_commands import _opening
from casemate.client import Casemate
from casemate.core import ConflictError
from casemate.doors import Rate, RefusalLimit

FORBID = '@id("of-NAME") forbid (principal in Role::"caller", action == Action::"model:read", resource);'


@pytest.fixture(scope="module")
def boss(app, casemate: Casemate) -> Person:
    app.state.attempts = app.state.refusals = RefusalLimit(Rate(per_second=1000, burst=1000))
    return Person(app, casemate, "boss", "owner")


@pytest.fixture(scope="module")
def peer(app, casemate: Casemate, boss: Person) -> Person:
    return Person(app, casemate, "peer", "owner")


def invited(by: Person, name: str, role: str = "owner") -> Person:
    made = by.ask("POST", "users", params={"name": name, "role": role, "life": "30d"})
    assert made.status_code == 200, made.text
    person = Person.__new__(Person)
    person.app, person.name, person.id, person.invitation = by.app, name, made.json()["id"], made.json()["invitation"]
    person.enrol()
    return person


def proposed(by: Person) -> str:
    """The path that approves a change of the policies which `by` has proposed."""
    answer = by.ask(
        "POST", "policies/proposals", params={"reason": "so"}, content=FORBID.replace("NAME", by.name).encode()
    )
    assert answer.status_code == 200, answer.text
    return f"policies/proposals/{answer.json()['id']}/approval"


def approved(by: Person, path: str) -> int:
    return by.ask("POST", path, params={"reason": "fine"}).status_code


def test_whoever_invited_who_proposed_is_no_second_person_and_another_is(boss: Person, peer: Person) -> None:
    path = proposed(invited(boss, "puppet"))
    assert approved(boss, path) == 403
    assert approved(peer, path) == 200


def test_whoever_reset_who_proposed_is_no_second_person(boss: Person, peer: Person) -> None:
    doll = invited(boss, "doll")
    doll.invitation = peer.ask("POST", "users/doll/reset", params={"reason": "a new phone"}).json()["invitation"]
    doll.enrol()
    assert approved(peer, proposed(doll)) == 403


def test_a_person_s_end_ends_what_they_made_that_could_act_for_them(boss: Person, casemate: Casemate) -> None:
    gone = invited(boss, "gone")
    issue = {"role": "owner", "expires": "1d"}
    nightly = gone.ask("POST", "keys", params={"name": "nightly", **issue}).json()
    headers = {"Authorization": f"Bearer {nightly['key']}"}
    child = gone.send(
        "POST", "keys", params={"name": "nightly-child", **issue, "expires": "12h"}, headers=headers
    ).json()
    calls = gone.ask("POST", "keys", params={"name": "calls", "role": "caller", "expires": "1d"}).json()
    waiting = gone.ask("POST", "users", params={"name": "waiting", "role": "owner", "life": "1d"}).json()

    ended = casemate.people.revoke("gone", reason="left")
    assert set(ended["ended"]) == {nightly["id"], child["id"]}
    assert ended["left"] == [{"id": calls["id"], "name": "calls", "role": "caller"}]
    assert gone.send("GET", "users", headers=headers).status_code == 401
    body = {"invitation": waiting["invitation"], "password": "tidal-gravel-otter-plinth"}
    late = gone.send("POST", "enrolment", json=body)
    assert (late.status_code, late.json()["code"]) == (401, "bad-invitation")
    again = casemate.people.revoke(gone.id, callers=True, reason="left")
    assert (again["ended"], again["left"]) == ([calls["id"]], [])


@pytest.mark.parametrize("name", ["boss", "local"])
def test_no_service_is_called_as_a_person_is(boss: Person, casemate: Casemate, name: str) -> None:
    with pytest.raises(ConflictError) as caught:
        casemate.issue_key(name, role="caller")
    assert caught.value.code == "name-taken"
    assert boss.name == "boss"


def test_no_person_is_called_as_a_living_service_is(casemate: Casemate) -> None:
    key = casemate.issue_key("robot", role="caller")
    with pytest.raises(ConflictError) as caught:
        casemate.people.invite("robot", role="auditor")
    assert caught.value.code == "name-taken"
    casemate.revoke_key(key["id"], reason="over")
    assert casemate.people.invite("robot", role="auditor")["id"].startswith("usr_")


def test_evidence_tells_a_service_by_its_id_and_how_the_review_was_opened(boss: Person, casemate: Casemate) -> None:
    key = casemate.issue_key("reviewer", role="owner", expires="20d")
    casemate.issue_key("kept", role="caller")
    review = casemate.reviews.open("evidence", due="7d")
    grant = next(one for one in casemate.reviews.show(review["id"])["grants"] if one["name"] == "kept")
    headers = {"Authorization": f"Bearer {key['key']}"}
    body = {"keep": [grant["grant"]]}
    said = boss.send("POST", f"reviews/{review['id']}/answers", params={"reason": "used"}, json=body, headers=headers)
    assert said.status_code == 200, said.text
    row = next(one for one in casemate.reviews.show(review["id"])["grants"] if one["grant"] == grant["grant"])
    service = next(one for one in casemate.access_report() if one["credential"] == key["id"])["principal"]
    assert row["answered_by"] == f"reviewer ({service})"
    opening = _opening(casemate.audit_entries(action="review:open"), review["id"])
    assert {one["kind"] for one in opening} == {"intent", "outcome"}
    assert len(opening) == 2


def test_what_is_accounted_for_is_over(boss: Person, casemate: Casemate, services) -> None:
    night = invited(boss, "nightshift", "caller")
    ready = asked(night, casemate)
    stale(services, night)
    night.token = night.sign_in().json()["token"]
    why = {"reason": "an outage"}
    opened = night.ask("POST", f"grants/{ready}/break-glass", params={"life": "1h", **why}).json()
    assert night.ask("GET", "keys").status_code == 200
    said = night.ask("POST", f"grants/{opened['id']}/account", params={"reason": "nothing yet"})
    assert said.status_code == 200, said.text
    assert night.ask("GET", "keys").status_code == 403
    assert said.json()["state"] == "revoked"
    casemate.grants.accept_account(opened["id"], reason="nothing was done")
    assert casemate.audit_verify()["ok"]


def test_a_key_whose_role_was_taken_says_so(casemate: Casemate) -> None:
    key = casemate.issue_key("bare", role="caller")
    grant = next(one for one in casemate.access_report() if one["credential"] == key["id"])["grant"]
    casemate.grants.revoke(grant, reason="not needed")
    assert casemate.key(key["id"])["state"] == "roleless"
