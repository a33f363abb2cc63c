"""Rules for all tests: what needs a missing program is left out by name, or fails where all programs are required."""

from __future__ import annotations

import os
import shutil

import pytest


def pytest_runtest_setup(item: pytest.Item) -> None:
    for marker in item.iter_markers("program"):
        name = marker.args[0]
        if shutil.which(name):
            continue
        if os.environ.get("CASEMATE_REQUIRE_PROGRAMS"):
            pytest.fail(f"{name} is required here and is missing", pytrace=False)
        pytest.skip(f"needs the program {name}")


def pytest_terminal_summary(terminalreporter: pytest.TerminalReporter) -> None:
    reasons: dict[str, int] = {}
    for report in terminalreporter.stats.get("skipped", []):
        reason = str(report.longrepr[2]) if isinstance(report.longrepr, tuple) else str(report.longrepr)
        reasons[reason] = reasons.get(reason, 0) + 1
    for reason, count in sorted(reasons.items()):
        terminalreporter.write_line(f"not run here: {count} test(s): {reason}")
