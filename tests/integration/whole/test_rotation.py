"""Key-encryption keys are rotated and retired while the server predicts."""

from __future__ import annotations

import json
import ssl
import threading
from pathlib import Path

import httpx
from tiny_models import doubling_model

from conftest import Server, Walked


def test_predictions_reads_and_pushes_go_on_while_the_keys_rotate(
    walked: Walked, server: Server, tmp_path: Path
) -> None:
    (tmp_path / "model.onnx").write_bytes(doubling_model(3.0))
    walked.run("model", "push", "rotating", str(tmp_path / "model.onnx"))
    walked.run("model", "approve", "rotating@1")
    walked.run("deploy", "rotating", "rotating@1")
    issued = walked.run(
        "key",
        "issue",
        "r",
        "--role",
        "caller",
        "--deployment",
        "rotating",
        "--expires",
        "1h",
        "--rate",
        "500/s",
        "--json",
    )
    before = json.loads(walked.run("keys", "show", "--json"))
    total = sum(kek["data_keys"] for kek in before["keks"])
    assert before["provider"] == "file"
    assert total > 1

    statuses: list[int] = []
    refused: list[str] = []
    stop = threading.Event()

    def predict() -> None:
        trust = ssl.create_default_context(cafile=str(walked.home / "tls" / "ca.pem"))
        headers = {"Authorization": f"Bearer {json.loads(issued)['key']}"}
        body = {"inputs": [{"name": "X", "shape": [1, 3], "datatype": "FP32", "data": [1.0, 2.0, 3.0]}]}
        with httpx.Client(base_url=server.data, verify=trust, headers=headers) as client:
            while not stop.wait(0.005):  # below the rate that the key and the address may have
                answer = client.post("/v2/models/rotating/infer", json=body)
                statuses.append(answer.status_code)
                if answer.status_code != 200:
                    refused.append(answer.text)

    caller = threading.Thread(target=predict)
    caller.start()
    try:
        done = json.loads(walked.run("keys", "rotate", "--reason", "yearly", "--json"))
        assert (done["rewrapped"], done["failed"]) == (total, [])
        walked.run("model", "verify", "--all")
        walked.run("keys", "rotate", "--retire")
        shown = json.loads(walked.run("keys", "show", "--json"))["keks"]
        assert [(kek["state"], kek["data_keys"]) for kek in shown[-2:]] == [("retired", 0), ("wraps", total)]
        walked.run("model", "verify", "--all")
        walked.run("dataset", "verify", "--all")
        (tmp_path / "next.onnx").write_bytes(doubling_model(4.0))
        walked.run("model", "push", "rotating", str(tmp_path / "next.onnx"))
        walked.run("model", "approve", "rotating@2")
        walked.run("deploy", "rotating", "rotating@2")
    finally:
        stop.set()
        caller.join()
    assert len(statuses) > 10
    assert refused == []
    retired, rotated = json.loads(walked.run("audit", "log", "--action", "keys:rotate", "--kind", "intent", "--json"))
    assert (rotated["reason"], "retire" in rotated["facts"]) == ("yearly", False)
    assert retired["facts"]["retire"] is True
