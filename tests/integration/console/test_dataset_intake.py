"""What comes in beside files of rows, what is said of it, and what is shown: over the real console and the real walls."""

from __future__ import annotations

import json
import sqlite3
from pathlib import Path
from typing import Any

import pyarrow.parquet as pq
import pytest
from click.testing import CliRunner
from tables_of_kinds import png
from test_door import call

from casemate.cli import cli
from casemate.client import Casemate, answers
from casemate.core import InputError, UpstreamError
from casemate.settings import Settings

SECRET = "Maria-of-the-second-row"


@pytest.fixture(scope="module")
def people(casemate: Casemate, tmp_path_factory: pytest.TempPathFactory) -> str:
    file = tmp_path_factory.mktemp("people") / "rows.csv"
    file.write_text(f"id,name,born,mail\n17,Ann Lee,1990-02-03,ann@lee.org\n1234,{SECRET},,\n")
    casemate.push_dataset("people", file)
    return "people"


def run(settings: Settings, *words: str) -> Any:
    environment = {"CASEMATE_HOME": str(settings.home), "CASEMATE_KEYS": str(settings.keys)}
    return CliRunner().invoke(cli, ["dataset", *words], env=environment)


def test_a_preview_is_masked(casemate: Casemate, people: str) -> None:
    found = casemate.versions.preview(people)
    assert found["masked"]
    assert found["rows"][0] == {"id": "99", "name": "A… A…", "born": "9999-99-99", "mail": "a…@a….a…"}
    assert found["rows"][1] == {"id": "9999", "name": "A…-a…-a…-a…-a…", "born": None, "mail": None}
    assert (found["of"], [column["type"] for column in found["columns"]]) == (2, ["int64", "string", "date", "string"])
    assert casemate.audit_entries(action="dataset:read", limit=1)[0]["facts"]["version"] == 1


def test_rows_are_revealed_for_a_reason_that_is_on_record(app, casemate: Casemate, people: str) -> None:
    with pytest.raises(InputError, match="Say why"):
        casemate.versions.preview(people, reveal=True)
    found = casemate.versions.preview(people, rows=2, reveal=True, reason="a customer asks")
    assert (found["masked"], found["rows"][1]["name"]) == (False, SECRET)
    assert casemate.audit_entries(action="dataset:export", limit=1)[0]["reason"] == "a customer asks"
    key = casemate.issue_key("looks", role="auditor", expires="1h")["key"]
    asked: dict[str, Any] = {"headers": {"Authorization": f"Bearer {key}"}, "params": {"reason": "looking"}}
    path = f"/api/v1/datasets/{people}/versions/1/preview"
    assert call(app, "GET", path, **asked).status_code == 200
    assert call(app, "GET", path + "/rows", **asked).status_code == 403


@pytest.mark.parametrize("rows", [0, 101])
def test_a_preview_is_short(casemate: Casemate, people: str, rows: int) -> None:
    with pytest.raises(InputError, match="1 to 100"):
        casemate.versions.preview(people, rows=rows)


