"""A kept rule of retention over the real console: an owner's, on record when it is kept, applied and ended."""

from __future__ import annotations

import json
from dataclasses import replace
from datetime import datetime, timedelta
from pathlib import Path
from typing import Any

import pytest
from click.testing import CliRunner
from sqlalchemy import select, update
from test_door import call
from test_people_routes import Person, stale
from tiny_models import doubling_model

from casemate.cli import cli
from casemate.client import Casemate
from casemate.console import Services, tend_retention
from casemate.core import CasemateError, InputError, StorageError
from casemate.doors import Rate, RefusalLimit
from casemate.registry import Retention, dataset_versions
from casemate.settings import Settings
from casemate.storage.database import versions

RULE = "/api/v1/datasets/{name}/retention-rule"


@pytest.fixture(autouse=True)
def _unhurried(app) -> None:
    app.state.attempts = RefusalLimit(Rate(per_second=1000, burst=1000))
    app.state.refusals = RefusalLimit(Rate(per_second=1000, burst=1000))


def pushed(casemate: Casemate, name: str, folder: Path, versions: int = 3) -> str:
    for number in range(versions):
        (folder / "rows.csv").write_text(f"a\n{number}\n")
        casemate.push_dataset(name, folder / "rows.csv")
    return name


class Later:
    """The clock of the services, some days ahead."""

    def __init__(self, services: Services, days: float) -> None:
        self._clock, self._ahead = services.clock, timedelta(days=days)

    def now(self) -> datetime:
        return self._clock.now() + self._ahead


@pytest.fixture
def next_week(services: Services) -> Services:
    """The same services, whose rules of retention go by a clock eight days ahead."""
    retention = services.retention
    stores = replace(retention._stores, clock=Later(services, 8))
    return replace(services, retention=Retention(stores, retention._pen))


def test_the_home_deletes_by_itself_and_says_by_whose_rule(
    casemate: Casemate, services: Services, next_week: Services, tmp_path: Path
) -> None:
    name = pushed(casemate, "aged", tmp_path)
    casemate.versions.tag(f"{name}@1", "golden", reason="audited")
    said = casemate.versions.keep_rule(name, keep=1, reason="our rule")
    assert (said["rule"]["keep"], said["by"]) == (1, services.access.owner.id)
    assert casemate.versions.rule(name)["due"] == []
    assert tend_retention(services, services.access.owner) == []
    assert casemate.dataset(f"{name}@2")["version"] == 2, "it has not stood for a week"
    assert tend_retention(next_week, services.access.owner) == []
    assert casemate.dataset(name)["version"] == 3
    assert casemate.dataset(f"{name}@1")["tags"] == ["golden"]
    with pytest.raises(CasemateError, match=f"no dataset {name}@2"):
        casemate.dataset(f"{name}@2")
    intent, outcome = (
        casemate.audit_entries(action="dataset:delete", kind=kind, limit=1)[0] for kind in ("intent", "outcome")
    )
    assert (intent["actor"], intent["resource"]) == (services.access.owner.id, f"default/dataset:{name}")
    assert "our rule" in intent["reason"]
    assert (outcome["outcome"], outcome["facts"]["deleted"], outcome["facts"]["finished"]) == ("done", [2], [])
    before = services.log.size()
    assert tend_retention(next_week, services.access.owner) == []
    assert services.log.size() == before, "nothing to do is nothing to record"
    assert casemate.verify_datasets()["ok"]
    casemate.versions.end_rule(name, reason="seen")


def test_a_rule_is_an_owners_with_a_fresh_factor_and_a_reason(
    app, casemate: Casemate, services: Services, tmp_path: Path
) -> None:
    name = pushed(casemate, "ruled", tmp_path)
    path = RULE.format(name=name)
    for role in ("data-scientist", "approver", "operator", "auditor"):
        key = casemate.issue_key(f"ruler-{role}", role=role, expires="1h")["key"]
        headers = {"Authorization": f"Bearer {key}"}
        for method in ("PUT", "DELETE"):
            answer = call(app, method, path, headers=headers, params={"keep": "1", "reason": "tidy"})
            assert answer.status_code == 403, (role, method, answer.text)
    person = Person(app, casemate, "ruth", "owner")
    route = path.removeprefix("/api/v1/")
    assert person.ask("PUT", route, params={"keep": "1"}).json()["code"] == "no-reason"
    assert person.ask("PUT", route, params={"reason": "tidy"}).json()["code"] == "bad-retention"
    assert person.ask("PUT", route, params={"keep": "1", "reason": "tidy"}).status_code == 200
    stale(services, person)
    late = person.ask("DELETE", route, params={"reason": "tidy"})
    assert (late.status_code, late.json()["code"]) == (401, "step-up-required")
    assert casemate.versions.rule(name)["by"] == person.id
    casemate.versions.end_rule(name, reason="seen")
    assert casemate.versions.rule(name) == {"name": name, "rule": None}


def test_whose_hand_may_not_delete_deletes_nothing(
    casemate: Casemate, services: Services, next_week: Services, tmp_path: Path
) -> None:
    """The home's own hand goes through the gate as every other does."""
    name = pushed(casemate, "held", tmp_path)
    casemate.versions.keep_rule(name, keep=1, reason="our rule")
    stranger = casemate.issue_key("nobody", role="caller", expires="1h")
    by = services.authenticate(stranger["key"])
    (refused,) = tend_retention(next_week, by)
    assert refused.code == "forbidden"
    assert casemate.dataset(f"{name}@1")["version"] == 1
    entry = casemate.audit_entries(action="dataset:delete", kind="decision", limit=1)[0]
    assert (entry["actor"], entry["outcome"]) == (by.id, "refused")
    casemate.versions.end_rule(name, reason="seen")


