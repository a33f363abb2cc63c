"""The main job on real data, and the promises that other programs rely on."""

from __future__ import annotations

import json
import os
import re
import shutil
import ssl
import subprocess
import sys
import time
from pathlib import Path

import httpx
import pyarrow.parquet as pq
import pytest
from tiny_models import ROWS, SCRIPT, doubling_model

from conftest import Server, Walked

NAMES = [
    "make a home",
    "start the server",
    "push a dataset",
    "train in the sandbox",
    "approve",
    "deploy",
    "predict",
    "flipped byte in a model",
    "hostile pickle",
    "hostile training script",
    "strangers at the door",
    "malformed requests",
    "too many requests",
    "deploy and roll back",
    "audit log",
]


def test_the_demo_walks_the_whole_way(walked: Walked) -> None:
    assert [(step["name"], step["ok"]) for step in walked.steps] == [(name, True) for name in NAMES]


def test_the_readme_shows_the_steps_of_the_demo(walked: Walked) -> None:
    readme = (Path(__file__).parents[3] / "README.md").read_text()
    assert re.findall(r"^ ok     (.*?)  +[\d.]+ s ", readme, re.MULTILINE) == [step["name"] for step in walked.steps]


def test_nothing_sensitive_lies_in_the_home_in_plain_text(walked: Walked, tmp_path: Path) -> None:
    walked.run("dataset", "pull", "diagnosis", str(tmp_path / "rows.parquet"), "--reason", "test")
    walked.run("model", "pull", "diagnosis@1", str(tmp_path / "model"), "--reason", "test")
    rows = pq.read_table(tmp_path / "rows.parquet").to_pylist()
    values = {repr(value) for row in rows for value in row.values()}  # the ranges that a model keeps are among them
    weights = (tmp_path / "model" / "model.onnx").read_bytes()
    kept = [file for file in walked.keys.rglob("*") if file.suffix == ".key" or file.name == "kek.json"]
    secrets = [secret_part(file.read_bytes()) for file in kept]
    numbers = {value.encode() for value in values if len(value) > 6}
    needles = [weights[at : at + 32] for at in range(0, len(weights) - 32, 97)]
    needles += [secret[at : at + 40] for secret in secrets for at in range(0, max(1, len(secret) - 20), 40)]
    needles += [b"PRIVATE KEY", b'"role":"caller"']
    assert len(needles) > 20
    assert len(numbers) > 1000
    for file in walked.home.rglob("*"):
        if file.is_file():
            data = file.read_bytes()
            found = [needle for needle in needles if needle in data]
            if file.name.startswith("casemate.db"):  # the log names roles in its reasons, as it must
                found = [needle for needle in found if needle != b'"role":"caller"']
            assert not found, (file, found[:3])
            assert not numbers.intersection(re.findall(rb"[0-9.]+", data)), file


def secret_part(key: bytes) -> bytes:
    """Of a private key (PKCS 8) in PEM characters of its number: what follows is the public key, as in its certificate."""
    if not key.startswith(b"-----BEGIN"):
        return key
    lines = key.split()[3:-3]  # between "-----BEGIN PRIVATE KEY-----" and its end
    return lines[0][24:] if len(lines) == 1 else lines[1][:24]  # Ed25519, or P-256


def test_a_copied_home_without_its_keys_gives_nothing(walked: Walked, tmp_path: Path) -> None:
    copy = shutil.copytree(
        walked.home,
        tmp_path / "copy",
        ignore=lambda folder, _: os.listdir(folder) if Path(folder).name == "run" else [],
    )
    stranger = Walked(copy, tmp_path / "no-keys", [])
    answer = json.loads(stranger.run("dataset", "pull", "diagnosis", str(tmp_path / "rows"), "--json", code=2))
    assert answer["code"] == "key-file-missing"
    assert not (tmp_path / "rows").exists()


