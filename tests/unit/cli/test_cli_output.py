"""Text from outside reaches a terminal as text: nothing in it moves the cursor, recolours, or starts a line."""

from __future__ import annotations

import json
from pathlib import Path

import pytest
from tiny_models import doubling_model

from casemate.cli import output
from casemate.core import Event, PolicyError

STEERING = "\x1b[2J\x1b]0;owned\x07\r\x9b31m\x00\u202e\u2028[bold]x[/bold][/x]:smile:"
FINDING = {"severity": "high", "id": STEERING, "title": STEERING, "evidence": STEERING, "remediation": STEERING}


def failed() -> None:
    with pytest.raises(SystemExit):
        output.fail(PolicyError(STEERING, code=STEERING), as_json=False)


@pytest.mark.parametrize(
    "shown",
    [
        lambda: output.table([{"a": STEERING}], {"a": "a"}, empty=""),
        lambda: output.facts({"a": STEERING, STEERING: [STEERING]}),
        lambda: output.tree({"a": STEERING, "from": [{STEERING: STEERING}]}),
        lambda: output.findings([FINDING]),
        lambda: output.verdict({"verdict": "clean", "findings": [FINDING]}, False, STEERING),
        lambda: output.verdict(
            {"verdict": "clean", "findings": [], "blocked": [{"kind": STEERING, "target": STEERING}]}, False, ""
        ),
        lambda: output.say(STEERING),
        lambda: output.people.print(STEERING, markup=False),
        failed,
    ],
    ids=["table", "facts", "tree", "findings", "verdict", "blocked", "say", "people", "fail"],
)
def test_nothing_printed_steers_the_terminal(capsys: pytest.CaptureFixture[str], shown) -> None:
    shown()
    said = "".join(capsys.readouterr())
    assert "owned" in said.replace("\n", "")
    assert [c for c in said if not c.isprintable() and c != "\n"] == []
    assert "\\x1b" in said.replace("\n", "")
    assert "[/x]:smile:" in said.replace("\n", "")


@pytest.mark.parametrize(
    ("location", "title", "said"),
    [
        ("age", "Infinite values", "Infinite values in age: 3"),
        ("age", "Infinite age", "Infinite age: 3"),
        (None, "x", "x: 3"),
    ],
)
def test_a_finding_says_where(capsys: pytest.CaptureFixture[str], location: str | None, title: str, said: str) -> None:
    found = {
        "severity": "low",
        "id": "a",
        "title": title,
        "evidence": "3",
        "remediation": "mend it",
        "location": location,
    }
    output.findings([found])
    assert said in capsys.readouterr().out


def test_a_line_break_in_a_value_starts_no_line_of_ours(capsys: pytest.CaptureFixture[str]) -> None:
    output.facts({"reason": "fine\nverified  True"})
    assert capsys.readouterr().out.count("\n") == 1


def test_a_reason_in_the_log_is_shown_as_it_was_written(run) -> None:
    run("dataset", "delete", "none@1", "--reason", STEERING)
    out, _ = run("audit", "log", code=0)
    assert [c for c in out if not c.isprintable() and c != "\n"] == []
    assert "owned" in out.replace("\n", "").replace(" ", "")


DIGEST = "sha256:" + "0123456789abcdef" * 4


def test_a_table_in_a_pipe_is_never_wrapped_and_shortens_digests(capsys: pytest.CaptureFixture[str]) -> None:
    row = {"id": "key_" + "0" * 32, "digest": DIGEST, "at": "2026-01-31T00:00:00.123456Z", "reason": "r" * 400}
    output.table([row], {key: key for key in row}, empty="")
    assert capsys.readouterr().out.splitlines()[1].split() == [
        row["id"],
        "sha256:0123456789ab",
        "2026-01-31T00:00:00Z",
        row["reason"],
    ]


def test_what_a_script_printed_is_shown(capsys: pytest.CaptureFixture[str]) -> None:
    log = "".join(f"line {number}\n" for number in range(100)) + "accuracy 0.93\n"
    output.verdict({"verdict": "clean", "findings": [], "log": log}, False, "risk@1")
    lines = capsys.readouterr().out.splitlines()
    assert lines[-2] == "  | accuracy 0.93"
    assert "  | line 0" not in lines


def test_a_key_says_what_it_reaches(run) -> None:
    _, err = run("key", "issue", "web", "--role", "caller", code=0)
    assert "reaches every deployment" in err
    _, err = run("key", "issue", "web", "--role", "caller", "--deployment", "none", code=0)
    assert "There is no deployment 'none' yet" in err


def test_a_deployment_without_a_server_says_when_it_will_serve(run, tmp_path: Path) -> None:
    (tmp_path / "model.onnx").write_bytes(doubling_model(2.0))
    run("model", "push", "double", str(tmp_path / "model.onnx"), code=0)
    run("model", "approve", "double@1", code=0)
    out, _ = run("deploy", "twice", "double@1", code=0)
    assert out == "twice is verified, and will serve when `casemate up` runs: version 1.\n"
    assert run("deployment", "pause", "twice", code=0)[0] == "twice is paused, at version 1.\n"
    assert run("deployment", "resume", "twice", code=0)[0] == "twice is resumed, at version 1.\n"


def test_a_checkpoint_that_does_not_fit_is_a_problem_without_an_entry(run, tmp_path: Path) -> None:
    run("dataset", "list", code=0)
    (tmp_path / "kept").write_text("casemate.dev/other\n9\nAAAA\n\n\u2014 casemate.dev/other AAAA\n")
    _, err = run("audit", "verify", "--against", str(tmp_path / "kept"), code=1)
    assert "the checkpoint that you gave" in err
    assert "None" not in err


def test_a_sheet_too_wide_for_the_screen_becomes_blocks(
    capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    columns = {key: key for key in ("name", "state", "id")}
    rows = [{"name": "diagnosis", "state": "serving", "id": f"key_{'0' * 31}{number}"} for number in (1, 2)]
    monkeypatch.setattr(output._tables, "_force_terminal", True)
    monkeypatch.setattr(output._tables, "no_color", True)
    monkeypatch.setattr(output._tables, "_color_system", None)
    for width in (20, 40):
        monkeypatch.setattr(output._tables, "_width", width)
        output.table(rows, columns, empty="")
        said = capsys.readouterr().out
        assert said.split("\n\n")[0].splitlines() == ["name diagnosis", "state serving", f"id key_{'0' * 31}1"]
    monkeypatch.setattr(output._tables, "_width", 80)
    output.table(rows, columns, empty="")
    assert len(capsys.readouterr().out.splitlines()) == 3


def test_every_entry_of_the_log_has_all_members(run) -> None:
    run("key", "list", code=0)
    rows = json.loads(run("audit", "log", "--json", code=0)[0])
    members = {"seq", *Event.__struct_fields__}
    assert {frozenset(row) for row in rows} == {frozenset(members)}


def test_a_refusal_says_so_once(capsys: pytest.CaptureFixture[str]) -> None:
    with pytest.raises(SystemExit):
        output.fail(PolicyError("Refused: no grant covers it."), as_json=False)
    assert capsys.readouterr().err.count("Refused") == 1
