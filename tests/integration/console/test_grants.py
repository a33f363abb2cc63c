"""Temporary access and rotation through the door, on a real home."""

from __future__ import annotations

import re
from concurrent.futures import ThreadPoolExecutor

import pytest
from test_door import call

from casemate.cli import output
from casemate.client import Casemate
from casemate.core import Action

DEPLOYMENTS = "/api/v1/deployments/thing"
REQUEST = {"role": "operator", "on": "deployment:thing", "life": "1h", "reason": "the model answers nonsense"}


class Somebody:
    """Who holds a key, over HTTP."""

    def __init__(self, app, issued: dict) -> None:
        self.app, self.issued = app, issued

    def send(self, method: str, path: str, **params: str):
        headers = {"Authorization": f"Bearer {self.issued['key']}"}
        return call(self.app, method, path, headers=headers, params=params)

    def ask(self, **change: str) -> dict:
        answer = self.send("POST", "/api/v1/grants", **{**REQUEST, **change})
        assert answer.status_code == 200, answer.text
        return answer.json()

    def may_pause(self) -> bool:
        answer = self.send("POST", f"{DEPLOYMENTS}/pause")
        assert answer.status_code in (403, 404), answer.text  # allowed is 404 here: nothing is deployed
        return answer.status_code == 404


@pytest.fixture
def issue(app, casemate: Casemate):
    def issued(role: str = "caller", **change) -> Somebody:
        told = {"deployment": "thing" if role == "caller" else None, "expires": "2h", **change}
        return Somebody(app, casemate.issue_key("somebody", role=role, **told))

    return issued


def code(answer) -> tuple[int, str]:
    return answer.status_code, answer.json()["code"]


def test_a_role_is_asked_for_lent_and_taken_back(casemate: Casemate, issue) -> None:
    asker = issue()
    asked = asker.ask()
    assert (asked["state"], asked["life"], asked["expires_at"]) == ("pending", 3600, None)
    assert not asker.may_pause()
    lent = casemate.grants.approve(asked["id"], reason="go ahead")
    assert (lent["state"], lent["answer"]) == ("active", "go ahead")
    assert asker.may_pause()
    assert asker.send("POST", "/api/v1/deployments/other/pause").status_code == 403
    ended = casemate.grants.revoke(asked["id"], reason="mended")
    assert (ended["state"], ended["ended_because"]) == ("revoked", "mended")
    assert not asker.may_pause()
    kinds = {
        entry["action"]: entry["outcome"] for entry in casemate.audit_entries(resource=f"default/grant:{asked['id']}")
    }
    assert kinds.keys() == {Action.GRANT_APPROVE, Action.GRANT_REVOKE}


def test_a_denied_request_gives_nothing_and_stays_denied(casemate: Casemate, issue) -> None:
    asker = issue()
    asked = asker.ask()
    denied = casemate.grants.deny(asked["id"], reason="ask the team first")
    assert (denied["state"], denied["answer"]) == ("denied", "ask the team first")
    assert not asker.may_pause()
    owner = issue("owner")
    assert code(owner.send("POST", f"/api/v1/grants/{asked['id']}/approval", reason="x")) == (409, "grant-answered")
    assert code(owner.send("POST", f"/api/v1/grants/{asked['id']}/denial", reason="x")) == (409, "grant-answered")
    assert code(owner.send("DELETE", f"/api/v1/grants/{asked['id']}", reason="x")) == (409, "grant-answered")
    assert code(owner.send("POST", f"/api/v1/grants/grt_{7:032x}/approval", reason="x")) == (404, "grant-not-found")


