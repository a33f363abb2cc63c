"""Training runs over the console: followed live, kept with their version, gone on from, and barred where data or base are."""

from __future__ import annotations

import base64
import json
import subprocess
import threading
from http.server import BaseHTTPRequestHandler, HTTPServer
from pathlib import Path
from typing import Any

import pytest
from click.testing import CliRunner
from test_dataset_asked import lend
from test_door import call
from tiny_models import doubling_model

from casemate.cli import cli
from casemate.client import Casemate
from casemate.core import InputError, NotFoundError, PolicyError, VerificationError
from casemate.settings import Settings

EXAMPLES = Path(__file__).parents[3] / "examples"
ROWS = "age,ill\n41,0\n57,1\n"


def model_text(factor: float) -> str:
    return base64.b64encode(doubling_model(factor)).decode()


WRITES = f"""
import base64, json, os, pathlib, random
import numpy as np
out = pathlib.Path(os.environ["CASEMATE_OUTPUT"])
(out / "model.onnx").write_bytes(base64.b64decode("{model_text(2.0)}"))
(out / "checkpoints" / "one").mkdir(parents=True)
(out / "checkpoints" / "one" / "model.onnx").write_bytes(base64.b64decode("{model_text(4.0)}"))
(out / "checkpoints" / "one" / "optimizer.json").write_text('{{"step": 2}}')
with open(os.environ["CASEMATE_METRICS"], "a") as metrics:
    for step in (1, 2):
        print(json.dumps({{"step": step, "loss": 1 / step}}), file=metrics, flush=True)
print("seed", os.environ["CASEMATE_SEED"], hash("casemate"), random.random(), np.random.random())
print("a row", (pathlib.Path(os.environ["CASEMATE_DATASET"]) / "schema.json").stat().st_size > 0)
"""
GOES_ON = """
import os, pathlib, shutil
base, out = pathlib.Path(os.environ["CASEMATE_BASE"]), pathlib.Path(os.environ["CASEMATE_OUTPUT"])
print(sorted(str(path.relative_to(base)) for path in base.rglob("*") if not path.is_dir()))
shutil.copyfile(base / "checkpoints" / "one" / "model.onnx", out / "model.onnx")
try:
    (base / "model.onnx").open("wb")
except OSError as error:
    print("read-only")
"""


def script(folder: Path, name: str, text: str) -> Path:
    path = folder / f"{name}.py"
    path.write_text(text)
    return path


@pytest.fixture(scope="module")
def folder(casemate: Casemate, tmp_path_factory: pytest.TempPathFactory) -> Path:
    made = tmp_path_factory.mktemp("runs")
    (made / "rows.csv").write_text(ROWS)
    casemate.push_dataset("run-rows", made / "rows.csv", target="ill")
    return made


@pytest.fixture(scope="module")
def first(casemate: Casemate, folder: Path) -> dict[str, Any]:
    news: list[dict[str, Any]] = []
    result = casemate.train(
        script(folder, "writes", WRITES), dataset="run-rows", model="run", seed=11, time="5m", follow=news.append
    )
    assert result["verdict"] == "clean", result
    return {**result, "news": news}


def test_a_run_is_followed_as_it_goes(first: dict[str, Any]) -> None:
    assert {"metrics": {"step": 1, "loss": 1.0}} in first["news"]
    assert any(one.get("log", "").startswith("seed 11 ") for one in first["news"])
    assert first["metrics"] == {"loss": 0.5}


