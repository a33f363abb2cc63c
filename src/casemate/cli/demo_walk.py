"""The steps of `casemate demo`. Each acts through a public door and says what it saw, or fails."""

from __future__ import annotations

import csv
import json
import os
import signal
import socket
import ssl
import subprocess
import sys
import tempfile
import threading
import time
from collections.abc import Callable, Iterator
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any, Self

import httpx

import casemate
from casemate.client import Casemate
from casemate.core import CasemateError, VerificationError
from casemate.settings import Settings

DEPLOYMENT = "diagnosis"
_HELD_BACK = 0.25  # share of the rows that training never sees; as in examples/train_diagnosis.py
_SEED = 7
_HOSTILE_PICKLE = b"cposix\nsystem\n(S'touch /tmp/casemate-was-breached'\ntR."
_HOSTILE_SCRIPT = """\
import os, pathlib, socket

def attempt(act):
    try:
        act()
    except OSError as error:
        print("stopped:", error)

attempt(lambda: socket.create_connection(("127.0.0.1", 9), timeout=1))
attempt(lambda: open({key!r}).read())
attempt(lambda: pathlib.Path({outside!r}).write_text("out"))
"""


@dataclass(frozen=True, slots=True, kw_only=True)
class Step:
    name: str
    ok: bool
    seconds: float
    detail: str

    def row(self) -> dict[str, Any]:
        return asdict(self) | {"seconds": round(self.seconds, 3)}


class StepError(Exception):
    """A step did not see what it must see."""


class Walk:
    """A home, its running server, and what the steps have learned so far."""

    def __init__(self, settings: Settings) -> None:
        self.settings = settings
        self.folder = Path(tempfile.mkdtemp(prefix="casemate-walk-"))
        self.keys = Path()
        self.data = ""
        self.control: Casemate
        self.key = ""
        self.rows: list[list[float]] = []
        self.labels: list[int] = []
        self._server: subprocess.Popen[str] | None = None
        self._http = httpx.Client()

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        self.stop()
        self._http.close()
        for file in self.folder.iterdir():
            file.unlink()
        self.folder.rmdir()

    def start(self) -> str:
        """Start `casemate up` and wait for its ready line."""
        ports = [
            "--data-port",
            str(_free(self.settings.data_port)),
            "--control-port",
            str(_free(self.settings.control_port)),
        ]
        command = [sys.executable, "-m", "casemate", "up", "--home", str(self.settings.home), *ports]
        if self.settings.insecure_no_sandbox:
            command.append("--insecure-no-sandbox")
        self._server = subprocess.Popen(  # noqa: S603 our own command
            command, stdout=subprocess.PIPE, text=True, start_new_session=True
        )
        assert self._server.stdout is not None
        line = self._server.stdout.readline().strip()
        if not line.startswith("ready "):
            raise StepError("casemate up did not become ready; its message stands above")
        self.data = dict(word.split("=", 1) for word in line.split()[1:])["data"]
        trust = ssl.create_default_context(cafile=str(self.settings.home / "tls" / "ca.pem"))
        self._http = httpx.Client(verify=trust, timeout=30)
        return line

    def stop(self) -> None:
        if self._server is not None and self._server.poll() is None:
            self._server.send_signal(signal.SIGTERM)
            self._server.wait(timeout=30)

    def wait(self) -> None:
        assert self._server is not None
        self._server.wait()

    def infer(self, body: object, key: str | None = None) -> httpx.Response:
        """One request through the public door."""
        key = self.key if key is None else key
        content = body if isinstance(body, bytes) else json.dumps(body).encode()
        headers = {"Content-Type": "application/json"} | ({"Authorization": f"Bearer {key}"} if key else {})
        return self._http.post(f"{self.data}/v2/models/{DEPLOYMENT}/infer", content=content, headers=headers)

    def next_lines(self) -> list[str]:
        """What to type next: commands that can be pasted."""
        body = self.folder / "row.json"
        body.write_text(json.dumps(request(self.rows[:1])))
        return [
            f"export CASEMATE_HOME={self.settings.home}",
            f"{Path(sys.executable).with_name('casemate')} status",
            (
                f"curl --cacert {self.settings.home}/tls/ca.pem -H 'Authorization: Bearer {self.key}' "
                f"-d @{body} {self.data}/v2/models/{DEPLOYMENT}/infer"
            ),
        ]


