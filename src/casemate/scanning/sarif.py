"""A scan's findings for other programs: SARIF 2.1.0, and the lines that GitHub's runners turn into annotations.

Source: OASIS SARIF 2.1.0 (3.27 result, 3.49 reportingDescriptor); docs.github.com, "Workflow commands".
"""

from __future__ import annotations

from importlib.metadata import version
from pathlib import PurePath
from typing import Any
from urllib.parse import quote

from casemate.core import Finding, Severity
from casemate.scanning.report import ScanReport

_SCHEMA = "https://json.schemastore.org/sarif-2.1.0.json"
_DOCS = "docs/model-files.md"
_LEVELS = {
    Severity.CRITICAL: ("error", "9.5"),
    Severity.HIGH: ("error", "8.0"),
    Severity.MEDIUM: ("warning", "5.0"),
    Severity.LOW: ("note", "2.0"),
    Severity.INFO: ("note", "0.0"),
}  # level, and the score by which GitHub sorts


def sarif(report: ScanReport, path: PurePath) -> dict[str, Any]:
    """One SARIF log with one run. Args: path: what was scanned, as whoever reads the log knows it."""
    rules = {finding.id: finding for finding in report.findings}
    order = sorted(rules)
    return {
        "$schema": _SCHEMA,
        "version": "2.1.0",
        "runs": [
            {
                "tool": {
                    "driver": {
                        "name": "Casemate",
                        "semanticVersion": version("casemate"),
                        "rules": [_rule(rules[id_]) for id_ in order],
                    }
                },
                "results": [_result(finding, order.index(finding.id), path) for finding in report.findings],
                "properties": {"verdict": report.verdict.value, "format": report.format},
            }
        ],
    }


def workflow_commands(report: ScanReport, path: PurePath) -> list[str]:
    """One workflow command for each finding."""
    commands = {"error": "error", "warning": "warning", "note": "notice"}
    return [
        f"::{commands[_LEVELS[finding.severity][0]]} file={_property(str(_place(finding, path)))},"
        f"title={_property(finding.title)}::{_data(_message(finding))}"
        for finding in report.findings
    ]


def _rule(finding: Finding) -> dict[str, Any]:
    level, score = _LEVELS[finding.severity]
    return {
        "id": finding.id,
        "shortDescription": {"text": finding.title},
        "help": {"text": f"{finding.remediation} See {_DOCS}."},
        "defaultConfiguration": {"level": level},
        "properties": {"tags": ["security", *finding.references], "security-severity": score, "precision": "high"},
    }


def _result(finding: Finding, index: int, path: PurePath) -> dict[str, Any]:
    inside = finding.location.partition("!")[2]
    place: dict[str, Any] = {
        "physicalLocation": {
            "artifactLocation": {"uri": quote(_place(finding, path).as_posix())},
            "region": {"startLine": 1},
        }
    }
    if inside:
        place["logicalLocations"] = [{"fullyQualifiedName": finding.location, "kind": "member"}]
    return {
        "ruleId": finding.id,
        "ruleIndex": index,
        "level": _LEVELS[finding.severity][0],
        "message": {"text": _message(finding)},
        "locations": [place],
        "properties": {"confidence": finding.confidence, "severity": finding.severity.value},
    }


def _place(finding: Finding, path: PurePath) -> PurePath:
    """The file on disk: what stands behind `!` is a member of an archive; of a single file, its own name is the path's."""
    outer = finding.location.partition("!")[0]
    return path if not outer or outer == path.name else path / outer


def _message(finding: Finding) -> str:
    return f"{finding.title}: {finding.evidence}. {finding.remediation}"


def _data(text: str) -> str:
    return text.replace("%", "%25").replace("\r", "%0D").replace("\n", "%0A")


def _property(text: str) -> str:
    return _data(text).replace(":", "%3A").replace(",", "%2C")