def test_what_it_said_is_kept_with_its_version_and_each_reading_is_on_record(
    casemate: Casemate, first: dict[str, Any], settings: Settings
) -> None:
    told = casemate.trainings.show("run@1")
    assert told["seed"] == 11
    assert told["run"]["metrics"] == {"loss": 0.5}
    assert told["run"]["limits"]["time"] == 300
    assert told["run"]["began"] < told["run"]["ended"]
    assert told["run"]["by"]
    assert set(told["kept"]) == {"log", "metrics", "checkpoints/one/model.onnx", "checkpoints/one/optimizer.json"}
    assert "a row" not in json.dumps(told)
    before = len(casemate.audit_entries(kind="decision", action="model:export"))
    output = casemate.trainings.output("run@1", reason="looking for the loss")
    assert output["metrics"] == [{"step": 1, "loss": 1.0}, {"step": 2, "loss": 0.5}]
    assert "a row True" in output["log"]
    entries = casemate.audit_entries(kind="decision", action="model:export")
    assert len(entries) == before + 1
    assert "looking for the loss" in json.dumps(entries[0])
    stored = b"".join(path.read_bytes() for path in settings.home.rglob("*") if path.is_file())
    assert b"a row True" not in stored  # encrypted, as all else


def test_what_is_signed_of_a_run_is_handed_on_and_believed_where_its_home_is(
    casemate: Casemate, settings: Settings, first: dict[str, Any], tmp_path: Path
) -> None:
    """As SLSA provenance, signed with the home's release key; brought back here as to any other home."""

    def typed(*words: object) -> Any:
        environment = {"CASEMATE_HOME": str(settings.home), "CASEMATE_KEYS": str(settings.keys)}
        done = CliRunner().invoke(cli, [*map(str, words), "--json"], env=environment)
        assert done.exit_code == 0, (done.output, done.exception)
        return json.loads(done.stdout)

    told = typed("model", "training", "run@1", "--provenance", tmp_path / "run.json")
    assert told["type"] == "https://slsa.dev/provenance/v1"
    said = json.loads(base64.b64decode(json.loads((tmp_path / "run.json").read_text())["payload"]))
    assert said["predicate"]["buildDefinition"]["externalParameters"]["seeds"] == {"CASEMATE_SEED": 11}
    kept = {one["name"] for one in said["predicate"]["runDetails"]["byproducts"]}
    assert kept == {"log", "metrics", "checkpoints/one/model.onnx", "checkpoints/one/optimizer.json"}
    casemate.pull_model("run@1", tmp_path / "pulled")
    typed("signer", "add", "ourselves", "--key", settings.home / "public" / "release.pem", "--model", "run")
    pushed = typed("model", "push", "run", tmp_path / "pulled", "--provenance", tmp_path / "run.json")
    assert casemate.model(f"run@{pushed['version']}")["provenance"]["witness"] == "outside"
    again = typed("model", "training", f"run@{pushed['version']}", "--provenance", tmp_path / "again.json")
    assert again["envelope"] == told["envelope"]
    casemate.delete_model(f"run@{pushed['version']}")


def test_what_is_kept_is_no_part_of_the_model(casemate: Casemate, first: dict[str, Any], tmp_path: Path) -> None:
    casemate.pull_model("run@1", tmp_path / "pulled")
    names = {path.name for path in (tmp_path / "pulled").rglob("*") if path.is_file()}
    assert "model.onnx" in names
    assert not {"log", "metrics", "optimizer.json"} & names
    assert casemate.verify_models("run@1")["ok"]


@pytest.mark.slow
def test_the_same_seed_gives_the_same_version_and_another_seed_another(
    casemate: Casemate, folder: Path, first: dict[str, Any]
) -> None:
    again = casemate.train(folder / "writes.py", dataset="run-rows", model="run", seed=11)
    assert (again["created"], again["digest"]) == (False, first["digest"])
    other = casemate.train(folder / "writes.py", dataset="run-rows", model="run-other", seed=12)
    logs = [casemate.trainings.output(ref)["log"] for ref in ("run@1", "run-other@1")]
    assert other["created"]
    assert logs[0].split()[2:5] != logs[1].split()[2:5]
    assert casemate.cards.reproduce("run-other@1", folder / "writes.py")["verdict"] == "clean"