def request(rows: list[list[float]]) -> dict[str, Any]:
    """Rows as a request of the Open Inference Protocol v2."""
    return {"inputs": [{"name": "X", "shape": [len(rows), len(rows[0])], "datatype": "FP32", "data": rows}]}


def walk(here: Walk) -> Iterator[Step]:
    """Run the steps in order; a failed one ends the walk, since the rest stands on it."""
    for name, act in _STEPS:
        start = time.monotonic()
        try:
            detail, passed = act(here), True
        except (StepError, CasemateError, httpx.HTTPError, OSError) as error:
            detail, passed = f"{type(error).__name__}: {error}", False
        yield Step(name=name, ok=passed, seconds=time.monotonic() - start, detail=detail)
        if not passed:
            return


def _make_home(here: Walk) -> str:
    from casemate.app.local import init_home

    made = init_home(here.settings)
    here.keys = Path(made["keys"])
    return f"{made['home']}, its keys in {made['keys']}"


def _start(here: Walk) -> str:
    line = here.start()
    here.control = Casemate(socket=here.settings.home / "run" / "control.sock")
    return line


def _push_dataset(here: Walk) -> str:
    from sklearn.datasets import load_breast_cancer
    from sklearn.model_selection import train_test_split

    data = load_breast_cancer()
    file = here.folder / "diagnosis.csv"
    with file.open("w", newline="") as out:
        writer = csv.writer(out)
        writer.writerow([*(name.replace(" ", "_") for name in data.feature_names), "diagnosis"])
        writer.writerows([*row, label] for row, label in zip(data.data.tolist(), data.target.tolist(), strict=True))
    _, rows, _, labels = train_test_split(
        data.data, data.target, test_size=_HELD_BACK, random_state=_SEED, stratify=data.target
    )
    here.rows, here.labels = rows.tolist(), labels.tolist()
    result = _clean(here.control.push_dataset(DEPLOYMENT, file, target="diagnosis", reason="demo"))
    return f"{len(data.target)} rows of real diagnoses as {result['name']}@{result['version']}, encrypted"


def _train(here: Walk) -> str:
    result = _clean(here.control.train(_example(), dataset=DEPLOYMENT, model=DEPLOYMENT, reason="demo"))
    return f"{result['name']}@{result['version']} {result['digest'][:19]}, scanned, signed, with its provenance"


def _approve(here: Walk) -> str:
    approval = here.control.approve(f"{DEPLOYMENT}@1", environment="dev", reason="demo")
    return "signed" + (", recorded as self-approved" if approval["self_approved"] else "")


def _deploy(here: Walk) -> str:
    result = here.control.deploy(DEPLOYMENT, f"{DEPLOYMENT}@1", reason="demo")
    issued = here.control.issue_key("demo", role="caller", deployment=DEPLOYMENT, expires="1d", rate="2000/s")
    here.key = issued["key"]
    return f"version {result['version']} serves at {here.data} over TLS 1.3, in a sandbox"


def _predict(here: Walk) -> str:
    right = 0
    for row, label in zip(here.rows, here.labels, strict=True):
        answer = here.infer(request([row]))
        if answer.status_code != 200:
            raise StepError(f"an honest row was answered {answer.status_code}: {answer.text[:200]}")
        outputs = {output["name"]: output["data"] for output in answer.json()["outputs"]}
        right += int(outputs["label"][0] == label)
    share = right / len(here.labels)
    if share < 0.9:
        raise StepError(f"accuracy {share:.3f} on held-back rows")
    return f"accuracy {share:.3f} on {len(here.labels)} held-back rows; receipt {answer.headers['casemate-receipt']}"


