"""Cards and bills of materials at the door: a trained model's, from the command line; and a policy that asks for one."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest
from click.testing import CliRunner
from tiny_models import doubling_model

from casemate.cli import cli
from casemate.cli.card_commands import TEMPLATE
from casemate.client import Casemate
from casemate.core import InputError
from casemate.settings import Settings


@pytest.fixture
def model(casemate: Casemate, tmp_path: Path) -> str:
    name = f"carded-{len(casemate.models())}"
    (tmp_path / "model.onnx").write_bytes(doubling_model(2.0))
    casemate.push_model(name, tmp_path / "model.onnx")
    return name


@pytest.fixture
def run(casemate: Casemate, settings: Settings) -> Any:
    environment = {"CASEMATE_HOME": str(settings.home), "CASEMATE_KEYS": str(settings.keys)}
    return lambda *words: CliRunner().invoke(cli, ["model", *map(str, words)], env=environment)


def filled(folder: Path) -> Path:
    text = TEMPLATE.replace('= ""', '= "said"', 7).replace("# [[metrics]]", "[[metrics]]")
    for field in ("name", "value", "on", "slice"):
        text = text.replace(f"\n# {field} =", f"\n{field} =")
    (folder / "card.toml").write_text(text)
    return folder / "card.toml"


def test_the_template_filled_in_is_a_whole_card(casemate: Casemate, model: str, run: Any, tmp_path: Path) -> None:
    assert run("describe", "--template").output == TEMPLATE
    assert casemate.model(model)["card"] == {"complete": False}
    assert getattr(run("describe", model, tmp_path / "nothing.toml").exception, "code", None) == "no-file"
    (tmp_path / "empty.toml").write_text(TEMPLATE)
    assert "Not said yet: intended_use" in " ".join(
        run("describe", f"{model}@1", tmp_path / "empty.toml").output.split()
    )
    done = run("describe", f"{model}@1", filled(tmp_path), "--json")
    assert json.loads(done.stdout)["missing"] == []
    assert casemate.model(model)["card"] == {"complete": True}
    entry = casemate.audit_entries(action="model:describe", limit=1)[0]
    assert entry["resource"].endswith(f"model:{model}")


def test_card_and_bill_in_every_form(casemate: Casemate, model: str, run: Any, tmp_path: Path) -> None:
    casemate.cards.write(f"{model}@1", {"intended_use": "To double."})
    assert "To double." in run("card", model).output
    assert json.loads(run("card", model, "--json").stdout)["described"] == {"intended_use": "To double."}
    assert run("card", model, "--format", "html", "--out", tmp_path / "card.html").exit_code == 0
    assert "To double." in (tmp_path / "card.html").read_text()
    assert json.loads(run("bom", model).stdout)["bomFormat"] == "CycloneDX"
    assert run("bom", model, "--out", tmp_path / "bom.json", "--signed", tmp_path / "bom.dsse").exit_code == 0
    assert json.loads((tmp_path / "bom.json").read_text())["specVersion"] == "1.6"
    assert json.loads((tmp_path / "bom.dsse").read_text())["payloadType"] == "application/vnd.in-toto+json"


@pytest.mark.parametrize("said", [b"[]", b"{", b"", b'{"owner": 1}', b"{" + b" " * 70_000 + b"}"])
def test_a_body_that_is_no_card(casemate: Casemate, model: str, said: bytes) -> None:
    with pytest.raises(InputError) as caught:
        casemate._change("PUT", f"/models/{model}/versions/1/card", content=said)
    assert caught.value.code == "bad-card"