def test_a_run_goes_on_from_another_version_and_a_revocation_reaches_it(
    casemate: Casemate, folder: Path, first: dict[str, Any]
) -> None:
    made = casemate.train(script(folder, "goes_on", GOES_ON), dataset="run-rows", model="run-further", base="run@1")
    assert made["verdict"] == "refused"  # it tried to write to what it goes on from
    assert "training-write" in {one["id"] for one in made["findings"]}
    honest = GOES_ON.partition("try:")[0]
    made = casemate.train(script(folder, "honest", honest), dataset="run-rows", model="run-further", base="run@1")
    assert made["verdict"] == "clean", made
    assert "['checkpoints/one/model.onnx', 'checkpoints/one/optimizer.json', 'model.onnx']" in made["log"]
    base = next(one for one in casemate.lineage("run-further@1")["from"] if one["kind"] == "model")
    assert (base["name"], base["version"], base["state"]) == ("run", 1, "live")
    assert {one["kind"] for one in base["from"]} == {"dataset", "script", "environment"}
    again = casemate.cards.reproduce("run-further@1", folder / "honest.py")
    assert again["verdict"] == "clean", again
    (folder / "adapter.onnx").write_bytes(doubling_model(8.0))
    adapter = casemate.push_model("run-adapter", folder / "adapter.onnx", base="run-further@1")
    assert adapter["verdict"] == "clean"
    revoked = casemate.revoke_model("run@1", reason="its data were bad", cascade=True)
    assert {"run-further@1", "run-adapter@1"} <= {f"{one['name']}@{one['version']}" for one in revoked["descendants"]}
    assert casemate.model("run-adapter@1")["revoked"]
    with pytest.raises(VerificationError) as caught:
        casemate.train(folder / "honest.py", dataset="run-rows", model="run-late", base="run@1")
    assert caught.value.code == "revoked"


@pytest.mark.slow
def test_a_run_that_hits_its_time_says_so_and_its_checkpoints_go_on(casemate: Casemate, folder: Path) -> None:
    text = WRITES.replace('(out / "model.onnx").write_bytes', "len") + "\nimport time\ntime.sleep(600)\n"
    made = casemate.train(script(folder, "slow", text), dataset="run-rows", model="run-slow", time="60s")
    (limit,) = [one for one in made["findings"] if one["id"] == "training-limit"]
    assert "it ran for its 60 seconds (--time)" in limit["evidence"]
    assert made["verdict"] == "clean", made
    assert set(casemate.model("run-slow@1")["files"]) == {
        "checkpoints/one/model.onnx",
        "checkpoints/one/optimizer.json",
    }
    stopped = casemate.train(
        script(folder, "stopped", "import time\ntime.sleep(600)\n"), dataset="run-rows", model="run-none", time="60s"
    )
    assert (stopped["verdict"], stopped["findings"][0]["id"]) == ("refused", "training-limit")


def test_a_metric_whose_name_the_run_made_up_is_kept_and_not_shown(casemate: Casemate, folder: Path) -> None:
    """A name can be a row; the statement, the card and the bill are read by who may read none."""
    text = f"""
import base64, json, os
open(os.environ["CASEMATE_OUTPUT"] + "/model.onnx", "wb").write(base64.b64decode("{model_text(3.0)}"))
rows = [("ann", 41), ("ben", 57)]
with open(os.environ["CASEMATE_METRICS"], "a") as metrics:
    for name, age in rows:
        print(json.dumps({{f"{{name}}.{{age}}": 1, "val/loss": 0.5, json.loads(os.environ["CASEMATE_PARAMETERS"])["watch"]: 0.25}}), file=metrics)
"""
    made = casemate.train(
        script(folder, "tells", text), dataset="run-rows", model="run-tells", parameters=json.dumps({"watch": "auc"})
    )
    assert made["metrics"] == {"ann.41": 1, "ben.57": 1, "val/loss": 0.5, "auc": 0.25}  # to who started it
    told = casemate.trainings.show("run-tells@1")
    assert told["run"]["metrics"] == {"val/loss": 0.5, "auc": 0.25}
    assert told["run"]["metrics_left_out"] == 2
    assert "ann.41" not in json.dumps([told, casemate.cards.show("run-tells@1"), casemate.cards.bom("run-tells@1")])
    assert "ann.41" in casemate.trainings.output("run-tells@1", reason="to see")["metrics"][0]


