"""A home whose key-encryption keys lie in a real OpenBao: it serves, loses nothing while that is away, and goes on."""

from __future__ import annotations

import json
import os
import signal
import ssl
import subprocess
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import httpx
import pytest
from real_bao import Bao, DurableBao
from tiny_models import doubling_model

from casemate.app.local import control_socket, init_home
from casemate.client import Casemate
from casemate.core import StorageError
from casemate.settings import load_settings
from casemate.storage import DataKeys
from conftest import Walked


@pytest.fixture
def vaulted(bao: Bao, tmp_path: Path) -> Iterator[Walked]:
    made = Walked(tmp_path / "home", tmp_path / "keys", [])
    settings = bao.admit("vaulted", tmp_path)
    words = [word for name, value in settings.items() for word in ("--keys-setting", f"{name}={value}")]
    made.run("init", "--keys", "vault", *words)
    yield made
    bao.unseal()


@contextmanager
def serving(home: Walked) -> Iterator[str]:
    """The address of the predictions of a server on this home."""
    command = [sys.executable, "-m", "casemate", "--home", str(home.home), "up", "--data-port=0", "--control-port=0"]
    process = subprocess.Popen(command, stdout=subprocess.PIPE, text=True, env=home.environment())
    assert process.stdout is not None
    try:
        words = process.stdout.readline().split()
        assert words[:1] == ["ready"], "the server did not become ready"
        yield words[1].removeprefix("data=")
    finally:
        process.send_signal(signal.SIGTERM)
        process.wait(timeout=300)
        process.stdout.close()


def code_of(home: Walked, *words: str) -> str:
    return str(json.loads(home.run(*words, "--json", code=2))["code"])


@pytest.mark.slow
def test_a_served_home_outlives_a_sealed_vault(vaulted: Walked, bao: Bao, tmp_path: Path) -> None:
    model = tmp_path / "model.onnx"
    model.write_bytes(doubling_model(2.0))
    trust = ssl.create_default_context(cafile=str(vaulted.home / "tls" / "ca.pem"))
    body = {"inputs": [{"name": "X", "shape": [1, 3], "datatype": "FP32", "data": [1.0, 2.0, 3.0]}]}
    with serving(vaulted) as data:
        vaulted.run("model", "push", "risk", str(model))
        vaulted.run("model", "approve", "risk@1")
        vaulted.run("deploy", "risk", "risk@1")
        issue = ["key", "issue", "c", "--role", "caller", "--deployment", "risk", "--expires", "1h", "--json"]
        headers = {"Authorization": f"Bearer {json.loads(vaulted.run(*issue))['key']}"}
        with httpx.Client(base_url=data, verify=trust, headers=headers, timeout=120) as client:

            def predicts() -> bool:
                return client.post("/v2/models/risk/infer", json=body).status_code == 200

            assert predicts()
            bao.seal()
            model.write_bytes(doubling_model(3.0))
            assert code_of(vaulted, "model", "push", "risk", str(model)) == "keys-out-of-reach"
            assert code_of(vaulted, "keys", "rotate") == "keys-out-of-reach"
            assert json.loads(vaulted.run("keys", "show", "--json"))["keks"][0]["state"] == "wraps"
            assert predicts(), "what serves has its keys in memory"
            bao.unseal()
            vaulted.run("model", "push", "risk", str(model))
            assert json.loads(vaulted.run("keys", "rotate", "--json"))["kek"] == 2
            vaulted.run("keys", "rotate", "--retire")
            vaulted.run("model", "verify", "--all")
            vaulted.run("model", "approve", "risk@2")
            vaulted.run("deploy", "risk", "risk@2")
            assert predicts()
    assert bao.root.secrets.transit.read_key("vaulted")["data"]["min_decryption_version"] == 2
    bao.seal()
    assert code_of(vaulted, "model", "list") == "keys-out-of-reach"
    assert keys_of(vaulted, code=1)["state"] == "missing"
    bao.unseal()
    assert keys_of(vaulted, code=0) | {"mend": ""} == {
        "name": "key-encryption keys", "state": "present", "detail": "held by vault", "mend": ""
    }  # fmt: skip
    vaulted.run("model", "verify", "--all")
    assert json.loads(vaulted.run("audit", "verify", "--json"))["ok"]
    check_no_secret(vaulted, tmp_path / "vaulted.secret")


def keys_of(home: Walked, code: int) -> dict[str, str]:
    """What the doctor says of them."""
    rows = json.loads(home.run("doctor", "--json", code=code))
    return next(row for row in rows if row["name"] == "key-encryption keys")


def check_no_secret(home: Walked, secret: Path) -> None:
    """The secret id stands in its own file alone: neither in the home nor among its keys."""
    needle = secret.read_bytes().strip()
    for folder in (home.home, home.keys):
        for file in folder.rglob("*"):
            assert not file.is_file() or needle not in file.read_bytes(), file


