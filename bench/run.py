"""Runs every benchmark, one process each, and writes docs/benchmarks.md. `make bench BENCH_ARGS="encryption audit"` picks some.

Each `bench/NAME.py` prints a JSON list of rows: {"name", "value", "unit"?, "beside"?, "ratio"?, "aim"?}. An aim is a bound,
as in "<= 120" (a number alone: exactly that); it holds for the ratio where there is one, else for the value. One that
fails is recorded as failed, the others still run, and the exit code is 1. A missed aim is no failure: the page says so,
with what `missed.toml` knows about it.
"""

from __future__ import annotations

import json
import operator
import os
import platform
import re
import subprocess
import sys
import threading
import time
import tomllib
from datetime import UTC, datetime
from importlib.metadata import version
from pathlib import Path

HERE = Path(__file__).parent
PAGE = HERE.parent / "docs" / "benchmarks.md"
KEPT = HERE / "results.json"  # the last figures of each benchmark, so that running one does not lose the others
NAMES = (
    "access", "policy", "reviews", "people", "audit", "unfamiliar", "encryption", "sandbox_start", "serving", "signing", "worker", "scan",
    "tokens", "poisoning", "screening_modalities", "screening_sizes", "evaluation", "personal", "pieces", "private", "demo",
)  # fmt: skip
PACKAGES = (
    "cryptography", "onnxruntime", "numpy", "uvicorn", "fastapi", "msgspec", "cedarpy", "model-signing", "sqlalchemy",
    "skops", "joserfc",
)  # fmt: skip
INTRODUCTION = """\
Written by `make bench`, not by hand. The machine is a shared virtual one whose speed changes from hour to hour: trust ratios
within one section, not absolute figures. An aim holds for the ratio where there is one, else for the figure."""
MENTIONED = 5  # missed aims named in the table of contents; each stands in its section
LONGEST = {"screening_sizes": 10_800}  # seconds for one benchmark; ten million rows take their time
USUAL = 1800  # seconds for the others
COMPARE = {"<": operator.lt, "<=": operator.le, ">": operator.gt, ">=": operator.ge, "": operator.eq}


def main(asked: list[str]) -> int:
    unknown = set(asked) - set(NAMES)
    if unknown:
        print(f"No such benchmark: {', '.join(sorted(unknown))}. There are {', '.join(NAMES)}.", file=sys.stderr)
        return 2
    chosen = [name for name in NAMES if not asked or name in asked]
    results = json.loads(KEPT.read_text()) if KEPT.exists() else {}
    failed = []
    for number, name in enumerate(chosen, start=1):
        say(f"[{number}/{len(chosen)}] {name} ...")
        start, busy = time.monotonic(), os.getloadavg()[0]
        rows, problem = measured(HERE / f"{name}.py")
        seconds = time.monotonic() - start
        about = {"at": now(), "seconds": round(seconds), "load_before": round(busy, 2), "machine": machine()}
        if problem:
            failed.append(name)
            results[name] = {"failed": problem, **about}
        else:
            results[name] = {"rows": rows, **about}
        say(f"[{number}/{len(chosen)}] {name}: {problem or summary(rows)} ({seconds:.0f} s)")
        # Written each time: who stops the run halfway keeps what is there.
        KEPT.write_text(json.dumps(results, indent=1) + "\n")
        PAGE.write_text(page(results))
    say(f"{PAGE.relative_to(HERE.parent)} written." + (f" Failed: {', '.join(failed)}." if failed else ""))
    return 1 if failed else 0


def say(words: str) -> None:
    print(words, file=sys.stderr, flush=True)


def now() -> str:
    return datetime.now(UTC).strftime("%Y-%m-%d %H:%M UTC")


def measured(script: Path) -> tuple[list[dict], str]:
    """The rows of one benchmark, or what went wrong. What it says meanwhile is passed on."""
    process = subprocess.Popen([sys.executable, script], stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True)
    last: list[str] = []

    def pass_on() -> None:
        for line in process.stderr:
            sys.stderr.write(line)
            last[:] = [line.strip()] if line.strip() else last

    reader = threading.Thread(target=pass_on, daemon=True)
    reader.start()
    timer = threading.Timer(LONGEST.get(script.stem, USUAL), process.terminate)
    timer.start()
    said = process.stdout.read()
    code = process.wait()
    timer.cancel()
    reader.join(5)
    if code:
        return [], f"failed with exit code {code}: {(last or ['it said nothing'])[0][:300]}"
    try:
        rows = json.loads(said)
        for row in rows:
            line(row)
    except (ValueError, KeyError, TypeError) as error:
        return [], f"failed: it printed no rows ({type(error).__name__}: {error})"
    return rows, ""


