"""A card as Markdown and as a page: what people wrote is text and nothing else."""

from __future__ import annotations

import html
import re

import pytest

from casemate.cli.card_sheets import as_html, as_markdown

CARD = {
    "name": "risk",
    "version": 1,
    "digest": "sha256:" + "a" * 64,
    "data_class": "internal",
    "pushed_by": "usr_ana",
    "pushed_at": "2026-11-24T12:00:00.000000Z",
    "format": "onnx",
    "inputs": [{"name": "X", "datatype": "FP32", "shape": [-1, 2]}],
    "outputs": [],
    "files": {"model.onnx": {"digest": "sha256:" + "b" * 64, "size": 10}},
    "described": {"intended_use": "Sorts.", "metrics": [{"name": "accuracy", "value": 0.97}]},
    "described_by": "usr_ben",
    "described_at": "2026-11-24T12:00:00.000000Z",
    "missing": ["owner"],
    "complete": False,
    "made_from": [
        {"kind": "script", "digest": "sha256:" + "c" * 64, "parameters": {}},
        {"kind": "outside training", "signer": "ci", "digest": "sha256:" + "d" * 64},
        {"kind": "stated dataset", "name": "<b>visits</b>", "digest": "sha256:" + "e" * 64},
    ],
    "provenance": {"witness": "outside", "text": "Trained elsewhere, as ci signed (CN=x, certificate)."},
    "environment": None,
    "scan": {"verdict": "clean", "findings": [], "scanned_at": "2026-11-24T12:00:00.000000Z"},
    "evaluation": {
        "state": "passed",
        "on": "held@1",
        "rows": 500,
        "figures": {"auc": 0.9},
        "at": "2026-11-24T12:00:00Z",
    },
    "approvals": [],
    "revoked": False,
}
EVIL = [
    "<script>alert(1)</script>",
    "![x](http://evil/?q=1)",
    "[click](javascript:alert(1))",
    "| a | b |\n|---|---|",
    "# heading\n## other",
    "</td></table><img src=x onerror=alert(1)>",
    "`code` **bold** _it_",
    "\x1b[2J",
]


@pytest.mark.parametrize("text", EVIL)
@pytest.mark.parametrize("field", ["intended_use", "limits", "owner"])
def test_what_people_wrote_is_no_markup(text: str, field: str) -> None:
    card = {**CARD, "described": {**CARD["described"], field: text, "metrics": [{"name": text, "value": 1.0}]}}
    page = as_html(card)
    assert re.findall(r"<(script|img|a)\b", page) == []
    assert "\x1b" not in page
    said = as_markdown(card)
    assert "\x1b" not in said
    assert not re.search(r"(?<!\\)[<`\[]", said.replace(f"[{-1}, 2]", ""))
    lines = [line for line in said.splitlines() if line.startswith("|")]
    tables = [line.replace("\\|", "") for line in lines]
    assert {line.count("|") for line in tables} <= {3, 4, 5}
    assert [line for line in said.splitlines() if line.startswith("#")] == [
        line for line in as_markdown(CARD).splitlines() if line.startswith("#")
    ]


def test_what_is_missing_and_what_was_revoked_stands_first() -> None:
    said = as_markdown({**CARD, "revoked": True})
    assert said.index("Revoked") < said.index("Not said yet: owner") < said.index("## What it is")
    page = html.unescape(as_html({**CARD, "revoked": True}))
    assert "Revoked: it must not be used." in page
    assert "default-src 'none'" in page
