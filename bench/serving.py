"""Predictions of one row of 30 floats over 16 keep-alive connections (wrk, one thread): `casemate up` as a user starts it, on a home made by its own commands, with everything on (TLS 1.3, key, Cedar policy, buckets, strict decoding, range screen, sandboxed worker, rounding, receipt, audit log); beside it raw uvicorn + onnxruntime and FastAPI + onnxruntime, which have no defence but the same TLS certificate and the same model file. "Raw, no TLS" is plain HTTP. All run in turns, medians over rounds in rotating order; only the server asked is up. CPU is user and system time of all of a server's processes. Two limits are raised, since all load comes from one key and one address: the key's rate (`--rate`) and requests per client address (`CASEMATE_ADDRESS_RATE`). As many predictions as were asked for must stand in the audit log at the end, and the log must verify, or nothing is reported. wrk runs on the same cores as the servers.

`ROUNDS` and `SECONDS_PER_ROUND` in the environment change how long it takes.
"""

from __future__ import annotations

import csv
import json
import os
import re
import shutil
import statistics
import subprocess
import sys
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

sys.path.insert(0, str(Path(__file__).parent / "servers"))

from cpu import cpu_seconds, spent

import two_people

TARGETS = ("raw, no TLS", "raw", "fastapi", "casemate standard", "casemate strict")
ROUNDS = int(os.environ.get("ROUNDS", "5"))
SECONDS = int(os.environ.get("SECONDS_PER_ROUND", "6"))
CONNECTIONS = 16
NAMES = {"casemate standard": "diagnosis", "casemate strict": "strict"}  # deployments
HERE = Path(__file__).parent

LUA = """
wrk.method = "POST"
wrk.body = io.open("%(folder)s/body.json"):read("*a")
wrk.headers["Content-Type"] = "application/json"
wrk.headers["Authorization"] = "Bearer %(key)s"
local threads = {}
function setup(thread) table.insert(threads, thread) end
function init(args) bad = 0 end
function response(status, headers, body) if status ~= 200 then bad = bad + 1 end end
function done(summary, latency, requests)
  local refused = 0
  for _, thread in ipairs(threads) do refused = refused + thread:get("bad") end
  io.write(string.format('RESULT {"requests": %%d, "us": %%d, "p50": %%d, "p99": %%d, "bad": %%d, "errors": %%d}\\n',
    summary.requests, summary.duration, latency:percentile(50), latency:percentile(99), refused,
    summary.errors.connect + summary.errors.read + summary.errors.write + summary.errors.timeout))
end
"""


