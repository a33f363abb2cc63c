"""Versions of a dataset beside each other, over the real console: no value of a row without a reason on record."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest
from click.testing import CliRunner
from database_words import stored_bytes
from test_door import call

from casemate.cli import cli
from casemate.client import Casemate
from casemate.core import CasemateError, InputError, NotFoundError
from casemate.settings import Settings

SECRET = "person-of-the-third-row"


@pytest.fixture(scope="module")
def visits(casemate: Casemate, tmp_path_factory: pytest.TempPathFactory) -> str:
    """Two versions: one row gone, one new, one changed, one column new."""
    folder = tmp_path_factory.mktemp("visits")
    (folder / "one.csv").write_text(f"id,age,name\n1,41,a\n2,52,b\n3,63,{SECRET}\n")
    (folder / "two.csv").write_text("id,age,name,ward\n1,41,a,x\n2,53,b,y\n4,70,d,z\n")
    casemate.push_dataset("visits", folder / "one.csv")
    casemate.push_dataset("visits", folder / "two.csv")
    return "visits"


def test_a_diff_tells_of_schema_and_rows_and_shows_no_value(casemate: Casemate, visits: str) -> None:
    found = casemate.versions.diff(f"{visits}@1", visits, key="id")
    assert (found["from"]["version"], found["to"]["version"], found["key"]) == (1, 2, "id")
    assert [column["name"] for column in found["schema"]["added"]] == ["ward"]
    assert found["rows"] == {"before": 3, "after": 3, "added": 1, "removed": 1, "changed": 1}
    assert {column["name"]: column["changed"] for column in found["columns"]} == {"id": 0, "age": 1, "name": 0}
    assert SECRET not in json.dumps(found)
    entry = casemate.audit_entries(action="dataset:read", limit=1)[0]
    assert (entry["facts"]["version"], entry["facts"]["to"]) == (1, 2)


def test_rows_are_shown_for_a_reason_that_is_on_record(casemate: Casemate, visits: str, settings: Settings) -> None:
    with pytest.raises(InputError, match="Say why"):
        casemate.versions.diff(f"{visits}@1", f"{visits}@2", key="id", rows=5)
    found = casemate.versions.diff(f"{visits}@1", f"{visits}@2", key="id", rows=5, reason="who is gone")
    assert found["shown"]["removed"] == [{"id": 3, "age": 63, "name": SECRET}]
    assert found["shown"]["changed"][0]["after"]["age"] == 53
    entry = casemate.audit_entries(action="dataset:export", limit=1)[0]
    assert (entry["reason"], entry["facts"]["version"], entry["facts"]["to"]) == ("who is gone", 1, 2)
    assert SECRET.encode() not in stored_bytes(settings.home)


def test_a_pull_has_its_reason_on_record(casemate: Casemate, visits: str, tmp_path: Path) -> None:
    casemate.pull_dataset(f"{visits}@1", tmp_path / "rows.parquet", reason="to train elsewhere")
    assert casemate.audit_entries(action="dataset:export", limit=1)[0]["reason"] == "to train elsewhere"


def test_an_auditor_compares_and_sees_no_row(app, casemate: Casemate, visits: str) -> None:
    key = casemate.issue_key("compares", role="auditor", expires="1h")["key"]
    asked: dict[str, Any] = {"headers": {"Authorization": f"Bearer {key}"}, "params": {"reason": "looking"}}
    path = f"/api/v1/datasets/{visits}/versions/1/diff"
    assert call(app, "GET", path, **asked).status_code == 200
    assert call(app, "GET", path + "/rows", **asked).status_code == 403


@pytest.mark.slow
def test_the_higher_class_of_the_two_decides(app, casemate: Casemate, tmp_path: Path) -> None:
    (tmp_path / "rows.csv").write_text("a\n1\n")
    casemate.push_dataset("ward", tmp_path / "rows.csv")
    (tmp_path / "rows.csv").write_text("a\n2\n")
    casemate.push_dataset("ward", tmp_path / "rows.csv", data_class="health")
    key = casemate.issue_key("service", role="data-scientist", expires="1h")["key"]
    asked: dict[str, Any] = {"headers": {"Authorization": f"Bearer {key}"}}
    for one, other in ((1, 2), (2, 1)):
        path = f"/api/v1/datasets/ward/versions/{one}/diff/rows"
        answer = call(app, "GET", path, params={"reason": "looking", "to": str(other)}, **asked)
        assert (answer.status_code, answer.json()["code"]) == (403, "forbidden")
        assert "rows-about-people" in answer.json()["detail"]


@pytest.mark.parametrize(
    ("asked", "error"),
    [
        (("visits@1", "ward@1"), InputError),
        (("visits@1", "visits@9"), NotFoundError),
        (("visits@1", "visits@2", "none"), InputError),
        (("visits@1", "visits@2", "ward"), InputError),
    ],
)
def test_what_cannot_be_compared_gets_one_sentence(
    casemate: Casemate, visits: str, asked: tuple[str, ...], error: type[CasemateError]
) -> None:
    with pytest.raises(error, match=r"^[^\n]+$"):
        casemate.versions.diff(asked[0], asked[1], key=asked[2] if len(asked) > 2 else None)


def run(settings: Settings, *words: str) -> Any:
    environment = {"CASEMATE_HOME": str(settings.home), "CASEMATE_KEYS": str(settings.keys)}
    return CliRunner().invoke(cli, ["dataset", *words], env=environment)


@pytest.mark.slow
def test_the_command_says_it_in_a_table_and_as_json(settings: Settings, visits: str) -> None:
    said = run(settings, "diff", f"{visits}@1", f"{visits}@2", "--key", "id")
    assert said.exit_code == 0, said.output
    assert "column + ward" in said.output
    assert "3 -> 3: 1 added, 1 removed, 1 changed" in said.output
    found = json.loads(run(settings, "diff", f"{visits}@1", f"{visits}@2", "--json").stdout)
    assert found["rows"]["changed"] is None
