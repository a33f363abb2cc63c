"""Fuzzes every parser of foreign bytes, one after the other, and says what was found: `make fuzz FUZZ_SECONDS=60 FUZZ_TARGETS="zip tar"`.

Inputs that reach new code lie in .fuzz/TARGET and are gone on from the next time. `--keep` writes the smallest set of
them that reaches all of it into tests/assets/fuzz_corpus, as far as it fits, which the tests then run. A crash
lies in .fuzz/crashes, and the exit code is 1.
"""

from __future__ import annotations

import argparse
import base64
import re
import subprocess
import sys
import time
from pathlib import Path

ROOT = Path(__file__).parents[1]
WORK = ROOT / ".fuzz"
CRASHES = WORK / "crashes"
CORPUS = ROOT / "tests" / "assets" / "fuzz_corpus"
KEPT_BYTES = 16 << 10  # of one target's kept corpus
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
    """The shortest inputs that reach all that was reached, as far as they fit."""
    smallest = WORK / f".{target}"
    smallest.mkdir(exist_ok=True)
    driven(target, "-merge=1", str(smallest), str(WORK / target))
    lines, size = [], 0
    for data in sorted((path.read_bytes() for path in smallest.iterdir()), key=lambda data: (len(data), data)):
        size += len(data)
        if len(data) <= LONGEST and size <= KEPT_BYTES:
            lines.append(base64.b64encode(data).decode())
    CORPUS.mkdir(exist_ok=True)
    (CORPUS / f"{target}.txt").write_text("\n".join(lines) + "\n")
    for path in smallest.iterdir():
        path.unlink()
    smallest.rmdir()
    print(f"{target:14} {len(lines)} inputs kept")


if __name__ == "__main__":
    raise SystemExit(main())
