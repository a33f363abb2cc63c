"""`casemate demo --once` from an empty home, after installation: wall time, median of three; the walk's own steps beside it."""

from __future__ import annotations

import json
import statistics
import subprocess
import sys
import tempfile
import time

ROUNDS = 3


def main() -> None:
    taken, steps = [], []
    for number in range(1, ROUNDS + 1):
        print(f"  walk {number} of {ROUNDS}", file=sys.stderr, flush=True)
        with tempfile.TemporaryDirectory(prefix="casemate-bench-") as home:
            start = time.monotonic()
            done = subprocess.run(
                [sys.executable, "-m", "casemate", "demo", "--once", "--json", "--home", f"{home}/home"],
                stdout=subprocess.PIPE, stderr=subprocess.DEVNULL, check=True, env={"PATH": "/usr/bin:/bin", "HOME": home},
            )  # fmt: skip
            taken.append(time.monotonic() - start)
            steps.append({step["name"]: step["seconds"] for step in json.loads(done.stdout)})
    rows = [{"name": "the whole walk", "value": statistics.median(taken), "unit": "s", "aim": "< 30"}]
    rows += [
        {"name": name, "value": statistics.median(one[name] for one in steps), "unit": "s"}
        for name in ("train in the sandbox", "deploy")
    ]
    print(json.dumps(rows))


if __name__ == "__main__":
    main()