def test_whoever_asks_cannot_answer_nor_can_a_key_of_their_making(issue) -> None:
    asker = issue("owner")
    asked = asker.ask(role="owner", on="*")
    helper = Somebody(asker.app, asker.send("POST", "/api/v1/keys", name="helper", role="owner", expires="90m").json())
    grandchild = Somebody(
        asker.app, helper.send("POST", "/api/v1/keys", name="helpers-helper", role="owner", expires="80m").json()
    )
    for one in (asker, helper, grandchild):
        for answer in ("approval", "denial"):
            refused = one.send("POST", f"/api/v1/grants/{asked['id']}/{answer}", reason="mine")
            assert code(refused) == (403, "forbidden")
            assert "four-eyes-grants" in refused.json()["detail"]
            assert "Somebody else must answer" in refused.json()["detail"]
    assert issue("owner").send("POST", f"/api/v1/grants/{asked['id']}/approval", reason="ok").status_code == 200


def test_a_key_that_the_asker_rotated_is_no_second_person(issue) -> None:
    asker, victim = issue("owner"), issue("owner")
    asked = asker.ask(role="owner", on="*")
    path = f"/api/v1/keys/{victim.issued['id']}/rotation"
    assert asker.send("POST", path).status_code == 403, "the victim's key outlives the asker's own by a moment"
    rotated = asker.send("POST", path, expires="30m")
    assert rotated.status_code == 200, rotated.text
    for secret in (rotated.json(), victim.issued):
        answer = Somebody(asker.app, secret).send("POST", f"/api/v1/grants/{asked['id']}/approval", reason="me again")
        assert code(answer) == (403, "forbidden")


@pytest.mark.parametrize(
    ("role", "change", "allowed"),
    [
        ("owner", {}, True),
        ("operator", {}, False),
        ("operator", {"role": "caller"}, True),
        ("operator", {"role": "caller", "on": "*"}, True),
        ("approver", {"role": "caller"}, False),
        ("auditor", {"role": "auditor", "on": "*"}, False),
        ("owner", {"life": "3h"}, False),  # longer than the approver's own
        ("operator", {"role": "caller", "life": "3h"}, False),
    ],
)
def test_nobody_lends_more_than_they_could_give(issue, role: str, change: dict, allowed: bool) -> None:
    asked = issue().ask(**change)
    answer = issue(role).send("POST", f"/api/v1/grants/{asked['id']}/approval", reason="fine")
    assert answer.status_code == (200 if allowed else 403), answer.text
    if change.get("life") == "3h":
        assert "outlive" in answer.json()["detail"]


def test_somebody_sees_their_own_and_nobody_elses(casemate: Casemate, issue) -> None:
    mine, other = issue(), issue()
    asked, others = mine.ask(), other.ask()
    seen = [one["id"] for one in mine.send("GET", "/api/v1/grants", state="pending").json()["items"]]
    assert seen == [asked["id"]]
    assert mine.send("GET", f"/api/v1/grants/{asked['id']}").status_code == 200
    assert mine.send("GET", f"/api/v1/grants/{others['id']}").status_code == 403
    assert mine.send("GET", f"/api/v1/grants/grt_{7:032x}").status_code == 403
    assert mine.send("DELETE", f"/api/v1/grants/{others['id']}", reason="x").status_code == 403
    assert mine.send("DELETE", f"/api/v1/grants/{asked['id']}", reason="not needed").json()["state"] == "revoked"
    assert {asked["id"], others["id"]} <= {one["id"] for one in casemate.grants.all()}
    assert {asked["id"], others["id"]} <= {
        one["id"] for one in issue("auditor").send("GET", "/api/v1/grants").json()["items"]
    }