def summary(rows: list[dict]) -> str:
    verdicts = [is_met(row) for row in rows if "aim" in row]
    return f"{len(rows)} figures, {sum(verdicts)} of {len(verdicts)} aims met"


def is_met(row: dict) -> bool:
    """Raises: ValueError: the aim cannot be read."""
    found = re.fullmatch(r"(<=|>=|<|>|)\s*([\d.,]+)", row["aim"])
    if not found:
        raise ValueError(f"{row['name']}: the aim {row['aim']!r} is no bound")
    return bool(COMPARE[found[1]](row.get("ratio", row["value"]), float(found[2].replace(",", ""))))


def machine() -> str:
    lines = Path("/proc/cpuinfo").read_text().splitlines()
    model = next(
        (line.split(":", 1)[1].strip() for line in lines if line.startswith("model name")), "unknown processor"
    )
    memory = os.sysconf("SC_PAGE_SIZE") * os.sysconf("SC_PHYS_PAGES") / 1e9
    packages = ", ".join(f"{name} {version(name)}" for name in PACKAGES)
    return (
        f"{os.cpu_count()} cores of {model}, {memory:.0f} GB, Linux {platform.release()}, "
        f"Python {platform.python_version()}. {packages}."
    )


# The page.


def page(results: dict[str, dict]) -> str:
    notes = tomllib.loads((HERE / "missed.toml").read_text())
    machines = [result["machine"] for result in results.values() if "machine" in result]
    common = max(machines, key=machines.count) if machines else "unknown"
    lines = [
        "# Benchmarks",
        "",
        INTRODUCTION,
        "",
        f"Machine: {common}",
        "",
        *aims(results),
    ]
    for name in NAMES:
        if name in results:
            lines += section(name, results[name], notes.get(name, ""), common)
    return "\n".join(lines) + "\n"


def aims(results: dict[str, dict]) -> list[str]:
    """How many aims are met, and each that is not."""
    lines = ["| benchmark | aims met | missed |", "|---|---|---|"]
    for name in NAMES:
        if "failed" in results.get(name, {"failed": ""}):
            lines.append(f"| [{name}](#{name}) | **failed** | |" if name in results else f"| {name} | not run | |")
            continue
        rows = [row for row in results[name]["rows"] if "aim" in row]
        missed = [row["name"].partition(" (")[0] for row in rows if not is_met(row)]
        more = f"; {len(missed) - MENTIONED} more" if len(missed) > MENTIONED else ""
        count = f"{len(rows) - len(missed)} of {len(rows)}" if rows else "none set"
        lines.append(f"| [{name}](#{name}) | {count} | {'; '.join(missed[:MENTIONED])}{more} |")
    return lines


def section(name: str, result: dict, note: str, common: str) -> list[str]:
    took = f"{result['at']}, {result['seconds']} s; load of the machine before it {result['load_before']}."
    other = "" if result["machine"] == common else f" Machine: {result['machine']}"
    lines = ["", f"## {name}", "", about(HERE / f"{name}.py"), "", took + other, ""]
    if "failed" in result:
        return [*lines, f"**This benchmark {result['failed']}**"]
    rows = result["rows"]
    lines += ["| what | figure | beside | ratio | aim | |", "|---|---|---|---|---|---|"]
    lines += [line(row) for row in rows]
    if any("aim" in row and not is_met(row) for row in rows):
        lines += ["", f"Missed: {' '.join(note.split()) or 'not looked into yet.'}"]
    return lines


def about(script: Path) -> str:
    """The first paragraph of a benchmark's docstring: what is measured, and how."""
    return " ".join(script.read_text().split('"""')[1].split("\n\n")[0].split())


def line(row: dict) -> str:
    met = ("met" if is_met(row) else "**missed**") if "aim" in row else ""
    figure = f"{number(row['value'])} {row.get('unit', '')}".strip()
    cells = (row["name"], figure, number(row.get("beside")), number(row.get("ratio")), row.get("aim", ""), met)
    return "| " + " | ".join(cells) + " |"


def number(value: object) -> str:
    if isinstance(value, bool) or not isinstance(value, int | float):
        return "" if value is None else str(value)
    return f"{value:,.0f}" if abs(value) >= 100 else f"{value:.3g}"


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
