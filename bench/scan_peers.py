"""Other people's scanners over a folder of cases, one folder each: `python bench/scan_peers.py TOOL FOLDER STEP`, in their environment.

Prints {case: "found" | "clean" | "error"}. Whatever a tool calls an issue counts as found, an error of its own does not.
"""

from __future__ import annotations

import contextlib
import io
import json
import logging
import os
import signal
import sys
from collections.abc import Callable
from pathlib import Path

SECONDS = 20  # for one case


def modelscan(folder: Path) -> bool:
    from modelscan.modelscan import ModelScan

    result = ModelScan().scan(folder)
    if not result["summary"]["total_issues"] and result["errors"]:
        raise ValueError(result["errors"])
    return bool(result["summary"]["total_issues"])


def picklescan(folder: Path) -> bool:
    from picklescan.scanner import scan_directory_path

    result = scan_directory_path(str(folder))
    if result.scan_err and not result.issues_count:
        raise ValueError("scan_err")
    return bool(result.issues_count)


def fickling(folder: Path) -> bool:
    import fickling as library

    return not all(library.is_likely_safe(str(path)) for path in files(folder))


def modelaudit(folder: Path) -> bool:
    from modelaudit.core import scan_model_directory_or_file

    result = scan_model_directory_or_file(str(folder), timeout=SECONDS)
    return any(str(issue.severity).rpartition(".")[2].lower() in ("critical", "warning") for issue in result.issues)


def files(folder: Path) -> list[Path]:
    return [path for path in sorted(folder.rglob("*")) if path.is_file()]


def main(tool: Callable[[Path], bool], root: Path, step: int) -> None:
    logging.disable(logging.CRITICAL)
    signal.signal(signal.SIGALRM, lambda *_: (_ for _ in ()).throw(TimeoutError()))
    found = {}
    for folder in sorted(root.iterdir())[::step]:
        signal.alarm(SECONDS)
        try:
            with contextlib.redirect_stdout(io.StringIO()), contextlib.redirect_stderr(io.StringIO()):
                found[folder.name] = "found" if tool(folder) else "clean"
        except Exception:
            found[folder.name] = "error"
        finally:
            signal.alarm(0)
    print(json.dumps(found))


if __name__ == "__main__":
    os.environ["PROMPTFOO_DISABLE_TELEMETRY"] = os.environ["NO_ANALYTICS"] = "1"  # modelaudit phones home
    main(globals()[sys.argv[1]], Path(sys.argv[2]), int(sys.argv[3]))
