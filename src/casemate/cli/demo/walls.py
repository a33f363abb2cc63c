"""The walls, each attacked as a step that passes only where it holds."""

from __future__ import annotations

import os
import threading
import time
from collections.abc import Callable
from pathlib import Path

import httpx

from casemate.cli.demo.stage import DEPLOYMENT, Stage, StepError, clean, example, request
from casemate.core import CasemateError, VerificationError

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


def flipped_byte(stage: Stage) -> str:
    blobs = stage.settings.home / "blobs"
    before = set(blobs.rglob("*"))
    result = clean(
        stage.control.train(example(), dataset=DEPLOYMENT, model=DEPLOYMENT, parameters='{"C": 0.05}', reason="demo")
    )
    stage.control.approve(f"{DEPLOYMENT}@{result['version']}", environment="dev", reason="demo")
    fresh = [path for path in set(blobs.rglob("*")) - before if path.is_file()]
    weights = max(fresh, key=lambda path: path.stat().st_size)
    _flip(weights, weights.stat().st_size // 2)
    try:
        error = _refused(lambda: stage.control.deploy(DEPLOYMENT, f"{DEPLOYMENT}@2", reason="demo"), VerificationError)
    finally:
        _flip(weights, weights.stat().st_size // 2)
    still = stage.infer(request(stage.rows[:1]))
    if still.status_code != 200 or still.json()["model_version"] != "1":
        raise StepError("version 1 no longer serves")
    return f"{error.code}; nothing loaded, version 1 still serves"


def hostile_pickle(stage: Stage) -> str:
    file = stage.folder / "model.pkl"
    file.write_bytes(_HOSTILE_PICKLE)
    result = stage.control.push_model("stranger", file, reason="demo")
    if result["verdict"] != "refused" or Path("/tmp/casemate-was-breached").exists():  # noqa: S108 what it would touch
        raise StepError(f"a pickle that runs a shell was {result['verdict']}")
    return f"{result['findings'][0]['id']}: {result['findings'][0]['evidence']}"


def hostile_training(stage: Stage) -> str:
    key = next(path for path in stage.keys.rglob("*") if path.is_file())
    outside = stage.settings.home.parent / "casemate-was-here"
    script = stage.folder / "hostile.py"
    script.write_text(_HOSTILE_SCRIPT.format(key=str(key), outside=str(outside)))
    result = stage.control.train(script, dataset=DEPLOYMENT, model="stranger", reason="demo")
    blocked = {(attempt["kind"], str(attempt["target"])) for attempt in result["blocked"]}
    seen = {"socket": any(kind == "socket" for kind, _ in blocked)}
    seen |= {"key file": ("open", str(key)) in blocked, "write outside": ("open", str(outside)) in blocked}
    missed = [what for what, found in seen.items() if not found]
    if missed or result["verdict"] != "refused" or outside.exists():
        raise StepError(f"{result['verdict']}, and these were not reported: {missed}")
    return "socket, key file and write outside its folder: stopped and reported"


def strangers(stage: Stage) -> str:
    issue = stage.control.issue_key
    other = issue("other", role="caller", deployment="something-else", expires="1h")["key"]
    brief = issue("brief", role="caller", deployment=DEPLOYMENT, expires="1s")["key"]
    body = request(stage.rows[:1])
    _expect(stage.infer(body, key=""), 401, "no key")
    _expect(stage.infer(body, key=other), 403, "a key without the grant")
    deadline = time.monotonic() + 10
    while (answer := stage.infer(body, key=brief)).status_code == 200 and time.monotonic() < deadline:
        time.sleep(0.1)
    _expect(answer, 401, "an expired key")
    return "no key 401, no grant 403, expired 401"


def malformed(stage: Stage) -> str:
    row, (tensor,) = stage.rows[0], request(stage.rows[:1])["inputs"]
    cases: list[tuple[str, object, int]] = [
        ("malformed", b'{"inputs": [', 400),
        ("NaN", {"inputs": [tensor | {"data": [[float("nan"), *row[1:]]]}]}, 400),
        ("wrong shape", {"inputs": [tensor | {"shape": [1, 29], "data": [row[:29]]}]}, 400),
        ("wrong type", {"inputs": [tensor | {"datatype": "INT64"}]}, 400),
        ("oversized", b" " * (64 << 20), 413),
    ]
    for what, body, status in cases:
        _expect(stage.infer(body), status, what)
    return ", ".join(f"{what} {status}" for what, _, status in cases)


def too_many(stage: Stage) -> str:
    slow = stage.control.issue_key("slow", role="caller", deployment=DEPLOYMENT, expires="1h", rate="2/s")["key"]
    answers = [stage.infer(request(stage.rows[:1]), key=slow) for _ in range(20)]
    refused = [answer for answer in answers if answer.status_code == 429]
    if not refused or "retry-after" not in refused[0].headers:
        raise StepError(f"20 requests at once on 2/s: {[answer.status_code for answer in answers]}")
    return f"{len(refused)} of 20 answered 429, Retry-After {refused[0].headers['retry-after']} s"


def roll_back(stage: Stage) -> str:
    statuses: dict[str, int] = {}
    done = threading.Event()

    def keep_sending() -> None:
        while not done.is_set():
            answer = stage.infer(request(stage.rows[:1]))
            word = f"version {answer.json()['model_version']}" if answer.status_code == 200 else str(answer.status_code)
            statuses[word] = statuses.get(word, 0) + 1

    sender = threading.Thread(target=keep_sending)
    sender.start()
    try:
        deployed = stage.control.deploy(DEPLOYMENT, f"{DEPLOYMENT}@2", reason="demo")
        _wait_for(statuses, "version 2")
        back = stage.control.rollback(DEPLOYMENT, reason="demo")
        _wait_for(statuses, f"version {back['version']}")
    finally:
        done.set()
        sender.join()
    if set(statuses) != {"version 1", "version 2"} or (deployed["version"], back["version"]) != (2, 1):
        raise StepError(f"answers: {statuses}")
    return f"1 -> 2 -> 1 under traffic, {sum(statuses.values())} requests, none failed"


def audit(stage: Stage) -> str:
    from casemate.app.local import verify_altered_copy

    report = stage.control.audit_verify()
    if not report["ok"]:
        raise StepError(f"the log does not verify: {report['problems'][:3]}")
    problems = verify_altered_copy(stage.settings)
    if not problems:
        raise StepError("an altered row was not noticed")
    return f"{report['size']} entries verified; in a copy with one altered row: {problems[0]}"


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