def test_a_folder_and_a_query_come_in(
    casemate: Casemate, settings: Settings, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    (tmp_path / "pets" / "cat").mkdir(parents=True)
    (tmp_path / "pets" / "cat" / "one.png").write_bytes(png(3, 2))
    casemate.push_dataset("pets", tmp_path / "pets", target="label")
    shown = casemate.dataset("pets")
    assert [(column["name"], column["type"]) for column in shown["columns"]][2:4] == [
        ("image", "image"),
        ("width", "int64"),
    ]
    assert casemate.versions.preview("pets")["rows"][0]["image"].startswith("PNG, ")
    database = sqlite3.connect(tmp_path / "shop.db")
    database.execute("CREATE TABLE sales (item, price)")
    database.execute("INSERT INTO sales VALUES ('pear', 1.5), ('fig', 2)")
    database.commit()
    database.close()
    monkeypatch.setenv("SHOP", f"sqlite:///{tmp_path / 'shop.db'}")
    pushed = run(settings, "push", "sales", "--sql", "SELECT * FROM sales", "--from", "env://SHOP", "--json")
    assert json.loads(pushed.stdout)["version"] == 1
    casemate.pull_dataset("sales", tmp_path / "rows.parquet")
    assert pq.read_table(tmp_path / "rows.parquet").to_pydict() == {"item": ["pear", "fig"], "price": [1.5, 2.0]}


def test_a_datasheet_is_written_pushed_and_shown(casemate: Casemate, settings: Settings, tmp_path: Path) -> None:
    (tmp_path / "rows.csv").write_text('age,"odd | <b>"\n1,2\n')
    assert run(settings, "datasheet", "--template", str(tmp_path / "empty.toml")).exit_code == 0
    assert run(settings, "datasheet", "--template", str(tmp_path / "empty.toml")).exit_code == 2  # it is there
    sheet = (tmp_path / "empty.toml").read_text().replace('origin = ""', 'origin = "ward | <i>7</i>"')
    sheet = sheet.replace('data_class = ""', 'data_class = "personal"') + 'age = "to know who is old"\n'
    (tmp_path / "sheet.toml").write_text(sheet)
    words = ("push", "sheeted", str(tmp_path / "rows.csv"), "--datasheet", str(tmp_path / "sheet.toml"), "--json")
    assert json.loads(run(settings, *words).stdout)["version"] == 1
    shown = casemate.dataset("sheeted")
    assert (shown["data_class"], shown["datasheet"]["columns"]["age"]) == ("personal", "to know who is old")
    assert shown["datasheet"]["missing"] == ["owner", "licence", "purpose", "collection", "columns.odd | <b>"]
    for name, words_in in (("page.html", "ward | &lt;i&gt;7"), ("page.md", "ward \\| \\<i\\>7")):
        assert run(settings, "datasheet", "sheeted", "--to", str(tmp_path / name)).exit_code == 0
        assert words_in in (tmp_path / name).read_text()
        assert "<b>" not in (tmp_path / name).read_text().replace("\\<b\\>", "")
    again = tmp_path / "again.toml"
    assert run(settings, "datasheet", "sheeted", "--template", str(again)).exit_code == 0
    assert 'age = "to know who is old"' in again.read_text().replace('"age"', "age")
    (tmp_path / "typo.toml").write_text('[columns]\nnone = "x"\n')
    with pytest.raises(InputError, match="'none'"):
        casemate.push_dataset("sheeted", tmp_path / "rows.csv", sheet={"columns": {"none": "x"}})
    with pytest.raises(InputError, match="template"):
        casemate.push_dataset("sheeted", tmp_path / "rows.csv", sheet={"columns": 3})


def test_a_pull_writes_through_no_link_that_somebody_laid(casemate: Casemate, people: str, tmp_path: Path) -> None:
    """In a folder that others may write to, the names of what is kept beside can be foreseen."""
    mine = tmp_path / "mine"
    mine.write_text("precious")
    for name in (".rows.parquet.casemate-part", ".rows.parquet.casemate-part-of"):
        (tmp_path / name).symlink_to(mine)
    to = casemate.pull_dataset(people, tmp_path / "rows.parquet")
    assert mine.read_text() == "precious"
    assert sorted(path.name for path in tmp_path.iterdir()) == ["mine", "rows.parquet"]
    assert not to.is_symlink()
    (tmp_path / ".rows.parquet.casemate-part-of").symlink_to(tmp_path / "gone")
    casemate.pull_dataset(people, tmp_path / "rows.parquet")
    assert not (tmp_path / "gone").exists()


def test_a_pull_goes_on_where_it_broke_off(
    casemate: Casemate, people: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    to = casemate.pull_dataset(people, tmp_path / "whole.parquet")
    starts: list[str] = []
    asked = answers.Download._ask

    def counted(self: answers.Download) -> bool:
        starts.append(str(self._query.get("start", "0")))
        return asked(self)

    monkeypatch.setattr(answers.Download, "_ask", counted)

    left = iter([True])

    def breaks_once(_: int, __: int) -> None:
        if next(left, False):
            raise UpstreamError("The answer broke off: ask again.", code="cut-off")

    broken = tmp_path / "broken.parquet"
    casemate.pull_dataset(people, broken, progress=breaks_once)
    assert broken.read_bytes() == to.read_bytes()
    assert starts[0] == "0"
    assert int(starts[1]) == len(to.read_bytes())
    assert sorted(path.name for path in tmp_path.iterdir()) == ["broken.parquet", "whole.parquet"]
    part = tmp_path / ".other.parquet.casemate-part"
    part.write_bytes(b"what another version left")
    part.chmod(0o600)
    (tmp_path / (part.name + "-of")).write_text("sha256:" + "0" * 64)
    assert casemate.pull_dataset(people, tmp_path / "other.parquet").read_bytes() == to.read_bytes()
    assert not part.exists()
