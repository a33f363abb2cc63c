"""Provenance from outside at the door, as people type it: a trainer attests, an owner trusts, whoever pushes brings it."""

from __future__ import annotations

import base64
import json
from pathlib import Path
from typing import Any

import pytest
from click.testing import CliRunner
from tiny_models import doubling_model

from casemate.cli import cli
from casemate.client import Casemate
from casemate.core import CasemateError, digest_of
from casemate.settings import Settings


@pytest.fixture
def place(casemate: Casemate, settings: Settings, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Any:
    """A trainer's folder, and the command line: what it wrote, or the code with which it was refused."""
    monkeypatch.chdir(tmp_path)
    environment = {"CASEMATE_HOME": str(settings.home), "CASEMATE_KEYS": str(settings.keys)}

    def run(*words: object) -> Any:
        result = CliRunner().invoke(cli, [*map(str, words), "--json"], env=environment)
        if isinstance(result.exception, CasemateError):
            return result.exception.code
        assert result.exception is None or isinstance(result.exception, SystemExit), result.exception
        return json.loads(result.stdout) if result.stdout else "usage"

    (tmp_path / "words").write_text("of twelve characters\n")
    (tmp_path / "train.py").write_text("print('training')\n")
    (tmp_path / "lock.txt").write_text("numpy==2.3.0\n")
    (tmp_path / "model.onnx").write_bytes(doubling_model(2.0))
    (tmp_path / "rows.csv").write_text("a,b\n" + "1.5,0\n2.5,1\n" * 10)
    run("approver", "new", "--out", "key.pem", "--passphrase-file", "words")
    return run


ATTEST = (
    "model", "attest", "model.onnx", "--key", "key.pem", "--passphrase-file", "words", "--script", "train.py",
    "--environment", "lock.txt", "--seed", "numpy=7", "--parameters", '{"depth": 3}', "--by", "eve",
)  # fmt: skip


def test_from_the_trainer_to_the_card(place: Any, casemate: Casemate, tmp_path: Path) -> None:
    place("dataset", "push", "outrows", "rows.csv", "--target", "b")
    place("dataset", "pull", "outrows@1", "rows.parquet", "--reason", "to train elsewhere")
    assert place(*ATTEST, "--dataset", "outrows@1=rows.parquet")["files"] == 1
    push = (
        "model",
        "push",
        "outside",
        "model.onnx",
        "--dataset",
        "outrows",
        "--provenance",
        "model.onnx.provenance.json",
    )
    assert place(*push) == "signer-not-trusted"
    made = place("signer", "add", "ci", "--key", "key.pem.pub", "--model", "outside", "--expires", "30d")
    assert (made["state"], made["models"]) == ("trusted", ["outside"])
    assert place(*push, "--script", "lock.txt") == "provenance-script"
    assert place(*push, "--script", "train.py", "--environment", "lock.txt")["version"] == 1
    shown = place("model", "show", "outside")
    assert shown["provenance"]["witness"] == "outside"
    assert place("model", "card", "outside")["provenance"]["text"].startswith("Trained elsewhere, as ci signed")
    assert casemate.audit_entries(action="signer:add", limit=1)[0]["resource"].endswith("signer:ci")

    (tmp_path / "other.onnx").write_bytes(doubling_model(3.0))
    assert place(*push[:3], "other.onnx", *push[4:]) == "provenance-other-model"
    assert [one["name"] for one in place("signer", "list")] == ["ci"]
    place("model", "approve", "outside@1", "--reason", "fine")
    place("deploy", "outlive", "outside@1")
    told = place("signer", "remove", "ci", "--reason", "key stolen", "--cascade")
    assert (told["state"], told["paused"]) == ("removed", ["outlive"])
    assert casemate.model("outside@1")["revoked"] is True
    assert place(*push) == "signer-removed"


def test_a_bare_statement_with_its_signature_beside_it(place: Any, tmp_path: Path) -> None:
    place(*ATTEST)
    place("signer", "add", "beside", "--key", "key.pem.pub", "--model", "*")
    bundle = json.loads((tmp_path / "model.onnx.provenance.json").read_text())
    statement = base64.b64decode(bundle["dsseEnvelope"]["payload"])
    (tmp_path / "said.json").write_bytes(statement)
    push = ("model", "push", "bare", "model.onnx", "--provenance", "said.json")
    assert place(*push) == "provenance-unsigned"
    sign = ("--signature", "model.onnx.provenance.json")
    assert place(*push, *sign)["version"] == 1
    (tmp_path / "said.json").write_bytes(statement.replace(b"eve", b"ada"))
    assert place(*push, *sign) == "provenance-mismatch"


@pytest.mark.parametrize(
    "words",
    [
        ("model", "attest", "model.onnx", "--script", "train.py"),
        ("model", "attest", "model.onnx", "--key", "key.pem"),
        (*ATTEST, "--dataset", "rows"),
        (*ATTEST, "--seed", "numpy"),
        (*ATTEST, "--finished", "yesterday"),
        (*ATTEST, "--parameters", "[]"),
        (*ATTEST, "--timestamp", "https://tsa.example"),
        ("model", "push", "x", "model.onnx", "--script", "train.py"),
        ("signer", "add", "none", "--model", "*"),
        ("signer", "add", "none", "--key", "train.py", "--model", "*"),
    ],
)
def test_words_that_are_not_understood(place: Any, words: tuple[str, ...], tmp_path: Path) -> None:
    assert isinstance(place(*words), str)
    assert not (tmp_path / "model.onnx.provenance.json").exists()


@pytest.mark.parametrize(
    "body", [b"", b"[]", b'{"models": ["x"], "key": "a", "more": 1}', b"{" + b" " * (600 << 10) + b"}"]
)
def test_a_body_that_is_no_signer(casemate: Casemate, body: bytes) -> None:
    with pytest.raises(CasemateError) as caught:
        casemate._change("POST", "/signers/odd", content=body)
    assert caught.value.code in ("bad-signer", "signer-too-large")


def test_a_push_that_ends_within_its_provenance(casemate: Casemate) -> None:
    for query in ({"provenance": 900}, {"script": digest_of(b"x")}):
        with pytest.raises(CasemateError) as caught:
            casemate._change("POST", "/models/short/versions", query=query, content=b"x" * 10)
        assert caught.value.code in ("bad-upload", "no-provenance")