def test_a_rotation_that_a_sealed_vault_cuts_short_is_finished_by_the_next(
    vaulted: Walked, bao: Bao, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    settings = load_settings({}, home=vaulted.home, keys=vaulted.keys)
    (tmp_path / "model.onnx").write_bytes(doubling_model(2.0))
    renew = DataKeys._renewed
    renewed = []

    def renew_then_seal(keys: DataKeys, row) -> bytes:
        renewed.append(renew(keys, row))
        if len(renewed) == 1:
            bao.seal()
        return renewed[-1]

    with control_socket(settings) as socket, Casemate(socket=socket) as casemate:
        for name in ("one", "two"):
            casemate.push_model(name, tmp_path / "model.onnx")
        monkeypatch.setattr(DataKeys, "_renewed", renew_then_seal)
        with pytest.raises(StorageError) as refused:
            casemate.keyring.rotate()
        assert refused.value.code == "keys-out-of-reach"
        monkeypatch.undo()
        bao.unseal()
        assert casemate.verify_models()["problems"] == []
        before = [kek["data_keys"] for kek in casemate.keyring.show()["keks"]]
        assert before[0], "some keys are left under the first KEK"
        done = casemate.keyring.rotate()
        assert (done["kek"], done["rewrapped"]) == (2, before[0])
        assert casemate.verify_models()["problems"] == []
    with control_socket(settings) as socket, Casemate(socket=socket) as casemate:
        assert casemate.verify_models()["problems"] == []


@pytest.mark.slow
def test_init_refuses_a_second_provider_and_keeps_the_first(vaulted: Walked) -> None:
    assert code_of(vaulted, "init", "--keys", "file") == "keys-elsewhere"
    assert code_of(vaulted, "init", "--keys-setting", "address=https://x") == "bad-key-settings"
    assert code_of(vaulted, "init", "--keys", "vault", "--keys-setting", "address") == "bad-key-settings"
    vaulted.run("init")
    settings = load_settings({}, home=vaulted.home, keys=vaulted.keys)
    with pytest.raises(Exception, match="held by vault"):
        init_home(settings, "file")
    assert os.listdir(vaulted.keys)


@pytest.mark.slow
def test_a_vault_that_is_killed_while_serving_and_in_a_rotation_loses_nothing(
    durable_bao: DurableBao, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    made = Walked(tmp_path / "home", tmp_path / "keys", [])
    held = durable_bao.admit("killed", tmp_path)
    made.run(
        "init", "--keys", "vault", *(word for name, value in held.items() for word in ("--keys-setting", f"{name}={value}"))
    )  # fmt: skip
    model = tmp_path / "model.onnx"
    model.write_bytes(doubling_model(2.0))
    trust = ssl.create_default_context(cafile=str(made.home / "tls" / "ca.pem"))
    body = {"inputs": [{"name": "X", "shape": [1, 3], "datatype": "FP32", "data": [1.0, 2.0, 3.0]}]}
    with serving(made) as data, Casemate(socket=made.home / "run" / "control.sock") as casemate:
        casemate.push_model("risk", model)
        casemate.approve("risk@1")
        casemate.deploy("risk", "risk@1")
        key = casemate.issue_key("c", role="caller", deployment="risk", expires="1h")["key"]
        with httpx.Client(
            base_url=data, verify=trust, headers={"Authorization": f"Bearer {key}"}, timeout=300
        ) as client:
            assert client.post("/v2/models/risk/infer", json=body).status_code == 200
            durable_bao.kill()
            assert client.post("/v2/models/risk/infer", json=body).status_code == 200, "its keys are in memory"
            for act in (lambda: casemate.push_model("risk", model), casemate.keyring.rotate):
                with pytest.raises(StorageError) as refused:
                    act()
                assert refused.value.code == "keys-out-of-reach"
            durable_bao.come_back()
            model.write_bytes(doubling_model(3.0))
            assert casemate.push_model("risk", model)["version"] == 2
    renew, renewed = DataKeys._renewed, []

    def renew_then_kill(keys: DataKeys, row) -> bytes:
        renewed.append(renew(keys, row))
        if len(renewed) == 1:
            durable_bao.kill()
        return renewed[-1]

    settings = load_settings({}, home=made.home, keys=made.keys)
    with control_socket(settings) as socket, Casemate(socket=socket) as casemate:
        monkeypatch.setattr(DataKeys, "_renewed", renew_then_kill)
        with pytest.raises(StorageError) as refused:
            casemate.keyring.rotate()
        assert refused.value.code == "keys-out-of-reach"
        monkeypatch.undo()
        durable_bao.come_back()
        done = casemate.keyring.rotate()
        assert (done["kek"], next(kek["data_keys"] for kek in casemate.keyring.show()["keks"])) == (2, 0)
        assert casemate.verify_models()["problems"] == []
        assert casemate.audit_verify()["ok"]
