"""A dataset's versions screened, judged and set aside over the real console, by the real detectors in the sandbox."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow.parquet as pq
import pytest
from click.testing import CliRunner
from database_words import stored_bytes
from PIL import Image
from test_door import call

from casemate.cli import cli
from casemate.client import Casemate
from casemate.core import ConflictError, InputError, PolicyError
from casemate.settings import Settings

LIARS = 16  # rows whose label one contributor turned


def rows(*, lies: bool) -> str:
    """160 rows of two classes that part well; eve gave 16 of them."""
    rng = np.random.default_rng(3)
    lines = ["a,b,kind,who"]
    for place in range(160):
        label, eve = place % 2, place % 2 == 0 and place < 2 * LIARS
        a, b = rng.normal(6 * label), rng.normal(-6 * label)
        told = 1 - label if lies and eve else label
        lines.append(f"{a:.4f},{b:.4f},k{told},{'eve-of-the-desk' if eve else f'user{place % 7}'}")
    return "\n".join(lines) + "\n"


def run(settings: Settings, *words: str) -> Any:
    environment = {"CASEMATE_HOME": str(settings.home), "CASEMATE_KEYS": str(settings.keys)}
    return CliRunner().invoke(cli, ["dataset", *words], env=environment, catch_exceptions=False)


@pytest.fixture(scope="module")
def loans(casemate: Casemate, tmp_path_factory: pytest.TempPathFactory) -> str:
    """Screened since its first version; in its second eve lies."""
    folder = tmp_path_factory.mktemp("loans")
    (folder / "one.csv").write_text(rows(lies=False))
    (folder / "two.csv").write_text(rows(lies=True))
    casemate.push_dataset("loans", folder / "one.csv", target="kind")
    said = casemate.screenings.screen("loans", label="kind", contributor="who")
    assert said["screening"]["state"] == "clean", said
    pushed = casemate.push_dataset("loans", folder / "two.csv", target="kind")
    assert pushed["screening"]["state"] == "suspect", pushed
    return "loans"


def test_images_are_decoded_and_screened_behind_the_walls(casemate: Casemate, tmp_path: Path) -> None:
    rng = np.random.default_rng(5)
    for place in range(80):
        label = place % 2
        pixels = rng.integers(0, 60, (12, 12)).astype("uint8")
        pixels[:, 6 * label : 6 * label + 6] += 150
        folder = tmp_path / "photos" / ("right" if (label == 1) != (place == 8) else "left")  # one lies in the other's
        folder.mkdir(parents=True, exist_ok=True)
        Image.fromarray(pixels).save(folder / f"{place}.{'png' if place % 3 else 'jpg'}")
    casemate.push_dataset("photos", tmp_path / "photos", target="label")
    found = casemate.screenings.screen("photos@1", label="label")
    assert found["screening"]["rows"] == 80
    by_rule = {one["finding"]["id"]: one for one in casemate.screenings.report("photos@1")["suspicions"]}
    assert "unread-image" not in by_rule
    assert by_rule["label-error"]["count"] == 1


@pytest.mark.slow
def test_a_lying_contributor_is_found_at_push_and_set_aside(
    casemate: Casemate, loans: str, settings: Settings, tmp_path: Path
) -> None:
    found = casemate.screenings.report(f"{loans}@2")
    by_rule = {one["finding"]["id"]: one for one in found["suspicions"]}
    assert {one["contributor"] for one in by_rule["contributor-disagrees"]["suspects"]} == {"eve-of-the-desk"}
    assert b"eve-of-the-desk" not in stored_bytes(settings.home)
    entry = casemate.audit_entries(action="dataset:push", kind="outcome", limit=1)[0]
    assert "eve-of-the-desk" not in json.dumps(entry["facts"])

    (tmp_path / "train.py").write_text("raise SystemExit(0)\n")
    with pytest.raises(PolicyError) as refused:
        casemate.train(tmp_path / "train.py", dataset=f"{loans}@2", model="risk")
    assert refused.value.code == "data-suspect"
    assert "casemate dataset quarantine loans@2" in refused.value.message

    made = casemate.screenings.quarantine(f"{loans}@2", findings=["label-error"], reason="eve lied")
    assert (made["version"], made["from"], made["screening"]["state"]) == (3, 2, "clean")
    casemate.screenings.suspects(f"{loans}@3", tmp_path / "aside.parquet", reason="to look at them")
    aside = pq.read_table(tmp_path / "aside.parquet")
    assert aside.num_rows == made["aside"] >= LIARS - 2
    assert set(aside.column("who").to_pylist()) == {"eve-of-the-desk"}
    assert "casemate_row" in aside.column_names
    with pytest.raises(InputError, match="Say why"):
        casemate.screenings.suspects(f"{loans}@3", tmp_path / "again.parquet", reason="")
    assert casemate.audit_entries(action="dataset:export", limit=1)[0]["reason"] == "to look at them"


@pytest.mark.slow
def test_feedback_of_one_user_beyond_the_limit_waits_for_a_person(casemate: Casemate, tmp_path: Path) -> None:
    (tmp_path / "reports.csv").write_text(rows(lies=False))
    casemate.push_dataset("reports", tmp_path / "reports.csv", target="kind")
    with pytest.raises(InputError, match="name their column"):
        casemate.screenings.screen("reports", label="kind", feedback=20)
    found = casemate.screenings.screen("reports", label="kind", contributor="who", feedback=20)
    assert (found["screening"]["state"], found["screening"]["high"]) == ("suspect", ["feedback-over-limit"])
    (tmp_path / "train.py").write_text("raise SystemExit(0)\n")
    with pytest.raises(PolicyError, match="feedback-over-limit"):
        casemate.train(tmp_path / "train.py", dataset="reports", model="spam")
    made = casemate.screenings.quarantine("reports@1", findings=["feedback-over-limit"], reason="too many of one user")
    assert made["screening"]["state"] == "clean"
    again = casemate.push_dataset("reports", tmp_path / "reports.csv", target="kind")
    assert again["screening"]["state"] == "suspect"


def test_who_names_columns_may_read_rows(app, casemate: Casemate, tmp_path: Path) -> None:
    """A report says of single rows what stands in the column of contributors: whoever chose `a` would read it."""
    (tmp_path / "rows.csv").write_text(rows(lies=False))
    casemate.push_dataset("chosen", tmp_path / "rows.csv", target="kind")
    casemate.push_dataset("patients", tmp_path / "rows.csv", target="kind", data_class="health")
    keys = {
        role: casemate.issue_key(f"columns-{role}", role=role, expires="1h")["key"]
        for role in ("approver", "data-scientist")
    }

    def ask(role: str, name: str, **columns: str) -> Any:
        headers = {"Authorization": f"Bearer {keys[role]}"}
        return call(app, "POST", f"/api/v1/datasets/{name}/versions/1/screening", headers=headers, params=columns)

    chosen = {"label": "kind", "contributor": "a", "feedback": "1"}
    answer = ask("approver", "chosen", **chosen)
    assert (answer.status_code, answer.json()["code"]) == (403, "forbidden")
    assert "dataset:export" in answer.json()["detail"]
    answer = ask("data-scientist", "patients", **chosen)  # no service's key reads rows about people
    assert answer.status_code == 403
    assert "rows-about-people" in answer.json()["detail"]
    assert ask("data-scientist", "chosen", label="kind", contributor="who").status_code == 200
    assert ask("approver", "chosen").status_code == 200  # as it is kept


@pytest.mark.slow
def test_verdicts_are_a_second_persons(app, casemate: Casemate, loans: str, tmp_path: Path) -> None:
    report = casemate.screenings.report(f"{loans}@2")
    row = next(one for one in report["suspicions"] if one["finding"]["id"] == "label-error")["suspects"][0]["digest"]
    said = casemate.screenings.judge(f"{loans}@2", "poisoned", rule="label-error", rows=[row], reason="a lie")
    assert (said["count"], said["state"]) == (1, "suspect")

    key = casemate.issue_key("pusher", role="data-scientist", expires="1h")["key"]
    asked: dict[str, Any] = {"headers": {"Authorization": f"Bearer {key}"}, "params": {"reason": "mine"}}
    pushed = call(
        app,
        "POST",
        "/api/v1/datasets/mine/versions",
        headers=asked["headers"],
        params={"filename": "a.csv"},
        content=rows(lies=True).encode(),
    )
    assert pushed.status_code == 200, pushed.text
    body = b'{"judged": "poisoned"}'
    answer = call(app, "POST", "/api/v1/datasets/mine/versions/1/verdicts", content=body, **asked)
    assert (answer.status_code, answer.json()["code"]) == (403, "forbidden")
    assert "four-eyes-datasets" in answer.json()["detail"]
    answer = call(app, "DELETE", "/api/v1/datasets/loans/screening-settings", **asked)
    assert answer.status_code == 403
    assert casemate.screenings.judge("mine@1", "poisoned", reason="seen")["state"] == "suspect"


@pytest.mark.slow
def test_the_commands_say_it(settings: Settings, loans: str, tmp_path: Path, monkeypatch) -> None:
    said = run(settings, "screen", f"{loans}@2", "--json")
    assert said.exit_code == 1, said.output
    assert json.loads(said.stdout)["screening"]["state"] == "suspect"
    said = run(settings, "screening", f"{loans}@2")
    assert "eve-of-the-desk" in said.output
    with pytest.raises(ConflictError, match="keeps other settings"):
        run(settings, "screen", f"{loans}@2", "--label", "who")
    shown = json.loads(run(settings, "show", f"{loans}@2", "--json").stdout)
    assert shown["screening"]["state"] == "suspect"
    said = run(settings, "verdict", f"{loans}@2", "--judged", "fine", "--reason", "they are right", "--json")
    assert json.loads(said.stdout)["state"] == "approved"
    monkeypatch.chdir(tmp_path)
    (tmp_path / "loans").write_text(rows(lies=False))
    with pytest.raises(InputError, match=r"write \./loans"):
        run(settings, "screen", "loans", "--label", "kind")
