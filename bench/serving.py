"""Predictions of one row of 30 floats over 16 keep-alive connections (wrk): raw uvicorn + onnxruntime and FastAPI, both over plain HTTP with no defence, beside the gateway with everything on: TLS 1.3, key, Cedar policy, buckets, strict decoding, range screen, sandboxed worker, rounding, receipt, and the audit log of a keeper process. Medians of rounds in rotating order; CPU is that of all server processes.

`serving.py serve TARGET FOLDER` is one server: it prints `ready URL`, and stops when its input ends.
The gateway is `casemate up` over a home that `casemate demo` made; only the limits per key and address are raised.
"""

from __future__ import annotations

import asyncio
import json
import os
import re
import shutil
import statistics
import subprocess
import sys
import tempfile
from pathlib import Path

import numpy as np

TARGETS = ("raw", "fastapi", "casemate standard", "casemate strict")
ROUNDS = int(os.environ.get("ROUNDS", "3"))
SECONDS = int(os.environ.get("SECONDS_PER_ROUND", "6"))
CONNECTIONS = 16
TICK = os.sysconf("SC_CLK_TCK")
NAME = "diagnosis"

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


def make_material(folder: Path) -> None:
    """The model and one request, the same for every target."""
    from skl2onnx import to_onnx
    from sklearn.datasets import load_breast_cancer
    from sklearn.linear_model import LogisticRegression
    from sklearn.pipeline import make_pipeline
    from sklearn.preprocessing import StandardScaler

    rows, labels = load_breast_cancer(return_X_y=True)
    model = make_pipeline(StandardScaler(), LogisticRegression(max_iter=1000)).fit(rows, labels)
    rows = rows.astype(np.float32)
    graph = to_onnx(model, rows[:1], options={"zipmap": False}, target_opset=17)
    (folder / "model.onnx").write_bytes(graph.SerializeToString())
    tensor = {"name": "X", "shape": [1, 30], "datatype": "FP32", "data": [round(float(v), 5) for v in rows[7]]}
    (folder / "body.json").write_text(json.dumps({"inputs": [tensor]}))


# The targets.


def onnx_session(folder: Path):
    import onnxruntime

    options = onnxruntime.SessionOptions()
    options.intra_op_num_threads = options.inter_op_num_threads = 1
    return onnxruntime.InferenceSession(folder / "model.onnx", options)


def outputs_of(names, values):
    return [
        {"name": name, "datatype": "FP32", "shape": list(value.shape), "data": value.ravel().tolist()}
        for name, value in zip(names, values, strict=True)
    ]


def raw_app(folder: Path):
    session = onnx_session(folder)
    names = [output.name for output in session.get_outputs()]

    async def app(scope, receive, send):
        body = b""
        while True:
            message = await receive()
            body += message["body"]
            if not message.get("more_body"):
                break
        sent = json.loads(body)["inputs"][0]
        values = session.run(None, {"X": np.array(sent["data"], np.float32).reshape(sent["shape"])})
        answer = json.dumps({"model_name": NAME, "outputs": outputs_of(names, values)}).encode()
        headers = [(b"content-type", b"application/json"), (b"content-length", b"%d" % len(answer))]
        await send({"type": "http.response.start", "status": 200, "headers": headers})
        await send({"type": "http.response.body", "body": answer})

    return app


def fastapi_app(folder: Path):
    from fastapi import FastAPI
    from pydantic import BaseModel

    class Input(BaseModel):
        name: str
        shape: list[int]
        datatype: str
        data: list[float]

    class Body(BaseModel):
        inputs: list[Input]

    session = onnx_session(folder)
    names = [output.name for output in session.get_outputs()]
    app = FastAPI()

    async def infer(body):
        sent = body.inputs[0]
        values = session.run(None, {"X": np.array(sent.data, np.float32).reshape(sent.shape)})
        return {"model_name": NAME, "outputs": outputs_of(names, values)}

    infer.__annotations__["body"] = Body
    app.post(f"/v2/models/{NAME}/infer")(infer)
    return app


def serve_plain(app) -> None:
    import uvicorn

    async def main() -> None:
        server = uvicorn.Server(
            uvicorn.Config(app, port=0, loop="none", http="httptools", log_level="error", access_log=False)
        )
        task = asyncio.create_task(server.serve())
        while not server.started:
            await asyncio.sleep(0.01)
        say_ready(f"http://127.0.0.1:{server.servers[0].sockets[0].getsockname()[1]}", "none")
        await until_told()
        server.should_exit = True
        await task

    run(main())


def run(main) -> None:
    import uvloop

    uvloop.run(main)


def say_ready(url: str, key: str) -> None:
    print(f"ready {url} {key}", flush=True)


async def until_told() -> None:
    await asyncio.to_thread(sys.stdin.read)


def serve_casemate(folder: Path, profile: str) -> None:
    """`casemate up` on a home that the demo made, all its processes included."""
    env = {
        **os.environ,
        "CASEMATE_HOME": str(folder / "home"),
        "CASEMATE_KEYS": str(folder / "keys"),
        "CASEMATE_ADDRESS_RATE": "1000000",  # the load comes from one address
    }
    command = [sys.executable, "-m", "casemate"]

    def casemate(*arguments: str) -> dict:
        done = subprocess.run([*command, *arguments, "--json"], env=env, stdout=subprocess.PIPE, check=True)
        return json.loads(done.stdout)

    casemate("demo", "--home", str(folder / "home"), "--once")
    up = subprocess.Popen(
        [*command, "up", "--data-port", "0", "--control-port", "0"], env=env, stdout=subprocess.PIPE, text=True
    )
    url = re.search(r"data=(\S+)", up.stdout.readline())[1]
    casemate("deploy", NAME, f"{NAME}@1", "--profile", profile)
    issued = casemate("key", "issue", "bench", "--role", "caller", "--deployment", NAME, "--rate", "1000000/s")
    say_ready(url, issued["key"])
    sys.stdin.read()
    up.terminate()
    up.wait()


