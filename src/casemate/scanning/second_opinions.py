"""What other people's scanners say of a model, beside what we say: their findings are added, and take nothing away.

Each runs in the sandbox, on copies of the very bytes that were scanned, whether it lies in this environment or in one of its own
whose command is on the PATH. One that fails has not said that a file is clean: that is a finding, too.
"""

from __future__ import annotations

import importlib.util
import shutil
import sys
import tempfile
from collections.abc import Iterable, Mapping, Sequence
from pathlib import Path
from typing import Literal, get_args

import msgspec

from casemate.core import Finding, InputError, SandboxError, SealedFile, Severity, verdict_of
from casemate.sandbox import Limits, run_confined
from casemate.scanning.report import ScanReport
from casemate.scanning.rules import Rule

Tool = Literal["fickling", "modelscan", "picklescan"]
TOOLS: tuple[Tool, ...] = get_args(Tool)

_ENTRY = "casemate.scanning.opinion_job:main"
_LIMITS = Limits(memory=4 << 30, cpu_seconds=300, file_bytes=0, open_files=512)
_TIMEOUT = 300.0  # seconds
_MOST = 20  # findings of one tool
_NOT_OF_THE_FILE = frozenset({"walls-missing", "sandbox-start"})

FLAGGED = Rule(
    id="second-opinion",
    title="Another scanner holds something against the model",
    severity=Severity.HIGH,
    remediation="Treat the file as hostile until you know why it says so.",
    references=("ATLAS:AML.T0011.000",),
)
FAILED = Rule(
    id="second-opinion-failed",
    title="Another scanner that was asked came to no result",
    severity=Severity.HIGH,
    remediation="Find out why, or leave it out: a scanner that fails has not said that the file is clean.",
)
NOTHING = Rule(
    id="second-opinion-none",
    title="Another scanner knows no file of this kind",
    severity=Severity.INFO,
    remediation="Nothing: its silence says nothing either.",
    references=(),
)


class _Said(msgspec.Struct, forbid_unknown_fields=True):
    """What one tool told. `looked`: files that it knows."""

    looked: int
    issues: list[str]
    errors: list[str]


def with_opinions(
    report: ScanReport, files: Mapping[str, SealedFile], tools: Sequence[Tool], *, insecure: bool = False
) -> ScanReport:
    """The report with what `tools` find in the same bytes. Never less is held against the model than before.

    Raises: InputError `scanner-missing`. SandboxError: `walls-missing`, `sandbox-start`: nothing foreign was touched.
    """
    places = {tool: find_tool(tool) for tool in dict.fromkeys(tools)}
    found = list(report.findings)
    for tool, place in places.items():
        if tool == "fickling" and report.format not in ("pickle", "torch"):
            found.append(NOTHING.found(f"fickling reads pickles; this is {report.format or 'of no known format'}"))
            continue
        found += _findings(tool, _asked(tool, place, files, insecure=insecure))
    verdict = max(report.verdict, verdict_of(found), key=lambda one: one.value)  # "refused" comes behind "clean"
    return msgspec.structs.replace(report, verdict=verdict, findings=tuple(found))


def find_tool(tool: Tool) -> Path | None:
    """The folder in which its library lies; None when it lies in this environment. Raises: InputError `scanner-missing`."""
    if importlib.util.find_spec(tool) is not None:
        return None
    command = shutil.which(tool)
    if command is not None:
        library = f"lib/python{sys.version_info.major}.{sys.version_info.minor}/site-packages"
        for folder in dict.fromkeys((Path(command).parent.parent, Path(command).resolve().parent.parent)):
            if (folder / library / tool / "__init__.py").is_file():
                return folder / library
    how = "it" if tool == "fickling" else "casemate[scanners], or it"
    raise InputError(
        f"{tool} is not installed here: install {how} in an environment of its own for Python "
        f"{sys.version_info.major}.{sys.version_info.minor} whose command is on the PATH.",
        code="scanner-missing",
    )


def _asked(tool: Tool, place: Path | None, files: Mapping[str, SealedFile], *, insecure: bool) -> _Said:
    with tempfile.TemporaryDirectory(prefix="casemate-opinion-") as folder:
        for name, file in files.items():
            target = Path(folder, name)
            target.parent.mkdir(parents=True, exist_ok=True)
            with file.open() as source, target.open("xb") as copy:
                shutil.copyfileobj(source, copy, 1 << 20)
        try:
            frame = run_confined(
                _ENTRY,
                {"tool": tool, "folder": str(Path(folder).resolve())},
                paths=[Path(folder), *([place] if place else [])],
                limits=_LIMITS,
                timeout=_TIMEOUT,
                insecure=insecure,
            )
            return msgspec.convert(frame.message, _Said)
        except msgspec.ValidationError:
            return _Said(0, [], ["its answer is none"])
        except SandboxError as error:
            if error.code in _NOT_OF_THE_FILE:
                raise
            return _Said(0, [], [f"{error.code}: {error.message}"])


def _findings(tool: Tool, said: _Said) -> Iterable[Finding]:
    yield from (FLAGGED.found(f"{tool}: {issue}"[:300]) for issue in said.issues[:_MOST])
    yield from (FAILED.found(f"{tool}: {error}"[:300]) for error in said.errors[:_MOST])
    if not (said.looked or said.issues or said.errors):
        yield NOTHING.found(f"{tool} looked into none of the files")