@pytest.mark.slow
def test_commands_print_what_other_programs_read(walked: Walked, tmp_path: Path) -> None:
    (tmp_path / "model.onnx").write_bytes(doubling_model(2.0))
    (tmp_path / "rows.csv").write_text(ROWS)
    (tmp_path / "train.py").write_bytes(SCRIPT)
    (tmp_path / "evil.pkl").write_bytes(b"cposix\nsystem\n(S'true'\ntR.")
    pushed = json.loads(walked.run("model", "push", "contract", str(tmp_path / "model.onnx"), "--json"))
    assert {"verdict", "findings", "name", "version", "digest"} <= set(pushed)
    assert (pushed["verdict"], pushed["version"]) == ("clean", 1)
    rows = json.loads(
        walked.run("dataset", "push", "contract", str(tmp_path / "rows.csv"), "--target", "label", "--json")
    )
    assert {"verdict", "findings", "name", "version", "digest"} <= set(rows)
    trained = json.loads(
        walked.run("train", str(tmp_path / "train.py"), "--dataset", "contract", "--model", "contract", "--json")
    )
    assert (trained["verdict"], trained["version"], trained["blocked"]) == ("clean", 2, [])
    for verb in (["model", "scan"], ["model", "push", "contract"]):
        refused = json.loads(walked.run(*verb, str(tmp_path / "evil.pkl"), "--json", code=1))
        assert refused["verdict"] == "refused"
        assert refused["findings"]
    walked.run("model", "approve", "contract@1")
    walked.run("model", "approve", "contract@2")
    first = json.loads(walked.run("deploy", "contract", "contract@1", "--json"))
    assert (first["name"], first["version"], first["previous"]) == ("contract", 1, None)
    assert json.loads(walked.run("deploy", "contract", "contract@2", "--json"))["previous"] == 1
    back = json.loads(walked.run("rollback", "contract", "--json"))
    assert (back["version"], back["previous"]) == (1, 2)
    key = json.loads(
        walked.run("key", "issue", "c", "--role", "caller", "--deployment", "contract", "--expires", "1h", "--json")
    )
    assert {"id", "key", "expires_at"} <= set(key)
    assert key["key"].startswith("cm_")
    report = json.loads(walked.run("audit", "verify", "--json"))
    assert {"ok", "size", "root", "problems"} <= set(report)
    for noun in ("dataset", "model", "deployment", "key"):
        assert all("name" in row for row in json.loads(walked.run(noun, "list", "--json")))
    lineage = json.loads(walked.run("model", "lineage", "contract@2", "--json"))
    assert "dataset" in json.dumps(lineage)


@pytest.mark.parametrize(
    "words",
    [
        ["audit", "export", "{}/no/log.jsonl"],
        ["audit", "checkpoint", "--to", "{}/no/checkpoint"],
        ["audit", "verify", "--against", "{}/no/checkpoint"],
        ["dataset", "pull", "diagnosis", "{}/no/rows.parquet"],
        ["dataset", "push", "diagnosis", "{}/no.csv"],
        ["train", "{}/no.py", "--dataset", "diagnosis", "--model", "diagnosis"],
    ],
    ids=lambda words: "-".join(words[:2]),
)
def test_a_file_that_cannot_be_opened_is_one_sentence(walked: Walked, tmp_path: Path, words: list[str]) -> None:
    filled = [word.format(tmp_path) for word in words]
    command = [sys.executable, "-m", "casemate", "--home", str(walked.home), *filled]
    done = subprocess.run(command, capture_output=True, text=True, env=walked.environment(), timeout=300, check=False)
    assert done.returncode == 2
    assert done.stderr.replace("\n", " ").startswith("Error (no-file): ")
    assert str(tmp_path) in done.stderr.replace("\n", "")
    assert "Traceback" not in done.stderr
    assert list(tmp_path.iterdir()) == []


def test_init_changes_nothing_the_second_time(walked: Walked) -> None:
    before = {file: file.read_bytes() for file in walked.keys.rglob("*.key")}
    walked.run("init")
    assert {file: file.read_bytes() for file in walked.keys.rglob("*.key")} == before


@pytest.mark.slow
def test_verify_names_what_was_altered(walked: Walked, tmp_path: Path) -> None:
    before = set((walked.home / "blobs").rglob("blob_*"))
    (tmp_path / "model.onnx").write_bytes(doubling_model(3.0))
    walked.run("model", "push", "tampered", str(tmp_path / "model.onnx"))
    (blob,) = set((walked.home / "blobs").rglob("blob_*")) - before
    whole = blob.read_bytes()
    blob.write_bytes(whole[:-1] + bytes([whole[-1] ^ 1]))
    try:
        result = json.loads(walked.run("model", "verify", "--all", "--json", code=1))
        assert ["tampered@1" in problem["location"] for problem in result["problems"]] == [True]
    finally:
        blob.write_bytes(whole)
    walked.run("model", "verify", "--all")
    walked.run("dataset", "verify", "--all")


