"""The confined side of second opinions: other people's scanners over a folder. Everything that they say is foreign.

The folder with the model is on the path of modules because it may be read; it leaves it before a library is imported, so that a
file of the model called like a library is not run for one.
"""

from __future__ import annotations

import contextlib
import io
import logging
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

from casemate.core.wire import Frame

Said = tuple[int, list[str], list[str]]  # files that it knows, issues, errors


def main(frame: Frame) -> Frame:
    """message: {"tool", "folder"}. Answers {"looked", "issues", "errors"}."""
    folder = Path(frame.message["folder"])
    sys.path[:] = [path for path in sys.path if path and Path(path).resolve() != folder]
    logging.disable(logging.CRITICAL)
    with contextlib.redirect_stdout(io.StringIO()), contextlib.redirect_stderr(io.StringIO()):
        try:
            looked, issues, errors = _TOOLS[frame.message["tool"]](folder)
        except MemoryError:
            raise
        except Exception as error:  # noqa: BLE001 whatever a scanner raises, it has come to no result
            looked, issues, errors = 0, [], [f"{type(error).__name__}: {error}"]
    return Frame(
        {"looked": looked, "issues": [_short(one) for one in issues], "errors": [_short(one) for one in errors]}
    )


def _short(text: Any) -> str:
    return str(text)[:400]


def _modelscan(folder: Path) -> Said:
    from modelscan.modelscan import ModelScan

    result = ModelScan().scan(str(folder))
    issues = [f"{one.get('severity')}: {one.get('description')} ({one.get('source')})" for one in result["issues"]]
    errors = [one.get("description", one) if isinstance(one, dict) else one for one in result["errors"]]
    return int(result["summary"]["scanned"]["total_scanned"]), issues, errors


def _picklescan(folder: Path) -> Said:
    from picklescan.scanner import SafetyLevel, scan_directory_path

    result = scan_directory_path(str(folder))
    bad = [one for one in result.globals if one.safety == SafetyLevel.Dangerous]
    issues = [f"{one.module}.{one.name} is dangerous" for one in bad]
    if result.issues_count and not issues:
        issues = [f"{result.issues_count} issues"]
    return int(result.scanned_files), issues, ["it could not read a file"] * bool(result.scan_err)


def _fickling(folder: Path) -> Said:
    import fickling

    files = [path for path in sorted(folder.rglob("*")) if path.is_file()]
    unsafe = [str(path.relative_to(folder)) for path in files if not fickling.is_likely_safe(str(path))]
    return len(files), [f"{name} is not likely safe" for name in unsafe], []


_TOOLS: dict[str, Callable[[Path], Said]] = {"fickling": _fickling, "modelscan": _modelscan, "picklescan": _picklescan}
