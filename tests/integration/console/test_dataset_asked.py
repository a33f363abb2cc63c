"""Training and a push's lineage ask the gate about the dataset as well, for whoever sends them."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest
from test_door import call
from tiny_models import doubling_model

from casemate.client import Casemate
from casemate.client.files import tar_stream

TRAIN, PUSH = "/api/v1/models/mine/train", "/api/v1/models/mine/versions"
# Rows that a script prints come back to whoever sent it.
PRINTS = b"""import os, pathlib, pyarrow.parquet
print(pyarrow.parquet.read_table(pathlib.Path(os.environ["CASEMATE_DATASET"]) / "data.parquet").to_pydict())
"""


@pytest.fixture(scope="module")
def narrow(app, casemate: Casemate, tmp_path_factory: pytest.TempPathFactory) -> dict[str, Any]:
    """A data scientist of one model, and a dataset that is none of theirs."""
    rows = tmp_path_factory.mktemp("rows") / "rows.csv"
    rows.write_text("age,ill\n41,0\n57,1\n68,1\n")
    casemate.push_dataset("secret", rows, target="ill")
    key = casemate.issue_key("narrow", role="caller", deployment="nothing", expires="1h")
    lend(casemate, app, key, "data-scientist", "model:mine")
    return key


def send(app, key: dict[str, Any], path: str, body: bytes, **headers: str):
    headers["Authorization"] = f"Bearer {key['key']}"
    return call(app, "POST", path, headers=headers, params={"dataset": "secret"}, content=body)


def weights(folder: Path) -> bytes:
    (folder / "model.onnx").write_bytes(doubling_model(2.0))
    return b"".join(tar_stream([("model.onnx", folder / "model.onnx")]))


def lend(casemate: Casemate, app, key: dict[str, Any], role: str, on: str = "dataset:secret") -> None:
    asked = call(
        app,
        "POST",
        "/api/v1/grants",
        headers={"Authorization": f"Bearer {key['key']}"},
        params={"role": role, "on": on, "life": "10m", "reason": "to train on it"},
    )
    assert asked.status_code == 200, asked.text
    casemate.grants.approve(asked.json()["id"], reason="they may")


def test_training_needs_the_rows_and_a_push_the_description(
    app, casemate: Casemate, narrow: dict[str, Any], tmp_path: Path
) -> None:
    refused = send(app, narrow, TRAIN, PRINTS)
    assert (refused.status_code, refused.json()["code"]) == (403, "forbidden")
    assert "dataset:export" in refused.json()["detail"]
    assert "41" not in refused.text
    refused = send(app, narrow, PUSH, weights(tmp_path))
    assert (refused.status_code, refused.json()["code"]) == (403, "forbidden")
    assert "dataset:read" in refused.json()["detail"]
    on_record = casemate.audit_entries(kind="decision", action="dataset:export", limit=1)[0]
    assert (on_record["outcome"], on_record["resource"]) == ("refused", "default/dataset:secret")
    assert casemate.audit_entries(kind="intent", action="model:train") == [], "nothing was begun"

    lend(casemate, app, narrow, "auditor")  # sees the description, never the rows
    pushed = send(app, narrow, PUSH, weights(tmp_path))
    assert pushed.status_code == 200, pushed.text
    assert send(app, narrow, TRAIN, PRINTS).status_code == 403

    lend(casemate, app, narrow, "data-scientist")
    trained = send(app, narrow, TRAIN, PRINTS)
    assert trained.status_code == 200, trained.text
    assert "41" in trained.json()["log"], json.dumps(trained.json())


def test_an_answer_is_not_given_again_to_whom_the_dataset_was_closed(
    app, casemate: Casemate, narrow: dict[str, Any], tmp_path: Path
) -> None:
    again = {"Idempotency-Key": "pushed"}
    lend(casemate, app, narrow, "auditor")
    assert send(app, narrow, PUSH, weights(tmp_path), **again).status_code == 200
    assert send(app, narrow, PUSH, weights(tmp_path), **again).status_code == 200
    for grant in casemate.grants.all():
        if grant["scope"] == "dataset:secret" and grant["state"] == "active":
            casemate.grants.revoke(grant["id"], reason="no more")
    assert send(app, narrow, PUSH, weights(tmp_path), **again).status_code == 403
