"""Runs every benchmark, one process each, and writes docs/benchmarks.md. `make bench BENCH_ARGS="encryption audit"` picks some.

Each `bench/NAME.py` prints a JSON list of rows: {"name", "value", "unit", "beside"?, "ratio"?, "aim"?}.
"""

from __future__ import annotations

import json
import os
import platform
import subprocess
import sys
import time
from datetime import UTC, datetime
from importlib.metadata import version
from pathlib import Path

HERE = Path(__file__).parent
RESULTS = HERE.parent / "docs" / "benchmarks.md"
KEPT = HERE / "results.json"  # the last figures of each benchmark, so that running one does not lose the others
PACKAGES = ("cryptography", "onnxruntime", "numpy", "uvicorn", "msgspec", "cedarpy", "model-signing", "sqlalchemy")


def main(names: list[str]) -> int:
    kept = json.loads(KEPT.read_text()) if KEPT.exists() else {}
    scripts = sorted(path for path in HERE.glob("*.py") if path.name != "run.py")
    failed = []
    for script in scripts:
        if names and script.stem not in names:
            continue
        start = time.monotonic()
        done = subprocess.run([sys.executable, script], stdout=subprocess.PIPE, text=True, check=False)
        if done.returncode:
            failed.append(script.stem)
            print(f"{script.stem}: exit {done.returncode}", file=sys.stderr)
            continue
        kept[script.stem] = {"rows": json.loads(done.stdout), "about": about(script), "at": today()}
        print(f"{script.stem}: {time.monotonic() - start:.0f} s", file=sys.stderr)
    KEPT.write_text(json.dumps(kept, indent=1) + "\n")
    RESULTS.write_text(page(kept))
    return 1 if failed else 0


def about(script: Path) -> str:
    """The first paragraph of a benchmark's docstring: what is measured, and how."""
    text = script.read_text()
    return " ".join(text.split('"""')[1].split("\n\n")[0].split())


def today() -> str:
    return datetime.now(UTC).strftime("%Y-%m-%d")


def page(kept: dict[str, dict]) -> str:
    model = next(
        (line.split(":")[1].strip() for line in Path("/proc/cpuinfo").read_text().splitlines() if "model name" in line),
        "?",
    )
    lines = [
        "# Benchmarks",
        "",
        "Written by `make bench`. The machine is shared and noisy: trust ratios within one run, not absolute figures.",
        "",
        f"Machine: {os.cpu_count()} cores of {model}, Linux {platform.release()}, Python {platform.python_version()}. "
        + ", ".join(f"{name} {version(name)}" for name in PACKAGES)
        + ".",
    ]
    for name, result in sorted(kept.items()):
        lines += ["", f"## {name} ({result['at']})", "", result["about"], ""]
        lines += ["| what | figure | beside | ratio | aim |", "|---|---|---|---|---|"]
        lines += [row(figures) for figures in result["rows"]]
    return "\n".join(lines) + "\n"


def row(figures: dict) -> str:
    beside = figures.get("beside", "")
    beside = number(beside) if isinstance(beside, int | float) else beside
    ratio = figures.get("ratio")
    cells = (
        figures["name"],
        f"{number(figures['value'])} {figures.get('unit', '')}",
        beside,
        number(ratio),
        figures.get("aim", ""),
    )
    return "| " + " | ".join(str(cell).strip() for cell in cells) + " |"


def number(value: object) -> str:
    if not isinstance(value, int | float):
        return "" if value is None else str(value)
    return f"{value:,.0f}" if abs(value) >= 100 else f"{value:.3g}"


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
