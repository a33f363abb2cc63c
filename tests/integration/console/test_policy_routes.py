"""A home's own policies, data classes, purposes and kept predictions through the door, on a real home."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest
from click.testing import CliRunner
from test_door import call

from casemate.auditlog import leaf_hash
from casemate.cli import cli
from casemate.client import Casemate
from casemate.console import Services
from casemate.core import CasemateError, Event, InputError, rfc3339

FORBID = '@id("kept") @next("Ask the archive.") forbid (principal, action == Action::"dataset:delete", resource);'
AUDITORS = '@id("seen") permit (principal in Role::"auditor", action == Action::"prediction:read", resource);'


class Somebody:
    """Who holds a key, over HTTP."""

    def __init__(self, app: Any, casemate: Casemate, role: str) -> None:
        self.app, self.key = app, casemate.issue_key("somebody", role=role, expires="1h")

    def send(self, method: str, path: str, body: str = "", **params: Any) -> Any:
        headers = {"Authorization": f"Bearer {self.key['key']}"}
        return call(self.app, method, "/api/v1" + path, headers=headers, params=params, content=body.encode())


@pytest.fixture(scope="module")
def owner(app, casemate: Casemate) -> Somebody:
    return Somebody(app, casemate, "owner")


@pytest.fixture(scope="module")
def auditor(app, casemate: Casemate) -> Somebody:
    return Somebody(app, casemate, "auditor")


@pytest.fixture(scope="module")
def rows(tmp_path_factory: pytest.TempPathFactory) -> Path:
    file = tmp_path_factory.mktemp("rows") / "rows.csv"
    file.write_text("age,ill\n41,0\n57,1\n68,1\n")
    return file


def refused(answer: Any) -> str:
    assert answer.status_code == 403, answer.text
    return answer.json()["detail"]


def test_a_policy_goes_its_whole_way(casemate: Casemate, owner: Somebody, rows: Path) -> None:
    casemate.push_dataset("archive", rows)
    mistaken = casemate.policies.propose(FORBID.replace("archive", "archives"), reason="nothing is lost")["id"]
    assert owner.send("DELETE", f"/policies/proposals/{mistaken}", reason="x").json()["code"] == "policy-of-another"
    assert casemate.policies.withdraw(mistaken, reason="misspelt")["state"] == "withdrawn"
    assert owner.send("POST", f"/policies/proposals/{mistaken}/approval", reason="right").status_code == 409
    proposed = casemate.policies.propose(FORBID, reason="nothing is lost")
    with pytest.raises(CasemateError) as caught:
        casemate.policies.approve(proposed["id"], reason="my own")
    assert "four-eyes-policies" in caught.value.message
    assert "+@id" in casemate.policies.show(proposed["id"])["difference"]
    answer = owner.send("POST", f"/policies/proposals/{proposed['id']}/approval", reason="right")
    assert (answer.status_code, answer.json()["state"], answer.json()["version"]) == (200, "active", 1)

    with pytest.raises(CasemateError) as caught:
        casemate.delete_dataset("archive@1", reason="away")
    assert "Ask the archive." in caught.value.message
    in_force = casemate.policies.in_force()
    (entry,) = casemate.audit_entries(action="dataset:delete", kind="decision", limit=1)
    assert entry["facts"]["policies"] == ["kept"]
    assert entry["facts"]["policy"] == in_force["digest"]
    assert in_force["home"]["version"] == 1

    assert casemate.policies.revert_to_packaged(reason="enough")["version"] == 2
    assert "packaged-policies-local" in refused(owner.send("POST", "/policies/packaged", reason="mine"))
    casemate.delete_dataset("archive@1", reason="away")
    again = owner.send("POST", "/policies/proposals", version=1, reason="once more").json()
    assert casemate.policies.approve(again["id"], reason="as before")["version"] == 3
    assert casemate.policies.show("3")["text"] == casemate.policies.show("1")["text"]
    casemate.policies.revert_to_packaged(reason="the end")
    states = [(one["version"], one["state"]) for one in casemate.policies.versions()]
    assert states == [(None, "withdrawn"), (1, "ended"), (2, "ended"), (3, "ended"), (4, "active")]


def test_a_dry_run_says_what_would_change_and_changes_nothing(
    casemate: Casemate, rows: Path, auditor: Somebody
) -> None:
    casemate.push_dataset("gone", rows)
    casemate.delete_dataset("gone@1", reason="away")
    before = casemate.policies.versions()
    found = casemate.policies.replay(FORBID, days=1)
    assert found["asked"] > 0
    (change,) = [one for one in found["changes"] if one["resource"] == "default/dataset:gone"]
    assert (change["before"], change["after"], change["by"]) == ("allowed", "refused", ["kept"])
    assert found["events"] == found["asked"] + sum(found["skipped"].values())
    assert casemate.policies.versions() == before
    assert "policy:propose" in refused(auditor.send("POST", "/policies/replay", FORBID))


def test_a_file_is_checked_without_a_home(tmp_path: Path) -> None:
    good, bad = tmp_path / "good.cedar", tmp_path / "bad.cedar"
    good.write_text(FORBID)
    bad.write_text(FORBID + "\npermit (principal, action, resource) when { context.mood };")
    found = CliRunner().invoke(cli, ["policy", "check", str(good), "--json"])
    assert (found.exit_code, json.loads(found.stdout)["ok"]) == (0, True)
    assert isinstance(CliRunner().invoke(cli, ["policy", "check", str(bad)]).exception, InputError)


def test_a_class_never_falls_in_silence(app, casemate: Casemate, rows: Path) -> None:
    casemate.push_dataset("ward", rows, data_class="health", purposes=["care"])
    rows.write_text(rows.read_text() + "70,0\n")
    assert casemate.push_dataset("ward", rows)["version"] == 2
    shown = casemate.dataset("ward")
    assert (shown["data_class"], shown["purposes"]) == ("health", ["care"]), "as before where nothing is said"
    scientist = Somebody(app, casemate, "data-scientist")
    for wider in ({"data_class": "internal"}, {"purpose": "any"}, {"purpose": ["care", "ads"]}):
        told = {"filename": "rows.csv", "reason": "please", **wider}
        assert "data-class-lowered" in refused(
            scientist.send("POST", "/datasets/ward/versions", rows.read_text(), **told)
        )
    with pytest.raises(InputError) as caught:
        casemate.push_dataset("ward", rows, data_class="personal")
    assert caught.value.code == "no-reason"
    casemate.push_dataset("ward", rows, data_class="personal", reason="names were removed")
    assert casemate.dataset("ward")["data_class"] == "personal"
    assert casemate.dataset("ward@1")["data_class"] == "health", "a version is what it was"
    assert "rows-about-people" in refused(scientist.send("GET", "/datasets/ward/versions/1/rows"))


def test_training_states_its_purpose(casemate: Casemate, rows: Path, tmp_path: Path) -> None:
    casemate.push_dataset("study", rows, purposes=["research"])
    script = tmp_path / "train.py"
    script.write_text("raise SystemExit(1)\n")
    for purpose in (None, "marketing"):
        with pytest.raises(CasemateError) as caught:
            casemate.train(script, dataset="study", model="m", purpose=purpose)
        assert "training-purpose" in caught.value.message
    (entry,) = casemate.audit_entries(action="model:train", kind="decision", limit=1)
    assert entry["facts"]["purpose"] == "marketing"
    assert casemate.train(script, dataset="study", model="m", purpose="research")["verdict"] == "refused"


def test_what_if(casemate: Casemate, owner: Somebody, rows: Path) -> None:
    casemate.push_dataset("asked", rows)
    ask = (owner.key["id"], "dataset:export", "dataset:asked")
    assert casemate.explain_access(*ask)["allowed"]
    found = casemate.explain_access(*ask, data_class="health")
    assert (found["allowed"], found["policies"]) == (False, ["rows-about-people"])
    found = casemate.explain_access(*ask, address="10.1.2.3", at="2030-01-01T00:00:00Z")
    assert not found["allowed"], "the key has ended by then"
    assert casemate.explain_access(*ask)["allowed"], "asking moves no clock"
    for wrong in ({"at": "noon"}, {"address": "home"}, {"data_class": "secret"}):
        with pytest.raises(InputError):
            casemate.explain_access(*ask, **wrong)


def test_what_is_kept_of_predictions_is_for_who_may_read_it(
    casemate: Casemate, services: Services, auditor: Somebody, tmp_path: Path
) -> None:
    facts = {
        "version": 1,
        "inputs": {"x": {"digest": "sha256:1", "mean": 41.5}},
        "answer": "sha256:2",
        "roles": ["caller"],
    }
    event = Event(
        id="evt_" + "1" * 32, at=rfc3339(services.clock.now()), kind="prediction", action="deployment:predict",
        actor="svc_1", resource="default/deployment:web", outcome="done", facts=facts,
    )  # fmt: skip
    services.sink.append([event])
    (mine,) = casemate.predictions("web")
    assert mine["facts"]["inputs"]["x"]["mean"] == 41.5
    assert casemate.prediction("web", event.id)["facts"]["answer"] == "sha256:2"
    with pytest.raises(CasemateError):
        casemate.prediction("other", event.id)

    (seen,) = auditor.send("GET", "/audit/entries", kind="prediction").json()["items"]
    assert seen["facts"] == {"version": 1, "roles": ["caller"], "withheld": ["answer", "inputs"]}
    for path in ("/deployments/web/predictions", f"/audit/entries/{event.id}/proof"):
        assert "prediction:read" in refused(auditor.send("GET", path))
    assert casemate.audit_proof(event.id)["size"] > 0

    whole = casemate.export_audit(tmp_path / "whole.jsonl").read_bytes().splitlines()
    shown = auditor.send("GET", "/audit/export").content.splitlines()
    ((place, line),) = [(place, line) for place, line in enumerate(shown) if b'"withheld":true' in line]
    assert json.loads(line)["leaf"] == leaf_hash(whole[place]).hex()
    assert b'"sha256:2"' not in b"\n".join(shown)
    (read,) = casemate.audit_entries(action="prediction:read", kind="decision", limit=1)
    assert read["outcome"] == "allowed"
