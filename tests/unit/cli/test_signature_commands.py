"""`casemate model sign` and `model verify PATH`, as a person types them; no home is there."""

from __future__ import annotations

import json
from datetime import UTC, datetime, timedelta
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from threading import Thread

import pytest
from click.testing import CliRunner

from casemate.cli import cli


def run(*words: object) -> tuple[int, str]:
    result = CliRunner().invoke(cli, [str(word) for word in words])
    code = getattr(result.exception, "code", None)
    return result.exit_code, str(code) if isinstance(code, str) else result.output


@pytest.fixture
def place(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    monkeypatch.chdir(tmp_path)
    (tmp_path / "passphrase").write_text("of twelve characters\n")
    (tmp_path / "m").mkdir()
    (tmp_path / "m" / "weights").write_bytes(b"w" * 10)
    assert run("approver", "new", "--out", "key.pem", "--passphrase-file", "passphrase")[0] == 0
    return tmp_path


SIGN = ("model", "sign", "m", "--key", "key.pem", "--passphrase-file", "passphrase")


def test_signed_verified_altered(place: Path) -> None:
    assert run(*SIGN)[0] == 0
    code, text = run("model", "verify", "m", "--key", "key.pem.pub", "--json")
    said = json.loads(text)
    assert (code, said["verdict"], said["files"], said["ignored"]) == (0, "clean", 1, ["model.sig"])
    assert "signed (key)" in run("model", "verify", "m", "--key", "key.pem.pub")[1]
    (place / "m" / "weights").write_bytes(b"W" * 10)
    assert run("model", "verify", "m", "--key", "key.pem.pub")[1] == "file-changed"
    assert run(*SIGN)[0] == 0  # again, over what lies there now
    assert run("model", "verify", "m", "--key", "key.pem.pub")[0] == 0


def test_one_file_and_a_signature_elsewhere(place: Path) -> None:
    sign = ("model", "sign", "m/weights", *SIGN[3:])
    assert run(*sign)[0] == 0
    assert (place / "m" / "weights.sig").is_file()
    assert run("model", "verify", "m/weights", "--key", "key.pem.pub")[0] == 0
    assert run(*sign, "--signature", "elsewhere")[0] == 0
    assert run("model", "verify", "m/weights", "--key", "key.pem.pub", "--signature", "elsewhere")[0] == 0


@pytest.mark.parametrize(
    ("words", "said"),
    [
        (["m", "--ignore", "x"], "in one way"),
        (["m", "--key", "key.pem.pub", "--roots", "key.pem.pub"], "in one way"),
        (["m", "--identity", "me"], "needs its issuer"),
        (["--all", "--key", "key.pem.pub"], "about a home"),
        (["m", "--key", "key.pem.pub", "--all"], "Name one version"),
        (["m", "--key", "key.pem"], "bad-public-key"),
        (["m", "--roots", "key.pem"], "bad-certificate"),
        (["m", "--roots", "key.pem", "--revoked", "key.pem"], "bad-certificate"),
        (["m", "--key", "nowhere"], "no-file"),
        (["nowhere", "--key", "key.pem.pub"], "no-file"),
        (["m", "--identity", "me", "--issuer", "https://i", "--trusted-root", "key.pem"], "bad-trusted-root"),
    ],
)
def test_what_is_not_understood_says_so(place: Path, words: list[str], said: str) -> None:
    run(*SIGN)
    code, text = run("model", "verify", *words)
    assert code != 0
    assert said in text or said in str(CliRunner().invoke(cli, ["model", "verify", *words]).exception)


@pytest.mark.parametrize(
    "words",
    [
        ["--key", "key.pem", "--identity-token", "t"],
        [],
        ["--sigstore", "s"],
        ["--key", "key.pem", "--timestamp", "http://x"],
    ],
)
def test_one_way_to_sign(place: Path, words: list[str]) -> None:
    assert run("model", "sign", "m", *words)[0] == 2
    assert not (place / "m" / "model.sig").exists()


def test_a_timestamp_authority_that_answers_something_else(place: Path) -> None:
    from cryptography import x509
    from cryptography.hazmat.primitives import hashes, serialization
    from cryptography.x509.oid import NameOID

    from casemate.signing import OwnKey

    key = OwnKey.open((place / "key.pem").read_bytes(), "of twelve characters")._private
    name = x509.Name([x509.NameAttribute(NameOID.COMMON_NAME, "me")])
    now = datetime.now(UTC)
    builder = x509.CertificateBuilder(name, name, key.public_key(), 1, now - timedelta(1), now + timedelta(1))
    usage = x509.ExtendedKeyUsage([x509.ExtendedKeyUsageOID.CODE_SIGNING])
    certificate = builder.add_extension(usage, critical=False).sign(key, hashes.SHA256())
    (place / "chain.pem").write_bytes(certificate.public_bytes(serialization.Encoding.PEM))

    class Handler(BaseHTTPRequestHandler):
        def do_POST(self) -> None:
            self.rfile.read(int(self.headers["content-length"]))
            self.send_response(200 if self.path == "/empty" else 500)
            self.end_headers()

        def log_message(self, *_: object) -> None:
            pass

    server = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
    Thread(target=server.serve_forever, daemon=True).start()
    base = f"http://127.0.0.1:{server.server_port}"
    for url in (f"{base}/empty", f"{base}/broken", "http://127.0.0.1:9/", "nonsense"):
        assert run(*SIGN, "--certificates", "chain.pem", "--timestamp", url)[1] == "bad-timestamp"
    server.shutdown()
    server.server_close()
    assert not (place / "m" / "model.sig").exists()
