"""Access reviews through the door and the command line, on a real home; what real use proposes, and the evidence."""

from __future__ import annotations

import base64
import csv
import io
import json

import pytest
from click.testing import CliRunner
from test_door import call

from casemate.cli import cli
from casemate.cli.session import Session
from casemate.client import Casemate
from casemate.core import ConflictError


def send(app, key: str, method: str, path: str, **more):
    return call(app, method, path, headers={"Authorization": f"Bearer {key}"}, **more)


@pytest.fixture
def review(app, casemate: Casemate) -> dict:
    """A review of one who uses what they have for less than they may, and of one who does nothing."""
    casemate.issue_key("idle", role="caller", expires="2h")
    busy = casemate.issue_key("busy", role="operator", expires="2h")
    assert send(app, busy["key"], "POST", "/api/v1/deployments/thing/pause").status_code == 404
    return casemate.reviews.open("Quarter", on="*", due="1h", reason="as every quarter")


def test_a_review_shows_use_takes_answers_and_is_proved(casemate: Casemate, review: dict) -> None:
    shown = casemate.reviews.show(review["id"])
    rows = {row["name"]: row for row in shown["grants"]}
    assert shown["state"] == "open"
    assert rows["busy"]["actions"] == {"deployment:pause": 1}
    assert (rows["busy"]["proposal"], rows["busy"]["instead"]) == ("narrow", "operator on deployment:thing in dev")
    assert rows["idle"]["proposal"] == "keep", "new"
    everything = [row["grant"] for row in shown["grants"] if row["state"] == "open"]
    with pytest.raises(ConflictError, match="Nobody has answered"):
        casemate.reviews.close(review["id"], reason="done")
    casemate.reviews.answer(review["id"], keep=everything[:-1], revoke=everything[-1:], reason="looked at")
    closed = casemate.reviews.close(review["id"], reason="done")
    assert (closed["state"], closed["revoked"], closed["open"]) == ("closed", 1, 0)
    record = casemate.audit_entries(resource=f"default/review:{review['id']}")
    done = [(one["action"], one["reason"]) for one in record if one["kind"] == "outcome"]
    assert ("review:answer", "looked at") in done
    assert ("review:close", "done") in done
    proof = casemate.audit_proof(record[0]["id"])
    assert record[0]["id"].encode() in base64.b64decode(proof["entry"])


def test_who_has_no_part_in_it_sees_and_answers_nothing(app, casemate: Casemate, review: dict) -> None:
    key = casemate.issue_key("stranger", role="caller", expires="1h")["key"]
    path = f"/api/v1/reviews/{review['id']}"
    grants = [row["grant"] for row in casemate.reviews.show(review["id"])["grants"]]
    body = {"keep": grants, "revoke": []}
    for method, where, more in (
        ("GET", path, {}),
        ("POST", f"{path}/answers", {"json": body, "params": {"reason": "mine"}}),
        ("POST", f"{path}/closing", {"params": {"reason": "mine"}}),
        ("PUT", "/api/v1/review-schedule", {}),
        ("DELETE", "/api/v1/review-schedule", {"params": {"reason": "mine"}}),
        ("POST", "/api/v1/reviews", {"params": {"title": "x"}}),
    ):
        assert send(app, key, method, where, **more).status_code == 403, (method, where)
    assert send(app, key, "GET", "/api/v1/reviews").json()["items"] == []
    owner = casemate.issue_key("owner-one", role="owner", expires="1h")
    (own,) = [one["id"] for one in casemate.grants.all(state="active") if one["name"] == "owner-one"]
    fresh = casemate.reviews.open("Owners", role="owner", reason="why")
    answer = send(app, owner["key"], "POST", f"/api/v1/reviews/{fresh['id']}/answers", json={"keep": [own]},
                  params={"reason": "I need it"})  # fmt: skip
    assert (answer.status_code, "four-eyes-reviews" in answer.json()["detail"]) == (403, True)


def test_odd_requests_are_refused_in_one_sentence(app, casemate: Casemate, review: dict) -> None:
    key = casemate.issue_key("odd", role="owner", expires="1h")["key"]
    path = f"/api/v1/reviews/{review['id']}/answers"
    for body in ({}, {"keep": ["x"] * 501}, {"keep": "x"}, {"keep": [1]}, {"more": []}, {"keep": ["x"]}, [], None):
        answer = send(app, key, "POST", path, json=body, params={"reason": "why"})
        assert answer.status_code in (400, 404, 409, 422), (body, answer.text)
        assert answer.json()["detail"]
    assert send(app, key, "GET", "/api/v1/reviews/rev_nothing").status_code == 404


def test_commands(settings, casemate: Casemate, socket_path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(Session, "client", lambda self: Casemate(socket=socket_path))

    def run(*words: str, typed: str = "") -> str:
        done = CliRunner().invoke(cli, ["review", *words], input=typed, catch_exceptions=False)
        assert done.exit_code == 0, done.output
        return done.stdout

    casemate.issue_key("formula", role="caller", expires="2h")
    opened = json.loads(run("open", "--title", "=1+1 <b>", "--json"))
    identifier = opened["id"]
    assert identifier in run("list")
    grant = json.loads(run("show", identifier, "--open", "--json"))["grants"][0]["grant"]
    run("keep", identifier, grant, "--reason", "still needed")
    assert json.loads(run("accept-proposals", identifier, "--reason", "unused", "--yes", "--json"))["id"] == identifier
    rows = list(csv.DictReader(io.StringIO(run("export", identifier, "--format", "csv"))))
    assert {row["state"] for row in rows} >= {"kept", "open"}
    page = run("export", identifier, "--format", "html")
    assert "=1+1 &lt;b&gt;" in page
    assert "<script" not in page
    assert "review:answer" in run("export", identifier)
    assert json.loads(run("export", identifier, "--format", "json"))["record"]
    assert "scheduled" not in run("schedule", "--every", "30d", "--due", "7d")
    run("schedule", "--off", "--reason", "enough")
