"""Keyless signatures through Sigstore's authority and log, as npm `@sigstore/mock` plays them on the loopback."""

from __future__ import annotations

import base64
import json
import os
import subprocess
import sys
import time
from collections.abc import Iterator
from pathlib import Path

import pytest
from click.testing import CliRunner
from tiny_models import doubling_model

from casemate.cli import cli

NODE = Path(__file__).parents[1] / "assets" / "node"
WHO, ISSUER = "https://ci.test/release", "https://issuer.test"
pytestmark = pytest.mark.program("node")


@pytest.fixture(scope="module")
def sigstore(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Path]:
    """Its client configuration, as a file."""
    if not (NODE / "node_modules" / "@sigstore" / "mock").is_dir():
        why = f"needs npm ci in {NODE}"
        pytest.fail(why) if os.environ.get("CASEMATE_REQUIRE_PROGRAMS") else pytest.skip(why)
    path = tmp_path_factory.mktemp("sigstore") / "config.json"
    with subprocess.Popen(["node", str(NODE / "sigstore.mjs")], stdout=subprocess.PIPE) as server:
        assert server.stdout is not None
        path.write_bytes(server.stdout.readline())
        yield path
        server.terminate()


@pytest.fixture
def token(tmp_path: Path) -> Path:
    return written_token(tmp_path, 300)


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    (tmp_path / "m").mkdir()
    (tmp_path / "m" / "weights").write_bytes(b"0123456789")
    return tmp_path / "m"


def written_token(folder: Path, life: int) -> Path:
    def part(value: object) -> str:
        return base64.urlsafe_b64encode(json.dumps(value).encode()).rstrip(b"=").decode()

    now = int(time.time())
    claims = {"iss": ISSUER, "sub": WHO, "aud": "sigstore", "iat": now - 60, "nbf": now - 60, "exp": now + life}
    path = folder / "token"
    path.write_text(f"{part({'alg': 'none'})}.{part(claims)}.eA\n")
    return path


def run(*words: object) -> tuple[int, str]:
    result = CliRunner().invoke(cli, [str(word) for word in words])
    code = getattr(result.exception, "code", None)
    return result.exit_code, str(code) if isinstance(code, str) else result.output


def test_an_identity_signs_and_only_that_one_is_believed(sigstore: Path, token: Path, folder: Path) -> None:
    assert run("model", "sign", folder, "--identity-token", token, "--sigstore", sigstore)[0] == 0
    by = ["--issuer", ISSUER, "--trusted-root", sigstore]
    code, text = run("model", "verify", folder, "--identity", WHO, *by, "--json")
    said = json.loads(text)
    assert (code, said["method"], said["files"]) == (0, "keyless", 1)
    assert said["signed_at"]  # as the log says
    assert run("model", "verify", folder, "--identity", WHO + "s", *by)[1] == "signer-not-trusted"
    other = ["--issuer", ISSUER + "s", "--trusted-root", sigstore]
    assert run("model", "verify", folder, "--identity", WHO, *other)[1] == "signer-not-trusted"
    public = ["--identity", WHO, "--issuer", ISSUER]  # the root that the library ships does not know this authority
    assert run("model", "verify", folder, *public)[1] == "signer-not-trusted"
    upstream = ["model_signing", "verify", "sigstore", str(folder), "--signature", str(folder / "model.sig")]
    upstream += ["--identity", WHO, "--identity_provider", ISSUER, "--trust_config", str(sigstore)]
    assert (
        subprocess.run([sys.executable, "-m", *upstream], capture_output=True, check=False, timeout=300).returncode == 0
    )
    (folder / "weights").write_bytes(b"0123456788")
    assert run("model", "verify", folder, "--identity", WHO, *by)[1] == "file-changed"


def test_a_proof_that_is_cut_or_altered_is_none(sigstore: Path, token: Path, folder: Path, tmp_path: Path) -> None:
    run("model", "sign", folder, "--identity-token", token, "--sigstore", sigstore)
    bundle = json.loads((folder / "model.sig").read_bytes())
    by = ["--identity", WHO, "--issuer", ISSUER, "--trusted-root", sigstore, "--ignore", "model.sig"]

    def judged(change: object) -> str:
        altered = json.loads(json.dumps(bundle))
        change(altered)  # type: ignore[operator]
        (tmp_path / "sig").write_text(json.dumps(altered))
        return run("model", "verify", folder, "--signature", tmp_path / "sig", *by)[1]

    def unlogged(value: dict) -> None:
        value["verificationMaterial"]["tlogEntries"] = []

    def dated_otherwise(value: dict) -> None:
        value["verificationMaterial"]["tlogEntries"][0]["integratedTime"] = "1700000000"

    def other_list(value: dict) -> None:
        payload = base64.b64decode(value["dsseEnvelope"]["payload"]).replace(b"weights", b"weighty")
        value["dsseEnvelope"]["payload"] = base64.b64encode(payload).decode()

    assert judged(unlogged) == "signature-malformed"
    assert judged(dated_otherwise) == "signer-not-trusted"
    assert judged(other_list) == "signer-not-trusted"


def test_what_cannot_sign(sigstore: Path, folder: Path, tmp_path: Path) -> None:
    old = written_token(tmp_path, -30)
    assert run("model", "sign", folder, "--identity-token", old, "--sigstore", sigstore)[1] == "bad-token"
    broken = tmp_path / "broken.json"
    broken.write_text("{}")
    token = written_token(tmp_path, 300)
    assert run("model", "sign", folder, "--identity-token", token, "--sigstore", broken)[1] == "bad-trusted-root"
    away = json.loads(sigstore.read_text())
    for one in away["signingConfig"]["caUrls"]:
        one["url"] = "http://127.0.0.1:9"
    broken.write_text(json.dumps(away))
    assert run("model", "sign", folder, "--identity-token", token, "--sigstore", broken)[1] == "sigstore-failed"
    assert not (folder / "model.sig").exists()


def test_a_training_without_a_key_is_believed_of_that_identity_alone(
    sigstore: Path, token: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("CASEMATE_HOME", str(tmp_path / "home"))
    monkeypatch.setenv("CASEMATE_KEYS", str(tmp_path / "keys"))
    monkeypatch.chdir(tmp_path)
    Path("model.onnx").write_bytes(doubling_model(2.0))
    Path("train.py").write_text("print('training')\n")
    assert run("init")[0] == 0
    keyless = ["--identity-token", token, "--sigstore", sigstore]
    assert run("model", "attest", "model.onnx", "--script", "train.py", *keyless)[0] == 0
    push = ["model", "push", "outside", "model.onnx", "--provenance", "model.onnx.provenance.json", "--json"]
    trust = ["--issuer", ISSUER, "--trusted-root", sigstore, "--model", "outside"]
    assert run("signer", "add", "other", "--identity", WHO + "s", *trust)[0] == 0
    assert run(*push)[1] == "signer-not-trusted"
    assert run("signer", "add", "ci", "--identity", WHO, *trust)[0] == 0
    assert json.loads(run(*push)[1])["version"] == 1
    told = run("model", "card", "outside@1", "--json")[1]
    assert f"{WHO} ({ISSUER})" in json.loads(told)["provenance"]["text"], told
    bundle = json.loads(Path("model.onnx.provenance.json").read_bytes())
    bundle["verificationMaterial"]["tlogEntries"][0]["integratedTime"] = "1700000000"
    Path("model.onnx.provenance.json").write_text(json.dumps(bundle))
    assert run(*push)[1] == "signer-not-trusted"