@pytest.mark.parametrize("limit", [{"memory": "1M"}, {"memory": "lots"}, {"time": "9d"}, {"cpu": "0s"}])
def test_a_limit_that_cannot_be_is_refused_before_anything_runs(
    casemate: Casemate, folder: Path, limit: dict[str, str]
) -> None:
    with pytest.raises(InputError) as caught:
        casemate.train(script(folder, "none", "x = 1"), dataset="run-rows", model="run-none", **limit)
    assert caught.value.code in {"bad-limit", "bad-duration"}


def test_a_machine_without_a_gpu_says_so(casemate: Casemate, folder: Path) -> None:
    if any(Path("/dev").glob("nvidia[0-9]*")) or Path("/dev/kfd").exists() or Path("/dev/dri").exists():
        pytest.skip("this machine has one")
    with pytest.raises(InputError) as caught:
        casemate.train(script(folder, "none", "x = 1"), dataset="run-rows", model="run-none", gpu=True)
    assert caught.value.code == "no-gpu"


def test_nobody_else_follows_a_run_nor_reads_its_log(app, casemate: Casemate, first: dict[str, Any]) -> None:
    key = casemate.issue_key("watcher", role="caller", deployment="nothing", expires="1h")
    lend(casemate, app, key, "auditor", "model:run")
    headers = {"Authorization": f"Bearer {key['key']}"}
    assert call(app, "GET", "/api/v1/models/run/versions/1/training", headers=headers).status_code == 200
    answer = call(app, "GET", "/api/v1/models/run/versions/1/training/output", headers=headers)
    assert (answer.status_code, answer.json()["code"]) == (403, "forbidden")
    run = "run_" + "0" * 32
    with app.state.services.live_runs.begin("somebody", run) as live:
        live.log("not yours")
        answer = call(app, "GET", f"/api/v1/models/run/runs/{run}", headers=headers)
    assert (answer.status_code, answer.content) == (200, b"")


def test_what_comes_out_inherits_the_class_and_the_purposes(app, casemate: Casemate, folder: Path) -> None:
    casemate.push_dataset("run-patients", folder / "rows.csv", target="ill", data_class="health", purposes=["research"])
    text = script(folder, "patients", WRITES)
    with pytest.raises(PolicyError) as caught:
        casemate.train(text, dataset="run-patients", model="run-health")
    assert caught.value.code == "forbidden"
    made = casemate.train(text, dataset="run-patients", model="run-health", purpose="research")
    assert (made["verdict"], casemate.model("run-health@1")["data_class"]) == ("clean", "health")
    with pytest.raises(PolicyError):  # nor by way of the model that was made of them
        casemate.train(text, dataset="run-rows", model="run-sold", base="run-health@1")
    further = casemate.train(text, dataset="run-rows", model="run-well", base="run-health@1", purpose="research")
    assert (further["verdict"], casemate.model("run-well@1")["data_class"]) == ("clean", "health")
    casemate.train(text, dataset="run-rows", model="run-kind", parameters='{"kind": 1}')
    key = casemate.issue_key("scientist", role="data-scientist", expires="1h")
    headers = {"Authorization": f"Bearer {key['key']}"}
    for path in ("run-health/versions/1/files", "run-health/versions/1/training/output"):
        answer = call(app, "GET", f"/api/v1/models/{path}", headers=headers)
        assert answer.status_code == 403, path
        assert "rows-about-people" in answer.text
    assert call(app, "GET", "/api/v1/models/run-kind/versions/1/files", headers=headers).status_code == 200


REACHES = (
    WRITES
    + """
import urllib.request
print(urllib.request.urlopen("http://data.example:%d/", timeout=30).read())
"""
)