class Home:
    """A home with the example's model served under both profiles. Everything is done by commands."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        kept = {key: value for key, value in os.environ.items() if not key.startswith("CASEMATE_")}
        self.environment = {
            **kept,
            "CASEMATE_HOME": str(folder / "home"),
            "CASEMATE_KEYS": str(folder / "keys"),
            "CASEMATE_ADDRESS_RATE": "1000000",
        }
        self.command = [sys.executable, "-m", "casemate"]
        self.keys: dict[str, str] = {}
        self.asked = 0  # predictions, warming up included

    def run(self, *words: str) -> dict:
        done = subprocess.run(
            [*self.command, *words, "--json"], env=self.environment, stdout=subprocess.PIPE, check=True
        )
        return json.loads(done.stdout)

    def make(self) -> None:
        say("making a home: dataset, training, approval, two deployments")
        self._dataset(self.folder / "rows.csv")
        subprocess.run([*self.command, "init"], env=self.environment, stdout=subprocess.DEVNULL, check=True)
        self.run("dataset", "push", "diagnosis", str(self.folder / "rows.csv"), "--target", "diagnosis")
        script = HERE.parent / "examples" / "train_diagnosis.py"
        self.run("train", str(script), "--dataset", "diagnosis", "--model", "diagnosis")
        self.run("model", "approve", "diagnosis@1")
        with self._up() as control:
            two_people.approve(control, self.folder / "home" / "tls" / "ca.pem", self.run, "diagnosis@1", self.folder)
        self.run("model", "except", "diagnosis@1", "--reason", "the speed is measured")
        for target, name in NAMES.items():
            self.run("deploy", name, "diagnosis@1", "--profile", target.split()[1])
            words = ("--role", "caller", "--deployment", name, "--expires", "1d", "--rate", "1000000/s")
            self.keys[target] = self.run("key", "issue", name, *words)["key"]
        self.run("model", "pull", "diagnosis@1", str(self.folder / "model"))

    @contextmanager
    def _up(self) -> Iterator[str]:
        """A server of this home. Yields: the address of its control plane."""
        command = [*self.command, "up", "--data-port", "0", "--control-port", "0"]
        process = subprocess.Popen(command, env=self.environment, stdout=subprocess.PIPE, text=True)
        try:
            assert process.stdout is not None
            words = process.stdout.readline().split()
            yield dict(word.split("=", 1) for word in words[1:])["control"].replace("127.0.0.1", "localhost")
        finally:
            process.terminate()
            process.wait()

    def _dataset(self, file: Path) -> None:
        from sklearn.datasets import load_breast_cancer

        data = load_breast_cancer()
        with file.open("w", newline="") as out:
            writer = csv.writer(out)
            writer.writerow([*(name.replace(" ", "_") for name in data.feature_names), "diagnosis"])
            writer.writerows([*row, label] for row, label in zip(data.data.tolist(), data.target.tolist(), strict=True))
        tensor = {"name": "X", "shape": [1, 30], "datatype": "FP32", "data": data.data[7].tolist()}
        (self.folder / "body.json").write_text(json.dumps({"inputs": [tensor]}))

    def check_log(self) -> None:
        """Each prediction is on record. Raises: SystemExit: one is not."""
        said = self.run("audit", "verify")
        if not said["ok"] or said["size"] < self.asked:
            raise SystemExit(f"{self.asked} predictions were answered, and the log says {said}: not a measurement.")
        say(f"audit log: {said['size']} entries verified, for {self.asked} predictions")

    @contextmanager
    def serving(self, target: str) -> Iterator[tuple[subprocess.Popen, str]]:
        """One server while it is asked. Yields: its first process, and where to send predictions."""
        if target in NAMES:
            command = [*self.command, "up", "--data-port", "0", "--control-port", "0"]
        else:
            command = [
                sys.executable,
                str(HERE / "servers" / "plain.py"),
                target.split(",", maxsplit=1)[0],
                self.folder / "model",
            ]
            if target != "raw, no TLS":
                (key,) = (self.folder / "keys").glob("*/tls/server.key")
                command += [self.folder / "home" / "tls" / "server.pem", key]
        pipe = subprocess.PIPE
        process = subprocess.Popen(command, env=self.environment, stdin=pipe, stdout=pipe, text=True)
        try:
            word, _, rest = process.stdout.readline().strip().partition(" ")
            if word != "ready":
                raise SystemExit(f"{target} did not start")
            url = rest.split()[0].removeprefix("data=")
            yield process, f"{url}/v2/models/{NAMES.get(target, 'diagnosis')}/infer"
        finally:
            process.stdin.close()  # the plain ones stop
            if target in NAMES:
                process.terminate()
            process.wait(60)
            process.stdout.close()


def load(home: Home, target: str, process: subprocess.Popen, url: str, seconds: float) -> dict[str, float]:
    """One round of load. Raises: SystemExit: something was refused."""
    script = home.folder / "load.lua"
    script.write_text(LUA % {"folder": home.folder, "key": home.keys.get(target, "none")})
    before = cpu_seconds(process.pid)
    done = subprocess.run(
        ["wrk", "-t1", f"-c{CONNECTIONS}", f"-d{seconds:g}s", "--latency", "-s", script, url],
        stdout=subprocess.PIPE, text=True, check=True,
    )  # fmt: skip
    roles = spent(before, cpu_seconds(process.pid))
    result = json.loads(re.search(r"RESULT (.*)", done.stdout)[1])
    if result["bad"] or result["errors"]:
        raise SystemExit(f"{target}: {result['bad']} refusals, {result['errors']} errors: not a measurement")
    home.asked += result["requests"] if target in NAMES else 0
    return {
        "rate": result["requests"] / result["us"] * 1e6,
        "p50": result["p50"] / 1000,
        "p99": result["p99"] / 1000,
        "cpu": sum(roles.values()) / result["requests"] * 1e6,
        **{role: used / result["requests"] * 1e6 for role, used in roles.items()},
    }


def measure(home: Home) -> dict[str, dict[str, float]]:
    """Medians by target."""
    rounds: dict[str, list[dict[str, float]]] = {target: [] for target in TARGETS}
    for number in range(ROUNDS):
        turn = number % len(TARGETS)
        for target in TARGETS[turn:] + TARGETS[:turn]:
            with home.serving(target) as (process, url):
                load(home, target, process, url, 1)
                one = load(home, target, process, url, SECONDS)
            rounds[target].append(one)
            say(
                f"round {number + 1} of {ROUNDS}, {target}: {one['rate']:.0f} requests/s, {one['cpu']:.0f} us of CPU each"
            )
    return {
        target: {figure: statistics.median(one[figure] for one in found) for figure in found[0]}
        for target, found in rounds.items()
    }


def say(words: str) -> None:
    print(f"  {words}", file=sys.stderr, flush=True)


def rows(medians: dict[str, dict[str, float]]) -> Iterator[dict]:
    for target, one in medians.items():
        yield from (compared if target in NAMES else plain)(target, one, medians)


def plain(target: str, one: dict[str, float], medians: dict[str, dict[str, float]]) -> Iterator[dict]:
    """What every server has."""
    yield {"name": f"{target}: requests", "value": round(one["rate"]), "unit": "1/s"}
    yield {"name": f"{target}: p50", "value": round(one["p50"], 2), "unit": "ms"}
    yield {"name": f"{target}: p99", "value": round(one["p99"], 2), "unit": "ms"}
    yield {"name": f"{target}: CPU per request", "value": round(one["cpu"]), "unit": "us"}


def compared(target: str, one: dict[str, float], medians: dict[str, dict[str, float]]) -> Iterator[dict]:
    """Ours beside the others, and where its time goes."""
    requests, *others = plain(target, one, medians)
    for other, aim in (("fastapi", {"aim": "> 1"}), ("raw", {})):
        beside = round(medians[other]["rate"])
        ratio = round(one["rate"] / medians[other]["rate"], 2)
        name = f"{target}: requests, beside {other}"
        yield {**requests, "name": name, "beside": beside, "ratio": ratio, **aim}
    yield from others
    for role in ("gateway", "worker", "keeper", "control", "server"):
        words = "supervisor" if role == "server" else role
        yield {"name": f"{target}: CPU per request, {words} alone", "value": round(one.get(role, 0)), "unit": "us"}
    for other in ("raw", "raw, no TLS"):
        over = round(one["cpu"] - medians[other]["cpu"])
        yield {"name": f"{target}: CPU per request over {other}", "value": over, "unit": "us", "aim": "<= 120"}


def main() -> None:
    if not shutil.which("wrk"):
        raise SystemExit("wrk is missing: apt install wrk")
    with tempfile.TemporaryDirectory(prefix="casemate-bench-") as name:
        home = Home(Path(name))
        home.make()
        medians = measure(home)
        home.check_log()
    json.dump(list(rows(medians)), sys.stdout, indent=1)


if __name__ == "__main__":
    main()