@pytest.mark.parametrize(
    ("change", "expected"),
    [
        ({"reason": ""}, "no-reason"),
        ({"reason": "  "}, "no-reason"),
        ({"reason": "a\x1b[31mb"}, "bad-reason"),
        ({"reason": "two\nlines"}, "bad-reason"),
        ({"reason": "\u202eevil"}, "bad-reason"),
        ({"role": "root"}, "bad-role"),
        ({"role": "Owner"}, "bad-role"),
        ({"on": "deployment:Thing"}, "bad-name"),
        ({"on": "deployment:th\u0456ng"}, "bad-name"),
        ({"on": "deployment:thing "}, "bad-name"),
        ({"on": "key:thing"}, "bad-scope"),
        ({"on": "**"}, "bad-scope"),
        ({"life": "0h"}, "bad-duration"),
        ({"life": "-1h"}, "bad-duration"),
        ({"life": "31d"}, "bad-expiry"),
        ({"life": "\u0661h"}, "bad-duration"),
        ({"environment": "Production"}, "bad-request"),
    ],
)
def test_a_bad_request_is_one_sentence_and_nothing_is_kept(issue, change: dict, expected: str) -> None:
    asker = issue()
    answer = asker.send("POST", "/api/v1/grants", **{**REQUEST, **change})
    assert code(answer) == (400, expected)
    assert [one["state"] for one in asker.send("GET", "/api/v1/grants").json()["items"]] == ["active"]


def test_the_machines_owner_has_nothing_to_ask_for(casemate: Casemate) -> None:
    with pytest.raises(Exception, match="may do everything already"):
        casemate.grants.request("owner", on="*", life="1h", reason="why not")


def test_nobody_fills_the_signed_state_with_requests(issue) -> None:
    asker = issue()
    for _ in range(20):
        asker.send("DELETE", f"/api/v1/grants/{asker.ask()['id']}", reason="again")
    answer = asker.send("POST", "/api/v1/grants", **REQUEST)
    assert code(answer) == (429, "too-many-requests")
    assert int(answer.headers["retry-after"]) > 3600
    issue().ask()


def test_of_answers_at_the_same_moment_one_counts_and_the_home_still_opens(app, casemate: Casemate, issue) -> None:
    asked, owners = issue().ask(), [issue("owner") for _ in range(4)]
    ways = [("POST", "/approval"), ("POST", "/denial"), ("POST", "/approval"), ("DELETE", "")]

    def answer(number: int) -> int:
        method, path = ways[number]
        return owners[number].send(method, f"/api/v1/grants/{asked['id']}{path}", reason="first").status_code

    with ThreadPoolExecutor(4) as pool:
        found = list(pool.map(answer, range(4)))
    assert 1 <= found.count(200) <= 2  # an approval and then its revocation, or one alone
    assert set(found) <= {200, 409}
    assert casemate.grants.show(asked["id"])["state"] in ("active", "denied", "revoked")
    assert app.state.services.access.refresh() is False


def test_a_key_asked_for_in_a_reason_is_not_kept(casemate: Casemate, issue) -> None:
    asker = issue()
    assert asker.ask(reason=f"see {asker.issued['key']}")["reason"] == "see [API key]"


def test_a_reason_is_shown_as_it_was_written(capsys, casemate: Casemate, issue) -> None:
    asked = issue().ask(reason="[/bold] [red]fine[/red]")
    output.table([casemate.grants.show(asked["id"])], {"reason": "reason"}, empty="")
    assert "[/bold] [red]fine[/red]" in capsys.readouterr().out


# Rotation and last use ------------------------------------------------------------------------------------------


def test_a_rotated_key_is_the_same_service_and_both_work_meanwhile(casemate: Casemate, issue) -> None:
    old = issue()
    asked = old.ask()
    casemate.grants.approve(asked["id"], reason="ok")
    result = casemate.rotate_key(old.issued["id"], overlap="10m", reason="yearly")
    new = Somebody(old.app, result)
    assert (result["replaces"], result["expires_at"]) == (old.issued["id"], old.issued["expires_at"])
    assert result["old_expires_at"] < result["expires_at"]
    assert re.fullmatch(r"cm_[\w-]{49}", result["key"])
    for one in (old, new):
        assert one.may_pause()
    rows = {row["id"]: row for row in casemate._items("/keys")}
    before, after = rows[old.issued["id"]], rows[result["id"]]
    assert (before["state"], after["state"], after["replaces"]) == ("active", "active", before["id"])
    assert [after[name] for name in ("name", "role", "scope", "rate")] == [
        before[name] for name in ("name", "role", "scope", "rate")
    ]
    assert casemate.audit_entries(action="key:rotate", kind="outcome", limit=1)[0]["facts"]["answer"].keys() == {
        "id", "expires_at", "name", "replaces", "old_expires_at"
    }  # fmt: skip
    casemate.revoke_key(old.issued["id"])
    assert old.send("GET", DEPLOYMENTS).status_code == 401
    assert new.may_pause()


