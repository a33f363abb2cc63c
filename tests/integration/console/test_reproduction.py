"""A training that is run again: the same model, another one, another script, and who may ask for it."""

from __future__ import annotations

import base64
import json
from pathlib import Path
from typing import Any

import pytest
from click.testing import CliRunner
from test_dataset_asked import lend
from test_door import call
from tiny_models import doubling_model

from casemate.cli import cli
from casemate.client import Casemate
from casemate.core import InputError
from casemate.settings import Settings

SAME = f"""
import base64, os, pathlib
out = pathlib.Path(os.environ["CASEMATE_OUTPUT"])
(out / "model.onnx").write_bytes(base64.b64decode("{base64.b64encode(doubling_model(2.0)).decode()}"))
"""
STAMPED = (
    SAME
    + """
import onnx, time
model = onnx.load(out / "model.onnx")
model.doc_string = str(time.time_ns())
onnx.save(model, out / "model.onnx")
"""
)


@pytest.fixture(scope="module")
def trained(casemate: Casemate, tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("again")
    (folder / "rows.csv").write_text("age,ill\n41,0\n57,1\n")
    casemate.push_dataset("again-rows", folder / "rows.csv", target="ill")
    for name, script in (("steady", SAME), ("stamped", STAMPED)):
        (folder / f"{name}.py").write_text(script)
        assert casemate.train(folder / f"{name}.py", dataset="again-rows", model=name)["verdict"] == "clean"
    return folder


def test_the_same_model_comes_out_or_what_differs_is_named(
    casemate: Casemate, settings: Settings, trained: Path
) -> None:
    environment = {"CASEMATE_HOME": str(settings.home), "CASEMATE_KEYS": str(settings.keys)}

    def run(name: str, *words: str) -> Any:
        return CliRunner().invoke(
            cli, ["model", "reproduce", f"{name}@1", str(trained / f"{name}.py"), *words], env=environment
        )

    same = run("steady")
    assert same.exit_code == 0, same.output
    assert "gives the same model again" in " ".join(same.output.split())
    other = run("stamped", "--json")
    found = json.loads(other.stdout)
    assert (other.exit_code, found["verdict"], found["files"]) == (
        1,
        "refused",
        [{"path": "model.onnx", "same": False}],
    )
    assert (found["environment"], found["dataset"]) == ({}, "again-rows@1")
    assert casemate.model("steady")["version"] == 1  # nothing of it was kept


def test_another_script_is_not_run(casemate: Casemate, trained: Path) -> None:
    with pytest.raises(InputError) as caught:
        casemate.cards.reproduce("steady@1", trained / "stamped.py")
    assert caught.value.code == "other-script"
    (trained / "model.onnx").write_bytes(doubling_model(3.0))
    casemate.push_model("brought", trained / "model.onnx")
    with pytest.raises(InputError) as caught:
        casemate.cards.reproduce("brought@1", trained / "steady.py")
    assert caught.value.code == "not-trained-here"


def test_who_may_not_read_the_rows_runs_nothing_on_them(app, casemate: Casemate, trained: Path) -> None:
    key = casemate.issue_key("checks", role="caller", deployment="nothing", expires="1h")
    lend(casemate, app, key, "auditor", "model:steady")
    headers = {"Authorization": f"Bearer {key['key']}"}
    path = "/api/v1/models/steady/versions/1/reproduction"
    answer = call(app, "POST", path, headers=headers, content=SAME.encode())
    assert (answer.status_code, answer.json()["code"]) == (403, "forbidden")
    assert "dataset:export" in answer.json()["detail"]
