"""MLflow itself, its stores on this disk, and a server of ours: import with claimed lineage, and `register_model` that lands here.

Runs in `make test-mlflow`, in an environment of its own.
"""

from __future__ import annotations

import json
import os
import signal
import subprocess
import sys
from collections.abc import Iterator
from types import SimpleNamespace
from typing import Any

import numpy as np
import pytest
from tiny_models import doubling_model

mlflow = pytest.importorskip("mlflow", reason="make test-mlflow has it")

REQUIREMENTS = ["numpy"]  # said, so that MLflow does not look for them by loading the model


@pytest.fixture(scope="module")
def place(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Any]:
    """A home with a server, and MLflow with a tracking store in SQLite and its artifacts in a folder."""
    folder = tmp_path_factory.mktemp("mlflow")
    kept = {key: value for key, value in os.environ.items() if not key.startswith("CASEMATE_")}
    environment = {**kept, "CASEMATE_KEYS": str(folder / "keys"), "CASEMATE_HOME": str(folder / "home")}

    def run(*words: str, code: int = 0) -> Any:
        command = [sys.executable, "-W", "ignore", "-m", "casemate", *words, "--json"]
        done = subprocess.run(command, capture_output=True, text=True, env=environment, timeout=600, check=False)
        assert done.returncode == code, f"{words}: {done.returncode}\n{done.stdout}\n{done.stderr}"
        return json.loads(done.stdout or done.stderr)

    run("init")
    command = [sys.executable, "-m", "casemate", "up", "--data-port", "0", "--control-port", "0"]
    process = subprocess.Popen(command, stdout=subprocess.PIPE, text=True, env=environment)
    assert process.stdout is not None
    words = process.stdout.readline().split()
    assert words[:1] == ["ready"]
    control = dict(word.split("=", 1) for word in words[1:])["control"].removeprefix("https://")
    tracking = f"sqlite:///{folder}/mlflow.db"
    mlflow.set_tracking_uri(tracking)
    mlflow.set_registry_uri(tracking)
    mlflow.create_experiment("e", artifact_location=(folder / "artifacts").as_uri())
    mlflow.set_experiment("e")
    yield SimpleNamespace(folder=folder, run=run, tracking=tracking, control=control)
    process.send_signal(signal.SIGTERM)
    assert process.wait(timeout=300) == 0
    process.stdout.close()


@pytest.fixture(scope="module")
def logged(place: Any) -> dict[str, str]:
    """flavour -> URI of a model that one run logged, with parameters, a metric and the rows that it used."""
    import lightgbm
    import onnx
    import xgboost
    from sklearn.linear_model import LogisticRegression

    rows, labels = np.arange(40, dtype=np.float32).reshape(20, 2), np.arange(20) % 2
    linear = LogisticRegression().fit(rows, labels)
    boosted = xgboost.train({"max_depth": 2}, xgboost.DMatrix(rows, labels), 3)
    light = lightgbm.train({"verbose": -1, "min_data_in_leaf": 1}, lightgbm.Dataset(rows, labels), 3)
    made = {}
    with mlflow.start_run(tags={"mlflow.source.git.commit": "a" * 40, "mlflow.user": "eve"}) as run:
        mlflow.log_param("depth", 2)
        mlflow.log_metric("auc", 0.93)
        mlflow.log_input(mlflow.data.from_numpy(rows, name="visits"), context="training")
        model = onnx.load_from_string(doubling_model(2.0))
        said = {"pip_requirements": REQUIREMENTS}
        made["onnx"] = mlflow.onnx.log_model(model, name="onnx", **said).model_uri
        made["xgboost"] = mlflow.xgboost.log_model(boosted, name="xgboost", **said).model_uri
        made["lightgbm"] = mlflow.lightgbm.log_model(light, name="lightgbm", **said).model_uri
        for form in ("skops", "cloudpickle"):
            more = {"skops_trusted_types": []} if form == "skops" else {}
            made[form] = mlflow.sklearn.log_model(
                linear, name=form, serialization_format=form, **said, **more
            ).model_uri
    return {**made, "run": run.info.run_id}


@pytest.fixture(scope="module")
def registered(place: Any, logged: dict[str, str]) -> None:
    for flavour in ("onnx", "xgboost", "lightgbm", "skops", "cloudpickle"):
        mlflow.register_model(logged[flavour], f"Risk_{flavour}")