def _flipped_byte(here: Walk) -> str:
    blobs = here.settings.home / "blobs"
    before = set(blobs.rglob("*"))
    result = _clean(
        here.control.train(_example(), dataset=DEPLOYMENT, model=DEPLOYMENT, parameters='{"C": 0.05}', reason="demo")
    )
    here.control.approve(f"{DEPLOYMENT}@{result['version']}", environment="dev", reason="demo")
    fresh = [path for path in set(blobs.rglob("*")) - before if path.is_file()]
    weights = max(fresh, key=lambda path: path.stat().st_size)
    _flip(weights, weights.stat().st_size // 2)
    try:
        error = _refused(lambda: here.control.deploy(DEPLOYMENT, f"{DEPLOYMENT}@2", reason="demo"), VerificationError)
    finally:
        _flip(weights, weights.stat().st_size // 2)
    still = here.infer(request(here.rows[:1]))
    if still.status_code != 200 or still.json()["model_version"] != "1":
        raise StepError("version 1 no longer serves")
    return f"{error.code}; nothing loaded, version 1 still serves"


def _hostile_pickle(here: Walk) -> str:
    file = here.folder / "model.pkl"
    file.write_bytes(_HOSTILE_PICKLE)
    result = here.control.push_model("stranger", file, reason="demo")
    if result["verdict"] != "refused" or Path("/tmp/casemate-was-breached").exists():  # noqa: S108 what it would touch
        raise StepError(f"a pickle that runs a shell was {result['verdict']}")
    return f"{result['findings'][0]['id']}: {result['findings'][0]['evidence']}"


def _hostile_training(here: Walk) -> str:
    key = next(path for path in here.keys.rglob("*") if path.is_file())
    outside = here.settings.home.parent / "casemate-was-here"
    script = here.folder / "hostile.py"
    script.write_text(_HOSTILE_SCRIPT.format(key=str(key), outside=str(outside)))
    result = here.control.train(script, dataset=DEPLOYMENT, model="stranger", reason="demo")
    blocked = {(attempt["kind"], str(attempt["target"])) for attempt in result["blocked"]}
    seen = {"socket": any(kind == "socket" for kind, _ in blocked)}
    seen |= {"key file": ("open", str(key)) in blocked, "write outside": ("open", str(outside)) in blocked}
    missed = [what for what, found in seen.items() if not found]
    if missed or result["verdict"] != "refused" or outside.exists():
        raise StepError(f"{result['verdict']}, and these were not reported: {missed}")
    return "socket, key file and write outside its folder: stopped and reported"


def _strangers(here: Walk) -> str:
    issue = here.control.issue_key
    other = issue("other", role="caller", deployment="something-else", expires="1h")["key"]
    brief = issue("brief", role="caller", deployment=DEPLOYMENT, expires="1s")["key"]
    body = request(here.rows[:1])
    _expect(here.infer(body, key=""), 401, "no key")
    _expect(here.infer(body, key=other), 403, "a key without the grant")
    deadline = time.monotonic() + 10
    while (answer := here.infer(body, key=brief)).status_code == 200 and time.monotonic() < deadline:
        time.sleep(0.1)
    _expect(answer, 401, "an expired key")
    return "no key 401, no grant 403, expired 401"


def _malformed(here: Walk) -> str:
    row, (tensor,) = here.rows[0], request(here.rows[:1])["inputs"]
    cases: list[tuple[str, object, int]] = [
        ("malformed", b'{"inputs": [', 400),
        ("NaN", {"inputs": [tensor | {"data": [[float("nan"), *row[1:]]]}]}, 400),
        ("wrong shape", {"inputs": [tensor | {"shape": [1, 29], "data": [row[:29]]}]}, 400),
        ("wrong type", {"inputs": [tensor | {"datatype": "INT64"}]}, 400),
        ("oversized", b" " * (64 << 20), 413),
    ]
    for what, body, status in cases:
        _expect(here.infer(body), status, what)
    return ", ".join(f"{what} {status}" for what, _, status in cases)


def _too_many(here: Walk) -> str:
    slow = here.control.issue_key("slow", role="caller", deployment=DEPLOYMENT, expires="1h", rate="2/s")["key"]
    answers = [here.infer(request(here.rows[:1]), key=slow) for _ in range(20)]
    refused = [answer for answer in answers if answer.status_code == 429]
    if not refused or "retry-after" not in refused[0].headers:
        raise StepError(f"20 requests at once on 2/s: {[answer.status_code for answer in answers]}")
    return f"{len(refused)} of 20 answered 429, Retry-After {refused[0].headers['retry-after']} s"


def _roll_back(here: Walk) -> str:
    statuses: dict[str, int] = {}
    done = threading.Event()

    def keep_sending() -> None:
        while not done.is_set():
            answer = here.infer(request(here.rows[:1]))
            word = f"version {answer.json()['model_version']}" if answer.status_code == 200 else str(answer.status_code)
            statuses[word] = statuses.get(word, 0) + 1

    sender = threading.Thread(target=keep_sending)
    sender.start()
    try:
        deployed = here.control.deploy(DEPLOYMENT, f"{DEPLOYMENT}@2", reason="demo")
        _wait_for(statuses, "version 2")
        back = here.control.rollback(DEPLOYMENT, reason="demo")
        _wait_for(statuses, f"version {back['version']}")
    finally:
        done.set()
        sender.join()
    if set(statuses) != {"version 1", "version 2"} or (deployed["version"], back["version"]) != (2, 1):
        raise StepError(f"answers: {statuses}")
    return f"1 -> 2 -> 1 under traffic, {sum(statuses.values())} requests, none failed"


def _audit(here: Walk) -> str:
    from casemate.app.local import verify_altered_copy

    report = here.control.audit_verify()
    if not report["ok"]:
        raise StepError(f"the log does not verify: {report['problems'][:3]}")
    problems = verify_altered_copy(here.settings)
    if not problems:
        raise StepError("an altered row was not noticed")
    return f"{report['size']} entries verified; in a copy with one altered row: {problems[0]}"


_STEPS: tuple[tuple[str, Callable[[Walk], str]], ...] = (
    ("make a home", _make_home),
    ("start the server", _start),
    ("push a dataset", _push_dataset),
    ("train in the sandbox", _train),
    ("approve", _approve),
    ("deploy", _deploy),
    ("predict", _predict),
    ("flipped byte in a model", _flipped_byte),
    ("hostile pickle", _hostile_pickle),
    ("hostile training script", _hostile_training),
    ("strangers at the door", _strangers),
    ("malformed requests", _malformed),
    ("too many requests", _too_many),
    ("deploy and roll back", _roll_back),
    ("audit log", _audit),
)


def _example() -> Path:
    """The training script; in the package when installed, beside it in a checkout."""
    inside = Path(casemate.__file__).parent / "examples" / "train_diagnosis.py"
    return inside if inside.exists() else Path(casemate.__file__).parents[2] / "examples" / "train_diagnosis.py"


def _clean(result: dict[str, Any]) -> dict[str, Any]:
    if result["verdict"] != "clean":
        raise StepError(f"refused: {[finding['id'] for finding in result['findings']]}")
    return result


def _expect(answer: httpx.Response, status: int, what: str) -> None:
    problem = answer.headers.get("content-type", "").startswith("application/problem+json")
    if answer.status_code != status or not problem:
        raise StepError(f"{what}: answered {answer.status_code}, not a problem document with {status}")


def _refused(act: Callable[[], object], family: type[CasemateError]) -> CasemateError:
    try:
        act()
    except family as error:
        return error
    raise StepError("it was not refused")


def _flip(path: Path, offset: int) -> None:
    with path.open("r+b") as file:
        byte = os.pread(file.fileno(), 1, offset)
        os.pwrite(file.fileno(), bytes([byte[0] ^ 1]), offset)


def _wait_for(statuses: dict[str, int], word: str) -> None:
    deadline = time.monotonic() + 10
    seen = statuses.get(word, 0)
    while statuses.get(word, 0) < seen + 3 and time.monotonic() < deadline:
        time.sleep(0.01)


def _free(port: int) -> int:
    """`port` if nobody has it, else 0 for any."""
    with socket.socket() as probe:
        probe.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        try:
            probe.bind(("127.0.0.1", port))
        except OSError:
            return 0
    return port
