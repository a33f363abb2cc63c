"""Findings for other programs: SARIF that names the file and the member, annotations that nothing in a file can break out of."""

from __future__ import annotations

from pathlib import PurePath

from casemate.core import Verdict
from casemate.scanning import ScanReport
from casemate.scanning.rules import PICKLE_IMPORT, SIDE_FILE
from casemate.scanning.sarif import sarif, workflow_commands

REPORT = ScanReport(
    verdict=Verdict.REFUSED,
    findings=(
        PICKLE_IMPORT.found("posix.system at byte 3\n::error::forged", location="model.pt!data/data.pkl"),
        SIDE_FILE.found("100% text, more: of it", location="run me.sh"),
    ),
    format="torch",
    served=None,
    facts={},
)


def test_sarif_names_rule_file_and_member() -> None:
    (run,) = sarif(REPORT, PurePath("models/a"))["runs"]
    rules = run["tool"]["driver"]["rules"]
    first, second = run["results"]
    assert [rules[one["ruleIndex"]]["id"] for one in (first, second)] == [
        "pickle-forbidden-import",
        "side-file-refused",
    ]
    assert first["level"] == "error"
    (place,) = first["locations"]
    assert place["physicalLocation"]["artifactLocation"]["uri"] == "models/a/model.pt"
    assert place["logicalLocations"][0]["fullyQualifiedName"] == "model.pt!data/data.pkl"
    assert second["locations"][0]["physicalLocation"]["artifactLocation"]["uri"] == "models/a/run%20me.sh"
    assert rules[0]["properties"]["security-severity"] == "9.5"


def test_a_single_file_is_named_once() -> None:
    (run,) = sarif(REPORT, PurePath("x/model.pt"))["runs"]
    assert run["results"][0]["locations"][0]["physicalLocation"]["artifactLocation"]["uri"] == "x/model.pt"


def test_no_annotation_can_forge_another() -> None:
    lines = workflow_commands(REPORT, PurePath("models/a:b"))
    assert len(lines) == 2
    assert all("\n" not in line and line.startswith("::error file=models/a%3Ab/") for line in lines)
    assert "100%25 text" in lines[1]