@pytest.mark.parametrize(
    ("change", "expected"),
    [
        ({"overlap": "0s"}, "bad-duration"),
        ({"overlap": "31d"}, "bad-overlap"),
        ({"overlap": "soon"}, "bad-duration"),
        ({"expires": "400d"}, "bad-expiry"),
    ],
)
def test_a_bad_rotation_is_one_sentence(casemate: Casemate, issue, change: dict, expected: str) -> None:
    with pytest.raises(Exception) as caught:
        casemate.rotate_key(issue().issued["id"], **change)
    assert caught.value.code == expected


def test_a_key_is_rotated_once_and_only_while_it_lives(casemate: Casemate, issue) -> None:
    old = issue()
    newer = casemate.rotate_key(old.issued["id"])
    with pytest.raises(Exception, match=newer["id"]):
        casemate.rotate_key(old.issued["id"])
    casemate.revoke_key(newer["id"])
    with pytest.raises(Exception, match="has ended"):
        casemate.rotate_key(newer["id"])
    with pytest.raises(Exception, match="There is no key"):
        casemate.rotate_key(f"key_{7:032x}")


def test_an_operator_rotates_callers_and_never_what_a_lent_role_makes_of_them(casemate: Casemate, issue) -> None:
    operator, caller = issue("operator"), issue(expires="1h")
    path = f"/api/v1/keys/{caller.issued['id']}/rotation"
    assert issue("auditor").send("POST", path).status_code == 403
    asked = caller.ask(role="owner", on="*", life="30m")
    casemate.grants.approve(asked["id"], reason="once")
    assert operator.send("POST", path).status_code == 403, "the new secret would be an owner's"
    casemate.grants.revoke(asked["id"], reason="done")
    assert operator.send("POST", path, expires="3h").status_code == 403, "longer than the operator's own"
    assert operator.send("POST", path, expires="90m").status_code == 200


def test_a_longer_life_does_not_bring_back_a_revoked_grant(casemate: Casemate, issue) -> None:
    caller = issue()
    (grant,) = caller.send("GET", "/api/v1/grants").json()["items"]
    casemate.grants.revoke(grant["id"], reason="no more")
    with pytest.raises(Exception, match="was revoked, and is not prolonged"):
        casemate.rotate_key(caller.issued["id"], expires="90d")


def test_the_list_of_keys_says_when_and_from_where_each_was_used(casemate: Casemate, issue) -> None:
    def used(identifier: str) -> tuple[str | None, str | None]:
        (row,) = [row for row in casemate._items("/keys") if row["id"] == identifier]
        return row["last_used_at"], row["last_used_from"]

    old = issue("auditor")
    assert used(old.issued["id"]) == (None, None)
    old.send("GET", "/api/v1/keys")
    first, address = used(old.issued["id"])
    assert first
    assert address == "127.0.0.1"  # as httpx's transport says
    new = Somebody(old.app, casemate.rotate_key(old.issued["id"]))
    assert used(new.issued["id"]) == (None, None)
    new.send("GET", "/api/v1/keys")
    assert used(old.issued["id"]) == (first, address)
    assert used(new.issued["id"])[0] > first
    new.send("DELETE", f"/api/v1/keys/{old.issued['id']}", reason="names the old one, and is no use of it")
    assert used(old.issued["id"]) == (first, address)