def test_a_script_is_let_out_by_an_owner_to_what_is_named_and_that_is_signed(
    app, casemate: Casemate, folder: Path
) -> None:
    class Answers(BaseHTTPRequestHandler):
        def do_GET(self) -> None:
            self.send_response(200)
            self.end_headers()
            self.wfile.write(b"from outside")

        def log_message(self, *_: object) -> None:
            """Nothing."""

    with HTTPServer(("127.0.0.1", 0), Answers) as server:
        threading.Thread(target=server.handle_request, daemon=True).start()
        port = server.server_address[1]
        text = REACHES % port
        host = f"data.example=127.0.0.1:{port}"
        key = casemate.issue_key("let-out", role="data-scientist", expires="1h")
        query = f"dataset=run-rows&allow_host={host}"
        headers = {"Authorization": f"Bearer {key['key']}"}
        answer = call(app, "POST", f"/api/v1/models/run-out/train?{query}", headers=headers, content=text.encode())
        assert (answer.status_code, answer.json()["code"]) == (403, "forbidden")
        assert "model:train-online" in answer.json()["detail"]
        path = script(folder, "reaches", text)
        made = casemate.train(path, dataset="run-rows", model="run-out", hosts=[host])
    assert "from outside" in made["log"], made
    assert made["verdict"] == "clean"
    told = casemate.trainings.show("run-out@1")
    assert (told["hosts"], told["run"]["connections"]) == ([host], {f"data.example:{port}": 1})
    with pytest.raises(InputError) as caught:
        casemate.cards.reproduce("run-out@1", path)
    assert caught.value.code == "trained-online"
    for bad, code in (("169.254.169.254:80", "host-never"), ("*.example.org:443", "bad-host")):
        with pytest.raises((InputError, PolicyError)) as refused:
            casemate.train(path, dataset="run-rows", model="run-out", hosts=[bad])
        assert refused.value.code == code
    refused_run = casemate.train(path, dataset="run-rows", model="run-out")
    assert "training-socket" in {one["id"] for one in refused_run["findings"]}


def test_what_was_not_trained_here_has_no_run(casemate: Casemate, folder: Path) -> None:
    (folder / "brought.onnx").write_bytes(doubling_model(16.0))
    casemate.push_model("run-brought", folder / "brought.onnx")
    with pytest.raises(NotFoundError) as caught:
        casemate.trainings.show("run-brought@1")
    assert caught.value.code == "not-trained-here"


def test_the_commit_of_the_script_is_in_the_statement(
    casemate: Casemate, settings: Settings, folder: Path, tmp_path: Path, first: dict[str, Any]
) -> None:
    def git(*words: str) -> str:
        named = ["-c", "user.name=t", "-c", "user.email=t@example.org"]
        return subprocess.run(
            ["git", *named, *words], cwd=tmp_path, check=True, capture_output=True, text=True
        ).stdout.strip()

    git("init", "-q")
    (tmp_path / "train").mkdir()
    script(tmp_path / "train", "kept", WRITES.replace("a row", "a line"))
    git("add", ".")
    git("commit", "-q", "-m", "one")
    environment = {"CASEMATE_HOME": str(settings.home), "CASEMATE_KEYS": str(settings.keys)}
    words = ["train", str(tmp_path / "train" / "kept.py"), "--dataset", "run-rows", "--model", "run-kept"]
    done = CliRunner().invoke(cli, words, env=environment)
    assert done.exit_code == 0, done.output
    said = " ".join(done.output.split())
    assert "| seed 0" in said
    assert "step 2 loss 0.5" in said
    told = casemate.trainings.show("run-kept@1")
    assert told["run"]["repository"] == {"commit": git("rev-parse", "HEAD"), "dirty": False, "path": "train/kept.py"}
    script(tmp_path / "train", "kept", WRITES.replace("a row", "another line"))
    casemate.train(tmp_path / "train" / "kept.py", dataset="run-rows", model="run-kept")
    assert casemate.trainings.show("run-kept@2")["run"]["repository"]["dirty"] is True
    shown = CliRunner().invoke(cli, ["model", "training", "run-kept@1", "--log"], env=environment)
    assert "a line True" in shown.output
