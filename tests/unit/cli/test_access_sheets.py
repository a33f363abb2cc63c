"""The access report as CSV and HTML: whoever wrote a reason cannot reach the spreadsheet, the page or the terminal."""

import csv
import io
import re
from html.parser import HTMLParser

import pytest
from hypothesis import given
from hypothesis import strategies as st

from casemate.cli.access_sheets import COLUMNS, as_csv, as_html, short
from casemate.cli.output import visible

ROW = {
    **dict.fromkeys(COLUMNS, ""),
    "name": "web",
    "principal": "svc_1",
    "credential": "key_1",
    "role": "caller",
    "scope": "deployment:thing",
    "environment": None,
    "since": "2026-01-01T00:00:00.000000Z",
    "until": "2026-02-01T00:00:00.000000Z",
    "granted_by_name": "local",
    "last_used": None,
    "state": "active",
}
EVIL = [
    '=HYPERLINK("http://x","y")', "+1+cmd|' /C calc'!A0", "-2+3", "@SUM(A1)", "\t=1", "\r=1", "\n=1", " =1",
    "ok;=1+1", 'ok";=1', "ok,=1", "ok\n=1", "\uff1d1", "\u00a0=1", "\u200b=1", "|calc", "%0A=1",
]  # fmt: skip


def cells(text: str) -> list[str]:
    (_, row) = csv.reader(io.StringIO(as_csv([{**ROW, "reason": text}])))
    return row


@pytest.mark.parametrize("text", EVIL)
def test_no_cell_is_a_formula(text: str) -> None:
    cell = cells(text)[COLUMNS.index("reason")]
    for piece in re.split(r"[;,\t\r\n]", cell):
        assert not re.match(r"""["\s]*[=+\-@|%\uff1d]""", piece), cell


@given(st.text())
def test_any_reason_is_one_cell_of_one_line_and_no_formula(text: str) -> None:
    row = cells(text)
    assert len(row) == len(COLUMNS)
    cell = row[COLUMNS.index("reason")]
    assert not re.match(r"\s*[=+\-@]", cell)
    assert as_csv([{**ROW, "reason": text}]).count("\r\n") == 2
    assert all(one.isprintable() for one in cell)


def test_a_harmless_reason_stays_as_it_is() -> None:
    for text in ("yearly, as agreed", "a-b = c + d", "for o'brien@example.org", "3 - 2"):
        assert cells(text)[COLUMNS.index("reason")] == text


def test_what_never_was_used_or_ends_says_never() -> None:
    (_, row) = csv.reader(io.StringIO(as_csv([{**ROW, "until": None}])))
    assert [row[COLUMNS.index(name)] for name in ("until", "last_used", "environment")] == ["never", "never", ""]
    assert short({**ROW, "until": None})["granted"] == "2026-01-01 00:00Z by local, ends never"


SHOWN = sorted(set(COLUMNS) - {"kind", "project", "since", "until", "last_used"})  # as written, on the page


class Elements(HTMLParser):
    def __init__(self) -> None:
        super().__init__()
        self.tags: list[str] = []
        self.attributes: list[tuple[str, str | None]] = []
        self.said = ""

    def handle_starttag(self, tag: str, attrs: list) -> None:
        self.tags.append(tag)
        self.attributes += attrs

    def handle_data(self, data: str) -> None:
        self.said += data


def parsed(**change: str) -> Elements:
    page = Elements()
    page.feed(as_html([{**ROW, **change}]))
    return page


@given(st.text(), st.sampled_from(SHOWN))
def test_no_text_becomes_an_element_of_the_page(text: str, column: str) -> None:
    plain = parsed(**{column: "x"})
    hostile = parsed(**{column: text + "<script>alert(1)</script>\"' onload=x"})
    assert [tag for tag in hostile.tags if tag not in ("small", "b")] == [
        tag for tag in plain.tags if tag not in ("small", "b")
    ]
    assert "onload" not in dict(hostile.attributes)
    assert "alert(1)" in hostile.said


def test_the_page_brings_nothing_from_elsewhere_and_is_readable_in_the_dark() -> None:
    page = as_html([ROW])
    assert not re.search(r"<script|<link|<img|url\(|@import|https?:", page)
    assert "default-src 'none'" in page
    assert "color-scheme:light dark" in page
    assert "prefers-color-scheme:dark" in page


def test_nothing_steers_the_terminal() -> None:
    assert visible("a\x1b[31mb\nc\u202ed") == "a\\x1b[31mb\\nc\\u202ed"
