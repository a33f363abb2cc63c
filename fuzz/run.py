"""Fuzzes every parser of foreign bytes, one after the other, and says what was found: `make fuzz FUZZ_SECONDS=60 FUZZ_TARGETS="zip tar"`.

Inputs that reach new code lie in .fuzz/TARGET and are gone on from the next time. `--keep` writes the smallest set of
them that takes all their steps into tests/assets/fuzz_corpus, beside what is kept already and as far as it fits; the tests run it. A crash
lies in .fuzz/crashes, and the exit code is 1.
"""

from __future__ import annotations

import argparse
import base64
import re
import subprocess
import sys
import time
from collections.abc import Callable
from pathlib import Path
from types import FrameType

ROOT = Path(__file__).parents[1]
sys.path.insert(0, str(ROOT / "tests" / "assets"))
WORK = ROOT / ".fuzz"
CRASHES = WORK / "crashes"
CORPUS = ROOT / "tests" / "assets" / "fuzz_corpus"
KEPT_BYTES = 12 << 10  # that are added to one target's kept corpus
LONGEST = 4096  # bytes of one input that is kept
_RUNS = re.compile(r"Done (\d+) runs|^#(\d+)", re.MULTILINE)


def main() -> int:
    options = argparse.ArgumentParser(description=__doc__)
    options.add_argument("targets", nargs="*")
    options.add_argument("--seconds", type=int, default=60, help="of each target")
    options.add_argument("--keep", action="store_true", help="write the kept corpus anew instead")
    asked = options.parse_args()
    if not CRASHES.exists():
        subprocess.run([sys.executable, ROOT / "fuzz" / "seeds.py", WORK], check=True)
        CRASHES.mkdir()
    targets = asked.targets or sorted(place.name for place in WORK.iterdir() if place != CRASHES)
    if asked.keep:
        for target in targets:
            keep(target)
        return 0
    return max(fuzz(target, asked.seconds) for target in targets)


def fuzz(target: str, seconds: int) -> int:
    """1 if an input was found on which the property does not hold."""
    started = time.monotonic()
    done = driven(target, f"-max_total_time={seconds}", f"-artifact_prefix={CRASHES}/{target}-", str(WORK / target))
    runs = max((int(one or other) for one, other in _RUNS.findall(done.stderr)), default=0)
    said = "held" if done.returncode == 0 else f"BROKEN, see {CRASHES}"
    print(f"{target:14} {runs:>10,} inputs in {time.monotonic() - started:5.0f} s: {said}", flush=True)
    if done.returncode:
        (CRASHES / f"{target}.txt").write_text(done.stdout[-8000:] + done.stderr[-8000:])
    return int(done.returncode != 0)


def driven(target: str, *options: str) -> subprocess.CompletedProcess[str]:
    bounds = ["-timeout=20", "-rss_limit_mb=3000", "-max_len=32768", "-verbosity=1"]
    command = [sys.executable, str(ROOT / "fuzz" / "one.py"), target, *bounds, *options]
    return subprocess.run(command, capture_output=True, text=True, errors="replace", check=False)


def keep(target: str) -> None:
    """The shortest inputs that reach all lines of the parsers that were reached, as far as they fit."""
    import fuzz_targets

    reached: set[tuple[str, int, int]] = set()
    lines, size = list(fuzz_targets.kept(target)), 0
    for data in lines:
        reached |= traced(fuzz_targets.TARGETS[target], data)
    found = {path.read_bytes() for path in (WORK / target).iterdir()}
    for data in sorted(found, key=lambda data: (len(data), data)):
        if (
            len(data) <= LONGEST
            and size + len(data) <= KEPT_BYTES
            and (steps := traced(fuzz_targets.TARGETS[target], data)) - reached
        ):
            reached |= steps
            size += len(data)
            lines.append(data)
    CORPUS.mkdir(exist_ok=True)
    (CORPUS / f"{target}.txt").write_text("".join(base64.b64encode(data).decode() + "\n" for data in lines))
    print(f"{target:14} {len(lines)} inputs kept", flush=True)


def traced(parse: Callable[[bytes], None], data: bytes) -> set[tuple[str, int, int]]:
    """(file, line, next line) of all steps that it takes in the parsers."""
    steps: set[tuple[str, int, int]] = set()
    before: dict[int, int] = {}

    def follow(frame: FrameType, event: str, _argument: object) -> object:
        if "casemate/scanning" not in frame.f_code.co_filename:
            return None
        if event == "line":
            steps.add((frame.f_code.co_filename, before.get(id(frame), 0), frame.f_lineno))
            before[id(frame)] = frame.f_lineno
        return follow

    sys.settrace(follow)  # type: ignore[arg-type]
    try:
        parse(data)
    finally:
        sys.settrace(None)
    return steps


if __name__ == "__main__":
    raise SystemExit(main())
