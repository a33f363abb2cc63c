"""An evaluation as Markdown and as a page: names of columns, classes and groups are text and nothing else."""

from __future__ import annotations

import html
import re
import xml.etree.ElementTree as ET

import pytest

from casemate.cli.evaluation_sheets import as_html, as_markdown, calibration_picture, slices_picture

BETWEEN = {"low": 0.4, "high": 0.9}
RESULT = {
    "name": "risk",
    "version": 3,
    "evaluation": {
        "state": "failed", "on": "held@1", "members": "seen@2", "label": "ill", "by": "usr_ben", "evaluations": 2,
        "at": "2026-11-24T12:00:00Z",
        "gates": [
            {"gate": "ece<=0.15", "metric": "ece", "found": 0.3, "passed": False, "stated": True},
            {"gate": "r2>=0.1", "metric": "r2", "found": None, "passed": None, "stated": False},
        ],
    },
    "report": {
        "rows": 500,
        "figures": {"accuracy": 0.91, "ece": 0.3},
        "calibration": [{"said": 0.6, "right": 0.5, "rows": 50}, {"said": 0.9, "right": 0.95, "rows": 50}],
        "slices": [{"column": "ward", "name": "b", "rows": 40, "metric": "accuracy", "value": 0.7, "interval": BETWEEN}],
        "groups": [
            {"column": "sex", "name": "f", "rows": 40, "selected": 0.5, "interval": BETWEEN, "true_positive": None,
             "false_positive": 0.1, "accuracy": 0.9}
        ],
        "leakage": {"membership": {"family": "random forest", "rates": {"membership_tpr_1pct": {"told": True}}}},
        "evasion": {"linf": {"0.1": 0.8}},
        "notes": ["n"],
        "skipped": ["s"],
    },
}  # fmt: skip
EVIL = [
    "<script>alert(1)</script>",
    "| a |\n|---|",
    "</text></svg><img src=x>",
    "[x](javascript:1)",
    "\x1b[2J",
    '"><b>',
]


@pytest.mark.parametrize("text", EVIL)
def test_what_a_dataset_names_is_no_markup(text: str) -> None:
    report = RESULT["report"]
    evil = {
        **RESULT,
        "report": {
            **report,
            "slices": [{**report["slices"][0], "column": text, "name": text}],
            "groups": [{**report["groups"][0], "column": text, "name": text}],
            "notes": [text],
            "skipped": [text],
        },
    }
    page, sheet = as_html(evil), as_markdown(evil)
    plain = as_html(RESULT)
    tags = re.compile(r"<\s*/?\s*[a-zA-Z][^>]*>")
    assert [t.split()[0] for t in tags.findall(page)] == [t.split()[0] for t in tags.findall(plain)]
    assert "\x1b" not in page + sheet
    assert sheet.count("\n|") == as_markdown(RESULT).count("\n|")
    assert not re.search(r"(?<!\\)<", sheet)
    assert html.unescape(page)


def test_the_sheets_tell_state_gates_and_figures() -> None:
    sheet = as_markdown(RESULT)
    assert "failed. 500 rows of held@1" in sheet
    assert "| ece\\<=0.15 | 0.3 | failed |" in sheet
    assert "| r2\\>=0.1 | - | not measured | default |" in sheet
    assert "| f | 40 | 0.5 | - | 0.1 | 0.9 |" in sheet


def test_the_pictures_are_well_formed_and_empty_without_figures() -> None:
    for picture in (calibration_picture(RESULT["report"]["calibration"]), slices_picture(RESULT["report"]["slices"])):
        drawn = ET.fromstring(picture[picture.index("<svg") :])
        assert drawn.findall("circle")
    errors = [{**RESULT["report"]["slices"][0], "metric": "mae", "value": 12.0, "interval": {"low": 9, "high": 20}}]
    assert "mae, 0 to 20" in slices_picture(errors)
    assert calibration_picture([]) == slices_picture([]) == ""
