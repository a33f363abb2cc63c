"""A version made anonymous by the home, and turned back by an owner: on record before a row leaves, and by nobody else."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pyarrow.parquet as pq
import pytest
from click.testing import CliRunner
from database_words import stored_bytes
from test_door import call
from test_people_routes import Person, stale

from casemate.cli import cli
from casemate.client import Casemate
from casemate.console import Services
from casemate.core import CasemateError, InputError, StorageError, digest_of
from casemate.doors import Rate, RefusalLimit
from casemate.settings import Settings

NAMES = [f"Quillon Ashgrove-{number}" for number in range(4)]
ROWS = "who,mail,age,illness\n" + "".join(
    f"{name},{name[-1]}.quillon@example.org,{30 + place % 2},{'flu' if place % 2 else 'cold'}\n"
    for place, name in enumerate(NAMES * 5)
)
POLICY = b"""
[columns.who]
treatment = "reversible"
domain = "people"
[columns.mail]
treatment = "pseudonym"
[columns.age]
treatment = "generalise"
width = 50
[columns.illness]
treatment = "keep"
"""
MADE = "visits-anonymous"


@pytest.fixture(autouse=True)
def _unhurried(app) -> None:
    app.state.attempts = RefusalLimit(Rate(per_second=1000, burst=1000))
    app.state.refusals = RefusalLimit(Rate(per_second=1000, burst=1000))


@pytest.fixture(scope="module")
def visits(casemate: Casemate, tmp_path_factory: pytest.TempPathFactory) -> str:
    """Rows about people, and the first version that the home made anonymous of them."""
    rows = tmp_path_factory.mktemp("visits") / "rows.csv"
    rows.write_text(ROWS)
    casemate.push_dataset("visits", rows, target="illness", data_class="health", purposes=["care"])
    made = casemate.personal.anonymize("visits@1", POLICY, reason="for the study")
    assert (made["name"], made["version"], made["verdict"]) == (MADE, 1, "clean"), made
    return "visits"


@pytest.fixture(scope="module")
def owner(app, casemate: Casemate) -> Person:
    app.state.attempts = RefusalLimit(Rate(per_second=1000, burst=1000))
    return Person(app, casemate, "olga", "owner")


def pulled(casemate: Casemate, ref: str, to: Path) -> dict[str, list[Any]]:
    casemate.pull_dataset(ref, to, reason="to look")
    return pq.read_table(to).to_pydict()


def turned_back(casemate: Casemate, ref: str, to: Path, **more: Any) -> dict[str, list[Any]]:
    casemate.personal.reidentify(ref, "who", to, reason="a patient must be told", **more)
    return pq.read_table(to).to_pydict()


def test_it_is_a_version_of_its_own_with_the_class_and_purposes_of_its_source(
    casemate: Casemate, visits: str, tmp_path: Path
) -> None:
    shown = casemate.dataset(f"{MADE}@1")
    assert (shown["data_class"], shown["purposes"]) == ("health", ["care"])
    assert (shown["made_from"]["name"], shown["made_from"]["version"]) == (visits, 1)
    assert {one["name"]: one["role"] for one in shown["columns"]}["illness"] == "target"
    rows = pulled(casemate, f"{MADE}@1", tmp_path / "rows.parquet")
    assert set(rows["age"]) == {"0-49"}
    assert not set(rows["who"]) & set(NAMES)
    assert len(set(rows["who"])) == len(set(rows["mail"])) == len(NAMES)
    entry = casemate.audit_entries(action="dataset:anonymize", kind="outcome", limit=1)[0]
    assert (entry["reason"], entry["facts"]["answer"]["name"], entry["facts"]["version"]) == ("for the study", MADE, 1)


def test_an_owner_turns_it_back_and_the_record_says_what_left(casemate: Casemate, visits: str, tmp_path: Path) -> None:
    assert visits
    rows = turned_back(casemate, f"{MADE}@1", tmp_path / "back.parquet")
    assert rows["who"] == NAMES * 5
    assert ((tmp_path / "back.parquet").stat().st_mode & 0o777) == 0o600
    intent, outcome = (
        casemate.audit_entries(action="dataset:reidentify", kind=kind, limit=1)[0] for kind in ("intent", "outcome")
    )
    for entry in (intent, outcome):
        assert (entry["reason"], entry["resource"]) == ("a patient must be told", f"default/dataset:{MADE}")
        assert (entry["facts"]["column"], entry["facts"]["version"]) == ("who", 1)
    assert (outcome["outcome"], outcome["facts"]["rows"]) == ("done", 20)
    left = (tmp_path / "back.parquet").read_bytes()
    assert outcome["facts"]["sent"] == {"size": len(left), "digest": digest_of(left)}


def test_as_few_rows_leave_as_are_asked_for(casemate: Casemate, visits: str, tmp_path: Path) -> None:
    assert visits
    hidden = pulled(casemate, f"{MADE}@1", tmp_path / "rows.parquet")["who"][1]
    rows = turned_back(casemate, f"{MADE}@1", tmp_path / "one.parquet", values=[hidden])
    assert rows["who"] == [NAMES[1]] * 5
    outcome = casemate.audit_entries(action="dataset:reidentify", kind="outcome", limit=1)[0]
    assert (outcome["facts"]["rows"], outcome["facts"]["asked"]) == (5, 1)
    assert hidden not in json.dumps(casemate.audit_entries(limit=20))
    with pytest.raises(InputError) as many:
        turned_back(casemate, f"{MADE}@1", tmp_path / "many.parquet", values=[f"{hidden}{n:040}" for n in range(101)])
    assert many.value.code == "too-many-values"
    with pytest.raises(InputError) as nobody:
        turned_back(casemate, f"{MADE}@1", tmp_path / "none.parquet", values=["x"])
    assert nobody.value.code == "no-such-pseudonym"
    assert not (tmp_path / "none.parquet").exists()


def test_nothing_that_is_stored_says_whose_rows_they_are(casemate: Casemate, visits: str, settings: Settings) -> None:
    assert visits
    stored = stored_bytes(settings.home)
    for name in NAMES:
        assert name.encode() not in stored
    assert "secret" not in json.dumps(casemate.dataset(f"{MADE}@1"))


def test_whoever_guesses_names_learns_no_pseudonym(app, casemate: Casemate, visits: str, tmp_path: Path) -> None:
    """A dataset of one's own made anonymous under the same name would be hidden with the same keys."""
    assert visits
    (tmp_path / "guesses.csv").write_text("who\n" + "".join(f"{name}\n" for name in NAMES))
    casemate.push_dataset("guesses", tmp_path / "guesses.csv", data_class="health", purposes=["care"])
    key = casemate.issue_key("guesser", role="data-scientist", expires="1h")["key"]
    for treatment in ("reversible", "pseudonym", "replace"):
        policy = f'[columns.who]\ntreatment = "{treatment}"\ndomain = "people"'.encode()
        answer = call(
            app,
            "POST",
            "/api/v1/datasets/guesses/versions/1/anonymisation",
            params={"new": MADE},
            headers={"Authorization": f"Bearer {key}"},
            content=policy,
        )
        assert (answer.status_code, answer.json()["code"]) == (409, "other-source"), answer.text
        assert "--as" in answer.json()["detail"]