CONFIGURES = '@id("scientists-configure") permit (principal in Role::"data-scientist", action == Action::"dataset:configure", resource);'


def test_whoever_may_not_delete_lets_the_home_delete_nothing(app, casemate: Casemate, tmp_path: Path) -> None:
    """A home's own policy may give `dataset:configure` to others; what a rule does is done by the home's owner."""
    name = pushed(casemate, "leant-on", tmp_path)
    proposed = casemate.policies.propose(CONFIGURES, reason="they know their data")["id"]
    other = casemate.issue_key("second", role="owner", expires="1h")["key"]
    approval = f"/api/v1/policies/proposals/{proposed}/approval"
    answer = call(app, "POST", approval, headers={"Authorization": f"Bearer {other}"}, params={"reason": "right"})
    assert answer.status_code == 200, answer.text
    try:
        key = casemate.issue_key("configurer", role="data-scientist", expires="1h")["key"]
        headers = {"Authorization": f"Bearer {key}"}
        answer = call(app, "PUT", RULE.format(name=name), headers=headers, params={"keep": "1", "reason": "tidy"})
        assert (answer.status_code, answer.json()["code"]) == (403, "forbidden"), answer.text
        entry = casemate.audit_entries(action="dataset:delete", kind="decision", limit=1)[0]
        assert (entry["outcome"], entry["resource"]) == ("refused", f"default/dataset:{name}")
        assert casemate.versions.rule(name)["rule"] is None
        casemate.versions.keep_rule(name, keep=1, reason="our rule")
        answer = call(app, "DELETE", RULE.format(name=name), headers=headers, params={"reason": "keep all"})
        assert answer.status_code == 200, "who may configure may end one"
    finally:
        casemate.policies.revert_to_packaged(reason="enough")


def test_a_deletion_that_breaks_off_is_on_record_and_finished_by_the_next_look(
    casemate: Casemate, services: Services, next_week: Services, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The disk fails between the signed end of a version and the removal of its rows."""
    name = pushed(casemate, "broken-off", tmp_path)
    casemate.versions.keep_rule(name, keep=1, reason="our rule")

    def failing(*_: Any, **__: Any) -> None:
        raise StorageError("no disk", code="deletion-unfinished")

    with monkeypatch.context() as patch:
        patch.setattr(dataset_versions, "remove_version", failing)
        (told,) = tend_retention(next_week, services.access.owner)
    assert told.code == "deletion-unfinished"
    outcome = casemate.audit_entries(action="dataset:delete", kind="outcome", limit=1)[0]
    assert (outcome["facts"]["rule"]["keep"], outcome["facts"]["due"]) == (1, [1, 2])
    assert tend_retention(next_week, services.access.owner) == []
    outcome = casemate.audit_entries(action="dataset:delete", kind="outcome", limit=1)[0]
    assert (outcome["facts"]["finished"], outcome["facts"]["deleted"]) == ([2], [1])
    before = services.log.size()
    assert tend_retention(next_week, services.access.owner) == []
    assert services.log.size() == before
    casemate.versions.end_rule(name, reason="seen")


def test_each_dataset_that_cannot_be_looked_through_is_told_and_no_other_waits(
    casemate: Casemate, services: Services, next_week: Services, tmp_path: Path
) -> None:
    """A model's record that nobody can read may need any version: nothing is deleted, and what failed is said of each rule."""
    names = [pushed(casemate, name, tmp_path) for name in ("aa-looked", "bb-looked")]
    for name in names:
        casemate.versions.keep_rule(name, keep=1, reason="our rule")
    (tmp_path / "model.onnx").write_bytes(doubling_model(2.0))
    casemate.push_model("unread", tmp_path / "model.onnx")
    engine, row = services.retention._stores.engine, versions.c.name == "unread"
    with engine.begin() as connection:
        manifest = connection.execute(select(versions.c.manifest).where(row)).scalar()
        connection.execute(update(versions).where(row).values(manifest=b"x"))
    try:
        told = tend_retention(next_week, services.access.owner)
    finally:
        with engine.begin() as connection:
            connection.execute(update(versions).where(row).values(manifest=manifest))
    assert [one.code for one in told] == ["manifest-malformed"] * len(names)
    assert [casemate.dataset(f"{name}@1")["version"] for name in names] == [1, 1]
    assert tend_retention(next_week, services.access.owner) == []
    for name in names:
        casemate.versions.end_rule(name, reason="seen")


@pytest.mark.slow
def test_the_command_keeps_shows_and_ends_a_rule(settings: Settings, casemate: Casemate, tmp_path: Path) -> None:
    name = pushed(casemate, "typed", tmp_path)

    def run(*words: str) -> Any:
        environment = {"CASEMATE_HOME": str(settings.home), "CASEMATE_KEYS": str(settings.keys)}
        return CliRunner().invoke(cli, ["dataset", "retention", name, *words], env=environment)

    assert "deletes nothing by itself" in run().stdout
    done = run("--keep", "2", "--for", "90d", "--reason", "our rule", "--json")
    assert json.loads(done.stdout)["rule"] == {"keep": 2, "life": 90 * 86400, "stands": 7 * 86400}
    assert "newest 2" in run().stdout
    assert "What is due: casemate dataset retention typed" in run("--keep", "2", "--reason", "our rule").stdout
    assert run("--end", "--keep", "2").exit_code == 2
    assert json.loads(run("--end", "--reason", "seen", "--json").stdout)["rule"] is None
    with pytest.raises(InputError):
        casemate.versions.keep_rule(name, reason="nothing said")
