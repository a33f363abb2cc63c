"""`casemate dataset personal`, `anonymize`, `reidentify` and `personal-key`, with the real sandbox."""

from __future__ import annotations

import errno
import json
from collections.abc import Iterator
from pathlib import Path

import pyarrow.parquet as pq
import pytest

from casemate.cli.personal_files import write_new
from casemate.core import InputError, StorageError
from casemate.privacy.second_opinion import is_installed

PEOPLE = "full_name,email,age,sex,illness,note\n" + "".join(
    f"{given} Smith,{given.lower()}{i}@example.org,{20 + i % 3},m,{'flu' if i % 2 else 'cold'},call {given} Smith on 212-555-01{i:02}\n"
    for i in range(30)
    for given in ("Ann", "Carlos")
)
POLICY = """
schema = 1
[measure]
quasi = ["age", "sex"]
sensitive = ["illness"]
l = 2
[columns.full_name]
treatment = "reversible"
[columns.email]
treatment = "pseudonym"
[columns.age]
treatment = "keep"
[columns.sex]
treatment = "keep"
[columns.illness]
treatment = "keep"
[columns.note]
treatment = "spans"
"""


@pytest.fixture
def table(tmp_path: Path) -> Path:
    path = tmp_path / "people.csv"
    path.write_text(PEOPLE)
    return path


def test_what_breaks_off_leaves_no_row_behind(tmp_path: Path) -> None:
    def rows() -> Iterator[bytes]:
        yield b"Ann Smith"
        raise OSError(errno.ENOSPC, "No space left on device")

    with pytest.raises(StorageError):
        write_new(tmp_path / "shown.parquet", rows())
    assert list(tmp_path.iterdir()) == []
    write_new(tmp_path / "shown.parquet", [b"Ann Smith"])
    with pytest.raises(InputError) as refused:
        write_new(tmp_path / "shown.parquet", [b"others"])
    assert refused.value.code == "exists"
    assert (tmp_path / "shown.parquet").read_bytes() == b"Ann Smith"
    assert (tmp_path / "shown.parquet").stat().st_mode & 0o777 == 0o600


def test_the_whole_way(run, table: Path, tmp_path: Path) -> None:
    proposal, key, reversible = (str(tmp_path / name) for name in ("policy.toml", "key", "reversible"))
    out, _ = run("dataset", "personal", str(table), "--proposal", proposal, "--json", code=1)
    report = json.loads(out)
    assert {c["name"]: c["treatment"] for c in report["columns"]}["note"] == "spans"
    assert "Smith" not in out
    assert "example.org" not in out
    assert report["proposed"] == "health"
    run("dataset", "personal", str(table), "--data-class", "health", code=0)

    assert json.loads(run("dataset", "personal", str(table), "--proposal", proposal, "--json")[0])["code"] == "exists"
    run("dataset", "personal-key", key, code=0)
    run("dataset", "personal-key", reversible, "--reversible", code=0)
    (tmp_path / "own.toml").write_text(POLICY)
    made, back = tmp_path / "made.parquet", tmp_path / "back.parquet"
    words = ["dataset", "anonymize", str(table), "--policy", str(tmp_path / "own.toml"), "--out", str(made), "--json"]
    assert json.loads(run(*words)[0])["code"] == "personal-key"
    out, _ = run(*words, "--key", key, "--reversible-key", reversible, code=0)
    done = json.loads(out)
    assert done["after"]["k"] == 20
    rows = pq.read_table(made).to_pylist()
    assert {row["note"] for row in rows} == {"call [name] on [phone]"}
    assert (made.stat().st_mode & 0o777) == 0o600
    assert json.loads(run(*words, "--key", key, "--reversible-key", reversible)[0])["code"] == "exists"

    again = ["dataset", "reidentify", str(made), "--column", "full_name", "--out", str(back), "--json"]
    assert json.loads(run(*again, "--reversible-key", key)[0])["code"] == "personal-key"
    run(*again, "--reversible-key", reversible, code=0)
    assert set(pq.read_table(back).column("full_name").to_pylist()) == {"Ann Smith", "Carlos Smith"}


def test_what_is_left_is_refused_and_nothing_is_written(run, table: Path, tmp_path: Path) -> None:
    (tmp_path / "p.toml").write_text('others = "keep"')
    made = tmp_path / "made.parquet"
    out, _ = run(
        "dataset", "anonymize", str(table), "--policy", str(tmp_path / "p.toml"), "--out", str(made), "--json", code=1
    )
    assert {f["location"] for f in json.loads(out)["findings"]} >= {"full_name", "email", "note"}
    assert not made.exists()


def test_a_push_is_looked_at_where_the_settings_say_so(run, table: Path) -> None:
    words = ["dataset", "push", "people", str(table), "--json"]
    out, _ = run(*words, code=1, CASEMATE_PERSONAL_DATA="refuse")
    refused = json.loads(out)
    assert refused["verdict"] == "refused"
    assert {f["id"] for f in refused["findings"]} >= {"personal-data"}
    assert "--data-class" in refused["findings"][0]["remediation"]
    assert json.loads(run("dataset", "list", "--json", code=0)[0]) == []

    covered = [*words, "--data-class", "health"]
    refused = json.loads(run(*covered, code=1, CASEMATE_PERSONAL_DATA="refuse")[0])
    assert [f["id"] for f in refused["findings"] if f["severity"] == "high"] == ["personal-without-purpose"]
    out, _ = run(*covered, "--purpose", "care", code=0, CASEMATE_PERSONAL_DATA="refuse")
    assert json.loads(out)["verdict"] == "clean"
    shown = json.loads(run("dataset", "show", "people", "--json", code=0)[0])
    assert shown["personal"]["proposed"] == "health"
    assert shown["personal"]["columns"]["email"] == ["email"]
    assert "Smith" not in json.dumps(shown["personal"])

    out, _ = run("dataset", "push", "told", str(table), "--json", code=0, CASEMATE_PERSONAL_DATA="tell")
    assert json.loads(out)["verdict"] == "clean"
    assert json.loads(out)["findings"]


@pytest.mark.parametrize(
    ("words", "code"),
    [
        (["personal", "/nowhere.csv"], "no-file"),
        (["personal", "FILE", "--region", "Atlantis"], "personal-region"),
        (["anonymize", "FILE", "--policy", "/nowhere.toml", "--out", "/nowhere/x"], "no-file"),
        (["reidentify", "FILE", "--column", "c", "--reversible-key", "/nowhere", "--out", "/nowhere/x"], "no-file"),
        (["personal-key", "/nowhere/key"], "no-file"),
    ],
)
def test_bad_input_gets_one_sentence(run, table: Path, words: list[str], code: str) -> None:
    out, _ = run("dataset", *[str(table) if word == "FILE" else word for word in words], "--json")
    assert json.loads(out)["code"] == code


@pytest.mark.slow
@pytest.mark.skipif(not is_installed(), reason="casemate[presidio] is not installed")
def test_presidio_is_a_second_opinion_in_the_sandbox(run, tmp_path: Path) -> None:
    path = tmp_path / "notes.csv"
    path.write_text("note,x\n" + "".join(f"In the evening Casillas came home to eat with us {i},1\n" for i in range(5)))
    alone = json.loads(run("dataset", "personal", str(path), "--json", code=0)[0])
    both = json.loads(run("dataset", "personal", str(path), "--second-opinion", "--json", code=1)[0])
    assert not alone["columns"][0]["kinds"]
    assert both["columns"][0]["kinds"][0]["by"] == ["presidio"]
    assert both["skipped"] == []
