"""The trusted side of a scan: hands sealed bytes to the confined inspection and judges its answer."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import msgspec

from casemate.core import (
    Finding,
    SandboxError,
    SealedFile,
    ServedFile,
    TooLargeError,
    Verdict,
    checked_path,
    verdict_of,
)
from casemate.sandbox import Limits, run_confined
from casemate.scanning.collect import collect_files
from casemate.scanning.limits import ScanLimits
from casemate.scanning.report import ScanReport
from casemate.scanning.rules import SCAN_FAILED
from casemate.scanning.second_opinions import Tool, with_opinions

_NOT_OF_THE_FILE = frozenset({"walls-missing", "sandbox-start"})  # nothing foreign was touched
_ENTRY = "casemate.scanning.inspection:main"


class _Answer(msgspec.Struct, forbid_unknown_fields=True):
    findings: list[Finding]
    format: str
    served: ServedFile | None
    facts: dict[str, Any]


def scan_path(
    path: Path, *, opinions: Sequence[Tool] = (), limits: ScanLimits | None = None, insecure: bool = False
) -> ScanReport:
    """Scan a file, or a folder as one model. Follows no link.

    Args: opinions: other scanners to ask about the same bytes.
    Raises:
        InputError: `scan-path`: there is nothing to scan, or a link or special file among it. `scanner-missing`.
        TooLargeError: over a bound. SandboxError: as `scan`.
    """
    limits = limits or ScanLimits()
    files = collect_files(path, limits)
    try:
        report = scan(files, limits=limits, insecure=insecure)
        return with_opinions(report, files, opinions, insecure=insecure) if opinions else report
    finally:
        for file in files.values():
            file.close()


def scan(files: Mapping[str, SealedFile], *, limits: ScanLimits | None = None, insecure: bool = False) -> ScanReport:
    """Find out what these files are and what is in them; nothing of them is run. `insecure` raises no wall.

    Args: files: by path inside the model.
    Raises:
        InputError: `bad-path`. TooLargeError: `scan-too-many-files`, `scan-too-large`.
        SandboxError: `walls-missing`, `sandbox-start`: this machine cannot confine the inspection. Whatever the content
            causes is a finding.
    """
    limits = limits or ScanLimits()
    names = [checked_path(name) for name in files]
    if len(names) > limits.files:
        raise TooLargeError(
            f"A model has at most {limits.files} files; this one has {len(names)}.", code="scan-too-many-files"
        )
    if sum(file.size for file in files.values()) > limits.total_bytes:
        raise TooLargeError(f"A model has at most {limits.total_bytes} bytes.", code="scan-too-large")
    try:
        answer = _inspect(names, list(files.values()), limits, insecure=insecure)
    except SandboxError as error:
        if error.code in _NOT_OF_THE_FILE:
            raise
        answer = _Answer([SCAN_FAILED.found(f"{error.code}: {error.message}")], "", None, {})
    return ScanReport(
        verdict=verdict_of(answer.findings) if answer.format else Verdict.REFUSED,
        findings=tuple(answer.findings),
        format=answer.format,
        served=answer.served,
        facts=answer.facts,
    )


def _inspect(names: list[str], files: list[SealedFile], limits: ScanLimits, *, insecure: bool) -> _Answer:
    frame = run_confined(
        _ENTRY,
        {"names": names, "limits": msgspec.to_builtins(limits)},
        files=files,
        limits=Limits(memory=limits.memory, cpu_seconds=int(limits.seconds) + 1, file_bytes=0, open_files=512),
        timeout=limits.seconds,
        insecure=insecure,
    )
    try:
        answer = msgspec.convert(frame.message, _Answer)
    except msgspec.ValidationError as error:
        raise SandboxError("The inspection broke the protocol.", code="sandbox-protocol") from error
    if answer.served is not None and answer.served.path not in names:
        raise SandboxError("The inspection names a file that it was not given.", code="sandbox-protocol")
    return answer