@pytest.mark.parametrize("role", ["data-scientist", "approver", "operator", "auditor"])
def test_no_other_role_turns_anything_back(app, casemate: Casemate, visits: str, role: str) -> None:
    assert visits
    person = Person(app, casemate, f"not-{role}", role)
    path = f"datasets/{MADE}/versions/1/reidentification"
    answer = person.ask("POST", path, params={"column": "who", "reason": "curious"})
    assert (answer.status_code, answer.json()["code"]) == (403, "forbidden")
    entry = casemate.audit_entries(action="dataset:reidentify", kind="decision", limit=1)[0]
    assert (entry["actor"], entry["outcome"], entry["facts"]["column"]) == (person.id, "refused", "who")


def test_neither_a_key_nor_a_job_does(app, casemate: Casemate, visits: str) -> None:
    """Whatever class the pseudonyms have: those behind them are people."""
    casemate.personal.anonymize(f"{visits}@1", POLICY, new="calm", data_class="internal", reason="no name is left")
    key = casemate.issue_key("robot", role="owner", expires="1h")["key"]
    for name in (MADE, "calm"):
        asked: dict[str, Any] = {
            "headers": {"Authorization": f"Bearer {key}"}, "params": {"column": "who", "reason": "a nightly job"}
        }  # fmt: skip
        answer = call(app, "POST", f"/api/v1/datasets/{name}/versions/1/reidentification", **asked)
        assert answer.status_code == 403
        assert "rows-about-people" in answer.json()["detail"]