def data_client(walked: Walked) -> httpx.Client:
    return httpx.Client(verify=ssl.create_default_context(cafile=str(walked.home / "tls" / "ca.pem")), timeout=120)


def test_a_server_serves_and_the_commands_speak_to_it(walked: Walked, server: Server) -> None:
    key = json.loads(
        walked.run("key", "issue", "up", "--role", "caller", "--deployment", "diagnosis", "--expires", "1h", "--json")
    )
    with data_client(walked) as http:
        assert http.get(f"{server.data}/v2/health/ready").status_code == 200
        body = {"inputs": [{"name": "X", "shape": [1, 30], "datatype": "FP32", "data": [1.0] * 30}]}
        url = f"{server.data}/v2/models/diagnosis/infer"
        answer = http.post(url, json=body, headers={"Authorization": f"Bearer {key['key']}"})
        assert answer.status_code == 200, answer.text
        assert answer.headers["casemate-receipt"].startswith("evt_")
        walked.run("key", "revoke", key["id"])
        assert http.post(url, json=body, headers={"Authorization": f"Bearer {key['key']}"}).status_code == 401
        assert http.get(f"{server.control}/api/openapi.json").status_code == 200
        assert http.get(f"{server.control}/api/v1/models").status_code == 401


def test_a_revoked_version_answers_nobody_from_then_on(walked: Walked, server: Server, tmp_path: Path) -> None:
    (tmp_path / "model.onnx").write_bytes(doubling_model(4.0))
    walked.run("model", "push", "ended", str(tmp_path / "model.onnx"))
    walked.run("model", "approve", "ended@1")
    walked.run("deploy", "ended", "ended@1")
    issued = walked.run("key", "issue", "e", "--role", "caller", "--deployment", "ended", "--expires", "1h", "--json")
    headers = {"Authorization": f"Bearer {json.loads(issued)['key']}"}
    body = {"inputs": [{"name": "X", "shape": [1, 3], "datatype": "FP32", "data": [1.0, 2.0, 3.0]}]}
    with data_client(walked) as http:
        url = f"{server.data}/v2/models/ended/infer"
        assert http.post(url, json=body, headers=headers).status_code == 200
        walked.run("model", "revoke", "ended@1", code=2)  # without a reason
        said = json.loads(walked.run("model", "revoke", "ended@1", "--reason", "backdoor", "--json"))
        assert (said["state"], said["paused"]) == ("revoked", ["ended"])
        assert http.post(url, json=body, headers=headers).status_code == 503
        assert json.loads(walked.run("deployment", "resume", "ended", "--json", code=1))["code"] == "revoked"
    assert json.loads(walked.run("model", "show", "ended@1", "--json"))["revoked"] is True


def test_a_prediction_is_on_record_under_its_receipt(walked: Walked, server: Server) -> None:
    key = json.loads(
        walked.run("key", "issue", "up", "--role", "caller", "--deployment", "diagnosis", "--expires", "1h", "--json")
    )
    marker = 123456.789012
    with data_client(walked) as http:
        body = {"inputs": [{"name": "X", "shape": [1, 30], "datatype": "FP32", "data": [marker] * 30}]}
        url = f"{server.data}/v2/models/diagnosis/infer"
        receipt = http.post(url, json=body, headers={"Authorization": f"Bearer {key['key']}"}).headers[
            "casemate-receipt"
        ]
    deadline = time.monotonic() + 10
    entries: list[dict[str, object]] = []
    while not entries and time.monotonic() < deadline:
        found = json.loads(walked.run("audit", "log", "--kind", "prediction", "--limit", "5", "--json"))
        entries = [entry for entry in found if entry["id"] == receipt]
    assert entries, "the prediction is not on record"
    assert entries[0]["credential"] == key["id"]
    assert "123456" not in json.dumps(entries[0])
    assert json.loads(walked.run("audit", "verify", "--json"))["ok"]


@pytest.mark.parametrize("version", [ssl.TLSVersion.TLSv1_2])
def test_neither_door_speaks_less_than_tls_1_3(walked: Walked, server: Server, version: ssl.TLSVersion) -> None:
    for door in (server.data, server.control):
        context = ssl.create_default_context(cafile=str(walked.home / "tls" / "ca.pem"))
        context.maximum_version = version
        with httpx.Client(verify=context) as http, pytest.raises(httpx.ConnectError):
            http.get(f"{door}/v2/health/live")