def serve(target: str, folder: Path) -> None:
    if target == "raw":
        serve_plain(raw_app(folder))
    elif target == "fastapi":
        serve_plain(fastapi_app(folder))
    else:
        serve_casemate(folder, target.split()[1])


# Measuring.


def start(target: str, folder: Path):
    """A server process. Sets `.url` and `.key` when it is ready."""
    process = subprocess.Popen(
        [sys.executable, __file__, "serve", target, str(folder)],
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
        text=True,
    )
    word, _, rest = process.stdout.readline().partition(" ")
    if word != "ready":
        raise SystemExit(f"{target} did not start")
    process.url, process.key = rest.split()
    return process


def family(root: int) -> set[int]:
    """The process and all its descendants."""
    parents = {}
    for entry in Path("/proc").iterdir():
        if entry.name.isdigit():
            try:
                parents[int(entry.name)] = int((entry / "stat").read_text().rpartition(")")[2].split()[1])
            except OSError:
                continue
    found, grown = {root}, True
    while grown:
        more = {pid for pid, parent in parents.items() if parent in found} - found
        found |= more
        grown = bool(more)
    return found


def cpu_seconds(pids: set[int]) -> float:
    total = 0
    for pid in pids:
        fields = Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()
        total += int(fields[11]) + int(fields[12])
    return total / TICK


def load(target: str, process, folder: Path, seconds: float) -> dict[str, float]:
    script = folder / f"{target.replace(' ', '-')}.lua"
    script.write_text(LUA % {"folder": folder, "key": process.key})
    pids = family(process.pid)
    before = cpu_seconds(pids)
    done = subprocess.run(
        ["wrk", "-t1", f"-c{CONNECTIONS}", f"-d{seconds:g}s", "--latency", "-s", script,
         f"{process.url}/v2/models/{NAME}/infer"],
        stdout=subprocess.PIPE, text=True, check=True,
    )  # fmt: skip
    used = cpu_seconds(pids) - before
    result = json.loads(re.search(r"RESULT (.*)", done.stdout)[1])
    if result["bad"] or result["errors"]:
        raise SystemExit(f"{target}: {result['bad']} refusals, {result['errors']} errors: not a measurement")
    return {
        "rate": result["requests"] / result["us"] * 1e6,
        "p50": result["p50"] / 1000,
        "p99": result["p99"] / 1000,
        "cpu": used / result["requests"] * 1e6,
    }


def measure(folder: Path) -> dict[str, dict[str, float]]:
    """Medians per target. Each has its server up only while it is asked, so that none takes another's time."""
    rounds: dict[str, list[dict[str, float]]] = {target: [] for target in TARGETS}
    for number in range(ROUNDS):
        turn = number % len(TARGETS)
        for target in TARGETS[turn:] + TARGETS[:turn]:
            own = folder / f"{number}-{target.replace(' ', '-')}"
            own.mkdir()
            for name in ("model.onnx", "body.json"):
                shutil.copy(folder / name, own)
            process = start(target, own)
            try:
                load(target, process, own, 1)
                rounds[target].append(load(target, process, own, SECONDS))
            finally:
                process.stdin.close()
                process.wait(60)  # the gateway drains
    return {
        target: {figure: statistics.median(one[figure] for one in found) for figure in found[0]}
        for target, found in rounds.items()
    }


def rows(medians: dict[str, dict[str, float]]) -> list[dict]:
    raw, fastapi = medians["raw"], medians["fastapi"]
    found = []
    for target, one in medians.items():
        ours = target.startswith("casemate")
        found += [
            {
                "name": f"{target}: requests",
                "value": round(one["rate"]),
                "unit": "1/s",
                "beside": f"FastAPI {round(fastapi['rate'])}",
                "ratio": round(one["rate"] / fastapi["rate"], 2),
                **({"aim": "> 1"} if ours else {}),
            },
            {"name": f"{target}: p50", "value": round(one["p50"], 2), "unit": "ms"},
            {"name": f"{target}: p99", "value": round(one["p99"], 2), "unit": "ms"},
            {"name": f"{target}: CPU per request", "value": round(one["cpu"]), "unit": "us"},
        ]
        if ours:
            over = round(one["cpu"] - raw["cpu"])
            found.append({"name": f"{target}: CPU per request over raw", "value": over, "unit": "us", "aim": "<= 120"})
    return found


def main() -> None:
    if not shutil.which("wrk"):
        raise SystemExit("wrk is missing: apt install wrk")
    with tempfile.TemporaryDirectory(prefix="casemate-bench-") as name:
        folder = Path(name)
        make_material(folder)
        json.dump(rows(measure(folder)), sys.stdout, indent=1)


if __name__ == "__main__":
    if sys.argv[1:2] == ["serve"]:
        serve(sys.argv[2], Path(sys.argv[3]))
    else:
        main()
