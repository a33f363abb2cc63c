"""A version evaluated over the real console: trained here, measured in the sandbox on held-back rows, judged, and on record."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest
from click.testing import CliRunner
from sklearn.datasets import load_breast_cancer
from test_door import call

from casemate.cli import cli
from casemate.client import Casemate
from casemate.core import InputError
from casemate.settings import Settings

SCRIPT = Path(__file__).parents[3] / "examples" / "train_diagnosis.py"


def csv(start: int, stop: int) -> str:
    data = load_breast_cancer()
    names = [name.replace(" ", "_") for name in data.feature_names]
    lines = [",".join([*names, "desk", "ill"])]
    for place in range(start, stop):
        desk = "north" if data.data[place][1] > 19 else "south"
        lines.append(",".join([*map(str, data.data[place]), desk, str(data.target[place])]))
    return "\n".join(lines) + "\n"


@pytest.fixture(scope="module")
def model(casemate: Casemate, tmp_path_factory: pytest.TempPathFactory) -> str:
    folder = tmp_path_factory.mktemp("evaluated")
    for name, text in (("seen", csv(0, 300)), ("held", csv(300, 569))):
        (folder / f"{name}.csv").write_text(text)
    rows = "\n".join(",".join(line.split(",")[:30] + line.split(",")[31:]) for line in csv(0, 300).splitlines())
    (folder / "seen.csv").write_text(rows + "\n")
    casemate.push_dataset("seen", folder / "seen.csv", target="ill")
    casemate.push_dataset("held", folder / "held.csv", target="ill")
    made = casemate.train(SCRIPT, dataset="seen", model="measured")
    assert made["verdict"] == "clean", made
    return "measured"


@pytest.fixture
def run(settings: Settings) -> Any:
    environment = {"CASEMATE_HOME": str(settings.home), "CASEMATE_KEYS": str(settings.keys)}
    return lambda *words: CliRunner().invoke(cli, ["model", *map(str, words)], env=environment)


def test_a_trained_version_is_measured_signed_and_shown(
    casemate: Casemate, model: str, run: Any, tmp_path: Path
) -> None:
    assert casemate.model(model)["evaluation"] == {"state": "not-evaluated"}
    page = tmp_path / "page.html"
    asked = ("--on", "held", "--label", "ill", "--slice", "desk", "--format", "html", "--out", page)
    done = run("evaluate", model, *asked, "--json")
    result = json.loads(done.stdout)
    figures = result["report"]["figures"]
    assert figures["accuracy"] > 0.9, figures
    assert figures["overlap"] == 0
    assert (result["evaluation"]["on"], result["evaluation"]["members"]) == ("held@1", "seen@1")
    assert done.exit_code == (0 if result["evaluation"]["state"] == "passed" else 1)
    assert {one["name"] for one in result["report"]["slices"]} == {"north", "south"}
    text = page.read_text()
    assert "<svg" in text
    assert "<script" not in text
    assert casemate.model(model)["evaluation"]["figures"] == figures
    assert casemate.evaluations.report(model)["report"] == result["report"]
    assert "accuracy" in run("evaluation", model).output
    assert "| accuracy |" in run("evaluation", model, "--format", "markdown").output
    assert casemate.verify_models(f"{model}@1")["ok"]
    entry = casemate.audit_entries(action="model:evaluate", limit=1)[0]
    assert (entry["facts"]["dataset"], entry["facts"]["answer"]["state"]) == ("held@1", result["state"])
    assert "north" not in json.dumps(entry)


def test_training_rows_are_told_and_do_not_pass(casemate: Casemate, model: str) -> None:
    result = casemate.evaluations.evaluate(model, on="seen", label="ill")
    assert result["report"]["figures"]["overlap"] == 1
    assert result["state"] == "failed"
    assert next(one["gate"] for one in result["evaluation"]["gates"] if one["passed"] is False) == "overlap<=0.05"


@pytest.mark.parametrize(
    ("asked", "code", "word"),
    [
        ({"on": "held", "label": "nothing"}, "evaluate-columns", "its columns are mean_radius"),
        ({"on": "held", "label": "ill", "slices": ["nothing"]}, "evaluate-columns", "no column 'nothing'"),
        ({"on": "held", "label": "ill", "groups": ["desk"], "positive": "2"}, "evaluate-columns", "--positive"),
        ({"on": "held", "label": "mean_area"}, "evaluate-columns", "tells 2 classes apart"),
        ({"on": "held", "label": "ill", "sensitive": ["desk"]}, "evaluate-columns", "does not take 'desk'"),
    ],
)
def test_what_cannot_be_measured_is_one_sentence(
    casemate: Casemate, model: str, asked: dict, code: str, word: str
) -> None:
    with pytest.raises(InputError, match=word) as refused:
        casemate.evaluations.evaluate(model, **asked)
    assert refused.value.code == code


def test_gates_are_an_owners_and_are_on_record(app, casemate: Casemate, model: str, run: Any) -> None:
    shown = run("gates", model).output
    assert "overlap<=0.05" in shown
    key = casemate.issue_key("scientist", role="data-scientist", expires="1h")["key"]
    asked = {"headers": {"Authorization": f"Bearer {key}"}, "params": {"gate": "ece<=1", "reason": "mine"}}
    assert call(app, "PUT", f"/api/v1/models/{model}/gates", **asked).status_code == 403
    assert call(app, "POST", f"/api/v1/models/{model}/versions/1/gate-exception", **asked).status_code == 403
    assert call(app, "GET", f"/api/v1/models/{model}/gates", headers=asked["headers"]).status_code == 200
    done = run("gates", model, "--set", "auc>=0.5", "--on", "held", "--reason", "the board", "--json")
    assert json.loads(done.stdout)["stated"] == ["auc>=0.5"]
    done = run("gates", model, "--on", "", "--reason", "any", "--json")
    assert json.loads(done.stdout)["on"] == ""
    with pytest.raises(InputError):
        casemate.evaluations.set_gates(model, ["auc>=0.6"], reason="")
    assert run("except", f"{model}@1", "--reason", "a pilot").exit_code == 0
    assert casemate.model(model)["evaluation"]["exception"]["reason"] == "a pilot"
    casemate.evaluations.except_version(f"{model}@1", reason="over", ended=True)


@pytest.mark.slow
def test_a_fingerprint_tells_its_own_version_and_not_another(
    casemate: Casemate, model: str, run: Any, tmp_path: Path
) -> None:
    file, queries = tmp_path / "risk.fingerprint", tmp_path / "queries.csv"
    made = json.loads(run("fingerprint", model, "--on", "held", "--label", "ill", "--out", file, "--json").stdout)
    assert file.stat().st_mode & 0o777 == 0o600
    assert getattr(run("fingerprint", model, "--on", "held", "--label", "ill", "--out", file).exception, "code", None)
    own = run("claim", file, "--against", f"{model}@1", "--json")
    told = json.loads(own.stdout)
    assert (own.exit_code, told["copy"], told["agree"], told["of"]) == (1, True, 200, 200)
    assert told["fingerprint"] == made["fingerprint"]
    assert told["on_record"]
    without_desk = [",".join(line.split(",")[:30] + line.split(",")[31:]) for line in csv(300, 569).splitlines()]
    (tmp_path / "rest.csv").write_text("\n".join(without_desk) + "\n")
    casemate.push_dataset("rest", tmp_path / "rest.csv", target="ill")
    other = casemate.train(SCRIPT, dataset="rest", model="another")
    assert other["verdict"] == "clean"
    told = json.loads(run("claim", file, "--against", "another@1", "--json").stdout)
    assert told["agree"] < 200
    assert run("claim", file, "--queries", queries).exit_code == 0
    assert len(queries.read_text().splitlines()) == 201
    answers = tmp_path / "answers.txt"
    answers.write_text("\n".join(json.loads(file.read_text())["answers"]) + "\n")
    assert run("claim", file, "--against", answers).exit_code == 1
    answers.write_text("1\n" * 200)
    assert run("claim", file, "--against", answers).exit_code == 0
    entry = casemate.audit_entries(action="model:export", limit=1)[0]
    assert entry["facts"]["answer"]["fingerprint"] == made["fingerprint"]
    assert json.loads(file.read_text())["key"] not in json.dumps(casemate.audit_entries(limit=20))