def test_an_owner_gives_a_fresh_factor_and_a_reason(services: Services, owner: Person, visits: str) -> None:
    assert visits
    path, asked = f"datasets/{MADE}/versions/1/reidentification", {"column": "who", "reason": "a patient must be told"}
    missing = owner.ask("POST", path, params={"column": "who"})
    assert (missing.status_code, missing.json()["code"]) == (400, "no-reason")
    fresh = owner.ask("POST", path, params=asked)
    assert (fresh.status_code, fresh.headers["casemate-rows"]) == (200, "20")
    assert fresh.headers["cache-control"] == "no-store"
    stale(services, owner)
    late = owner.ask("POST", path, params=asked)
    assert (late.status_code, late.json()["code"]) == (401, "step-up-required")


def test_what_was_told_once_is_not_told_again(casemate: Casemate, visits: str) -> None:
    assert visits
    path, query = f"/datasets/{MADE}/versions/1/reidentification", {"column": "who", "reason": "twice"}
    headers = {"Idempotency-Key": "turn back once"}
    assert casemate._connection.send("POST", path, query=query, headers=headers).status_code == 200
    again = casemate._connection.send("POST", path, query=query, headers=headers)
    assert (again.status_code, again.json()["code"]) == (409, "repeated")


def test_no_row_leaves_where_the_record_fails(
    casemate: Casemate, services: Services, visits: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The disk is full between the intent and its outcome."""
    assert visits
    append = services.gate._log.append

    def full(events: list[Any]) -> None:
        if any(event.kind == "outcome" for event in events):
            raise StorageError("The log cannot be written.", code="log-full")
        append(events)

    monkeypatch.setattr(services.gate._log, "append", full)
    with pytest.raises(CasemateError) as told:
        turned_back(casemate, f"{MADE}@1", tmp_path / "back.parquet")
    assert told.value.code == "log-full"
    assert list(tmp_path.iterdir()) == []


def test_a_lower_class_takes_an_owner_and_a_reason(app, casemate: Casemate, visits: str) -> None:
    key = casemate.issue_key("scientist", role="data-scientist", expires="1h")["key"]
    path = f"/api/v1/datasets/{visits}/versions/1/anonymisation"
    asked: dict[str, Any] = {"headers": {"Authorization": f"Bearer {key}"}, "content": POLICY}
    for lower in ({"data_class": "internal"}, {"purpose": "any"}):
        answer = call(app, "POST", path, params={"new": "lower", "reason": "cheaper", **lower}, **asked)
        assert answer.status_code == 403, answer.text
        assert "data-class-lowered" in answer.json()["detail"]
    answer = call(app, "POST", path, params={"new": "same"}, **asked)
    assert (answer.status_code, answer.json()["version"]) == (200, 1), answer.text
    with pytest.raises(InputError) as silent:
        casemate.personal.anonymize(f"{visits}@1", POLICY, new="lower", data_class="internal")
    assert silent.value.code == "no-reason"
    assert "lower" not in {one["name"] for one in casemate.datasets()}


def test_what_is_left_is_refused_and_nothing_is_kept(casemate: Casemate, visits: str) -> None:
    found = casemate.personal.anonymize(f"{visits}@1", b'others = "keep"', new="left")
    assert (found["verdict"], found["version"]) == ("refused", None)
    assert "mail" in {one["location"] for one in found["findings"]}
    assert NAMES[0] not in json.dumps(found)
    assert "left" not in {one["name"] for one in casemate.datasets()}


@pytest.mark.parametrize(
    ("asked", "code"),
    [
        (("visits@1", POLICY, "visits"), "same-name"),
        (("visits", POLICY, None), "bad-version"),
        (("visits@1", b"", None), "personal-policy"),
        (("visits@1", b"[columns.who]\ntreatment = 'none'", None), "personal-policy"),
        (("visits@9", POLICY, None), "not-found"),
        (("visits@1", POLICY, "No Name"), "bad-name"),
    ],
)
def test_what_cannot_be_made_gets_one_sentence(
    casemate: Casemate, visits: str, asked: tuple[str, bytes, str | None], code: str
) -> None:
    assert visits
    ref, policy, new = asked
    with pytest.raises(CasemateError) as told:
        casemate.personal.anonymize(ref, policy, new=new)
    assert told.value.code == code
    assert "\n" not in told.value.message


@pytest.mark.parametrize(("ref", "column"), [("visits@1", "who"), (f"{MADE}@1", "mail"), (f"{MADE}@1", "nothing")])
def test_only_what_the_home_made_reversible_is_turned_back(
    casemate: Casemate, visits: str, tmp_path: Path, ref: str, column: str
) -> None:
    assert visits
    with pytest.raises(InputError) as told:
        casemate.personal.reidentify(ref, column, tmp_path / "no.parquet", reason="a try")
    assert told.value.code == "no-pseudonym-key"


@pytest.mark.slow
def test_a_key_that_was_rewrapped_still_turns_back(casemate: Casemate, visits: str, tmp_path: Path) -> None:
    before = pulled(casemate, f"{MADE}@1", tmp_path / "before.parquet")
    assert casemate.keyring.rotate(reason="yearly")["rewrapped"] >= 4
    assert casemate.keyring.retire(reason="yearly")["failed"] == []
    assert turned_back(casemate, f"{MADE}@1", tmp_path / "back.parquet")["who"] == NAMES * 5
    made = casemate.personal.anonymize(f"{visits}@1", POLICY + b"# again\n")
    after = pulled(casemate, f"{MADE}@{made['version']}", tmp_path / "after.parquet")
    assert (after["who"], after["mail"]) == (before["who"], before["mail"])


@pytest.mark.slow
def test_with_the_last_version_goes_the_way_back(casemate: Casemate, visits: str, tmp_path: Path) -> None:
    made = casemate.personal.anonymize(f"{visits}@1", POLICY, new="gone")
    ref = f"gone@{made['version']}"
    hidden = pulled(casemate, ref, tmp_path / "rows.parquet")["who"]
    casemate.push_dataset("gone", tmp_path / "rows.parquet")  # the same rows, without a key
    with pytest.raises(InputError, match="no column 'who' of reversible pseudonyms"):
        casemate.personal.reidentify("gone@2", "who", tmp_path / "no.parquet", reason="a try")
    casemate.delete_dataset(ref, reason="the study is over")
    with pytest.raises(CasemateError) as told:
        casemate.personal.reidentify(ref, "who", tmp_path / "no.parquet", reason="a try")
    assert told.value.code == "not-found"
    again = casemate.personal.anonymize(f"{visits}@1", POLICY, new="gone")
    fresh = pulled(casemate, f"gone@{again['version']}", tmp_path / "fresh.parquet")["who"]
    assert not set(fresh) & set(hidden), "another key"


@pytest.mark.slow
def test_the_command_does_the_same(settings: Settings, visits: str, tmp_path: Path) -> None:
    def run(*words: str) -> Any:
        environment = {"CASEMATE_HOME": str(settings.home), "CASEMATE_KEYS": str(settings.keys)}
        return CliRunner().invoke(cli, ["dataset", *words], env=environment)

    policy, out = tmp_path / "policy.toml", tmp_path / "back.parquet"
    policy.write_bytes(POLICY)
    done = run("anonymize", f"{visits}@1", "--policy", str(policy), "--as", "typed", "--json")
    assert done.exit_code == 0, done.output
    assert (json.loads(done.stdout)["name"], json.loads(done.stdout)["version"]) == ("typed", 1)
    words = ["reidentify", "typed@1", "--column", "who", "--out", str(out)]
    assert run(*words).exception.code == "no-reason"
    assert not out.exists()
    done = run(*words, "--reason", "a patient must be told", "--json")
    assert json.loads(done.stdout) == {"path": str(out), "column": "who", "rows": 20}
    assert pq.read_table(out).column("who").to_pylist() == NAMES * 5
    assert run(*words, "--reason", "again").exception.code == "exists"
    policy.write_text('others = "keep"')
    assert run("anonymize", f"{visits}@1", "--policy", str(policy), "--as", "typed").exit_code == 1
    assert run("anonymize", f"{visits}@1", "--policy", str(policy), "--out", str(out)).exit_code == 2
