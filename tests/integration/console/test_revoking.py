"""A dataset that is revoked at the door: who may end what was made from it, training on it, and what the command says."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest
from click.testing import CliRunner
from test_dataset_asked import lend
from test_door import call
from tiny_models import doubling_model

from casemate.cli import cli
from casemate.client import Casemate
from casemate.core import VerificationError
from casemate.settings import Settings


@pytest.fixture
def bad(casemate: Casemate, tmp_path: Path) -> str:
    """A dataset, and a model that was made from it."""
    name = f"bad-{len(casemate.datasets())}"
    (tmp_path / "rows.csv").write_text("age,ill\n41,0\n57,1\n")
    (tmp_path / "model.onnx").write_bytes(doubling_model(2.0))
    casemate.push_dataset(name, tmp_path / "rows.csv", target="ill")
    casemate.push_model(f"from-{name}", tmp_path / "model.onnx", dataset=name)
    return name


def test_who_may_end_a_dataset_alone_ends_no_model_with_it(
    app, casemate: Casemate, bad: str, settings, tmp_path
) -> None:
    key = casemate.issue_key("of-bad", role="caller", deployment="nothing", expires="1h")
    lend(casemate, app, key, "operator", f"dataset:{bad}")

    def send(**params: str) -> Any:
        headers = {"Authorization": f"Bearer {key['key']}"}
        path = f"/api/v1/datasets/{bad}/versions/1/revocation"
        return call(app, "POST", path, headers=headers, params={"reason": "poisoned", **params})

    refused = send(cascade="true")
    assert (refused.status_code, refused.json()["code"]) == (403, "forbidden")
    assert "model:revoke" in refused.json()["detail"]
    assert casemate.dataset(bad)["revoked"] is False
    assert send(cascade="yes").json()["code"] == "bad-flag"
    assert casemate.dataset(bad)["revoked"] is False
    assert send(cascade="false").json()["descendants"][0]["name"] == f"from-{bad}"
    assert (casemate.dataset(bad)["revoked"], casemate.model(f"from-{bad}")["revoked"]) == (True, False)

    (tmp_path / "train.py").write_text("raise SystemExit('it must not run')")
    with pytest.raises(VerificationError) as caught:
        casemate.train(tmp_path / "train.py", dataset=bad, model="again")
    assert caught.value.code == "revoked"

    lend(casemate, app, key, "operator", "*")
    assert send(cascade="true").status_code == 200
    assert casemate.model(f"from-{bad}")["revoked"] is True


@pytest.mark.slow
def test_the_command_says_what_is_left(casemate: Casemate, bad: str, settings: Settings) -> None:
    environment = {"CASEMATE_HOME": str(settings.home), "CASEMATE_KEYS": str(settings.keys)}

    def run(*words: str) -> str:
        return (
            CliRunner()
            .invoke(cli, ["dataset", "revoke", f"{bad}@1", "--reason", "poisoned", *words], env=environment)
            .output
        )

    said = " ".join(run().split())
    assert f"still usable: model from-{bad}@1" in said
    assert "--cascade" in said
    assert f"Ended with it: model from-{bad}@1" in " ".join(run("--cascade").split())
