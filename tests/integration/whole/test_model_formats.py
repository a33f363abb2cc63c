"""Boosted trees and a converted pickle over the whole way: refused as a pickle, pushed, approved, deployed, asked over TLS."""

from __future__ import annotations

import pickle  # noqa: TID251 writes a pickle of our own making; loads none
import signal
import ssl
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import httpx
import numpy as np
import pytest

from casemate.client import Casemate
from casemate.core import seal_bytes
from casemate.runtime.conversion import RECORD, convert_model, seal_record
from conftest import Walked

RANDOM = np.random.default_rng(5)
ROWS = RANDOM.random((60, 3)).astype(np.float32)
LABELS = (ROWS[:, 0] > 0.5).astype(int)


def make(kind: str, folder: Path) -> tuple[Path, np.ndarray]:
    """A model file and its probabilities of the first four rows."""
    if kind == "xgboost":
        xgboost = pytest.importorskip("xgboost")
        trained = xgboost.train({"objective": "binary:logistic", "nthread": 1}, xgboost.DMatrix(ROWS, LABELS), 4)
        trained.save_model(folder / "model.ubj")
        scores = trained.predict(xgboost.DMatrix(ROWS[:4]))
        return folder / "model.ubj", np.stack([1 - scores, scores], axis=1)
    if kind == "lightgbm":
        lightgbm = pytest.importorskip("lightgbm")
        params = {"objective": "binary", "verbose": -1, "num_threads": 1, "min_data_in_leaf": 3}
        trained = lightgbm.train(params, lightgbm.Dataset(ROWS, LABELS), 4)
        trained.save_model(folder / "model.txt")
        scores = trained.predict(ROWS[:4])
        return folder / "model.txt", np.stack([1 - scores, scores], axis=1)
    from sklearn.linear_model import LogisticRegression

    fitted = LogisticRegression().fit(ROWS, LABELS)
    (folder / "model.pkl").write_bytes(pickle.dumps(fitted))
    return folder / "model.pkl", fitted.predict_proba(ROWS[:4])


@pytest.fixture(scope="module")
def up(tmp_path_factory: pytest.TempPathFactory) -> Iterator[tuple[Walked, str]]:
    """A new home and where its data plane is."""
    folder = tmp_path_factory.mktemp("formats")
    home = Walked(folder / "home", folder / "keys", [])
    home.run("init")
    command = [
        sys.executable,
        "-m",
        "casemate",
        "up",
        "--home",
        str(home.home),
        "--data-port",
        "0",
        "--control-port",
        "0",
    ]
    process = subprocess.Popen(command, stdout=subprocess.PIPE, text=True, env=home.environment())
    assert process.stdout is not None
    words = process.stdout.readline().split()
    assert words[:1] == ["ready"], "the server did not become ready"
    yield home, dict(word.split("=", 1) for word in words[1:])["data"]
    process.send_signal(signal.SIGTERM)
    assert process.wait(timeout=300) == 0
    process.stdout.close()


@pytest.mark.parametrize(
    "kind",
    ["xgboost", pytest.param("lightgbm", marks=pytest.mark.slow), pytest.param("pickle", marks=pytest.mark.slow)],
)
def test_it_is_pushed_deployed_and_asked(kind: str, up: tuple[Walked, str], tmp_path: Path) -> None:
    home, data = up
    path, expected = make(kind, tmp_path)
    name = f"trees-{kind}"
    with Casemate(socket=home.home / "run" / "control.sock") as casemate:
        if kind == "pickle":
            refused = casemate.push_model(name, path)
            assert [finding["id"] for finding in refused["findings"]] == ["pickle-not-served"]
            path = converted(path)
        assert casemate.push_model(name, path)["version"] == 1
        casemate.approve(f"{name}@1", environment="dev")
        casemate.deploy(name, f"{name}@1")
        shown = casemate.model(f"{name}@1")
        key = casemate.issue_key(name, role="caller", expires="1h")["key"]
    assert shown["signature"]["runtime"] == {"pickle": "onnx"}.get(kind, kind)
    assert ("conversion.json" in shown["files"]) is (kind == "pickle")
    (given,) = shown["signature"]["inputs"]
    rows = {"name": given["name"], "shape": [4, 3], "datatype": given["datatype"], "data": ROWS[:4].ravel().tolist()}
    answer = httpx.post(
        f"{data}/v2/models/{name}/infer",
        json={"inputs": [rows]},
        headers={"Authorization": f"Bearer {key}"},
        verify=ssl.create_default_context(cafile=str(home.home / "tls" / "ca.pem")),
        timeout=300,
    )
    assert answer.status_code == 200, answer.text
    outputs = {one["name"]: np.array(one["data"]).reshape(one["shape"]) for one in answer.json()["outputs"]}
    np.testing.assert_allclose(outputs["probabilities"], expected, atol=0.051)  # coarse, as the profile rounds


def converted(path: Path) -> Path:
    folder = path.with_suffix("")
    folder.mkdir()
    with seal_bytes([path.read_bytes()]) as source, convert_model(source, path.name, to="onnx") as made:
        (folder / made.path).write_bytes(made.file.read())
        with seal_record(made) as record:
            (folder / RECORD).write_bytes(record.read())
    return folder