@pytest.mark.parametrize("flavour", ["onnx", "xgboost", "lightgbm", "skops"])
def test_a_registered_model_comes_with_what_mlflow_claims(
    place: Any, logged: dict[str, str], registered: None, flavour: str
) -> None:
    made = place.run("mlflow", "import", f"Risk_{flavour}/1", "--tracking", place.tracking)
    assert (made["verdict"], made["name"], made["version"]) == ("clean", f"risk-{flavour}", 1)
    assert made["from"]["run"] == logged["run"]
    shown = place.run("model", "show", f"risk-{flavour}")
    assert shown["provenance"]["witness"] == "claimed"
    assert "attested by nobody" in shown["provenance"]["text"]
    assert shown["served"] is not None
    run, rows = place.run("model", "lineage", f"risk-{flavour}")["from"]
    assert (run["parameters"], run["metrics"], run["user"]) == ({"depth": "2"}, {"auc": 0.93}, "eve")
    assert run["digest"] == "gitCommit:" + "a" * 40
    assert (rows["kind"], rows["name"], rows["context"]) == ("claimed dataset", "visits", "training")


def test_the_newest_version_unless_one_is_named_and_a_name_of_ones_own(place: Any, registered: None) -> None:
    made = place.run("mlflow", "import", "Risk_onnx", "--tracking", place.tracking, "--name", "taken")
    assert (made["name"], made["from"]["version"]) == ("taken", "1")
    assert place.run("mlflow", "import", "Nothing", "--tracking", place.tracking, code=2)["code"] == "bad-model"


def test_a_pickle_is_refused_with_what_to_do_instead(place: Any, registered: None) -> None:
    told = place.run("mlflow", "import", "Risk_cloudpickle", "--tracking", place.tracking, code=2)
    assert told["code"] == "mlflow-flavour"
    assert "casemate model convert" in told["error"]
    assert not [one for one in place.run("model", "list") if one["name"] == "risk-cloudpickle"]


@pytest.fixture
def plugged(place: Any, monkeypatch: pytest.MonkeyPatch) -> Iterator[Any]:
    key = place.run("key", "issue", "mlflow", "--role", "data-scientist", "--expires", "1h")["key"]
    monkeypatch.setenv("CASEMATE_KEY", key)
    monkeypatch.setenv("CASEMATE_CA", str(place.folder / "home" / "tls" / "ca.pem"))
    mlflow.set_registry_uri(f"casemate://{place.control}")
    yield place
    mlflow.set_registry_uri(place.tracking)


def test_register_model_lands_here(plugged: Any, logged: dict[str, str]) -> None:
    made = mlflow.register_model(logged["xgboost"], "Landed")
    assert (made.name, made.version, made.status) == ("landed", "1", "READY")
    shown = plugged.run("model", "show", "landed")
    assert shown["provenance"]["witness"] == "claimed"
    assert plugged.run("model", "lineage", "landed")["from"][0]["run"] == logged["run"]
    client = mlflow.MlflowClient()
    assert client.get_registered_model("Landed").name == "landed"
    assert client.get_model_version("Landed", "1").version == "1"
    assert "landed" in [one.name for one in client.search_registered_models()]
    again = mlflow.register_model(f"runs:/{logged['run']}/onnx", "Landed")
    assert again.version == "2"


def test_what_is_refused_here_is_refused_there(plugged: Any, logged: dict[str, str]) -> None:
    with pytest.raises(mlflow.MlflowException, match="mlflow-flavour"):
        mlflow.register_model(logged["cloudpickle"], "pickled")
    client = mlflow.MlflowClient()
    with pytest.raises(mlflow.MlflowException, match="There is no model"):
        client.get_registered_model("pickled")
    with pytest.raises(mlflow.MlflowException, match="casemate model delete"):
        client.delete_registered_model("landed")
    with pytest.raises(mlflow.MlflowException, match="casemate model pull"):
        client.get_model_version_download_uri("landed", "1")


def test_without_a_key_nothing_lands(plugged: Any, logged: dict[str, str], monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("CASEMATE_KEY", "cm_nothing")
    with pytest.raises(mlflow.MlflowException):
        mlflow.register_model(logged["onnx"], "unproved")
