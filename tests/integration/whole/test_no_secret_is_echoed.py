"""Secrets planted wherever something is typed or sent, at both planes and the command line, come back nowhere."""

from __future__ import annotations

import json
import os
import signal
import ssl
import subprocess
import sys
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import httpx
import pytest
from token_makers import Signer

PASSWORD = "correct-horse-battery-Staple-9"  # has no shape to be known by: planted where a secret belongs alone
UNKNOWN = "cm_" + "Zq7" * 16 + "x"  # an API key by its shape


@dataclass
class Home:
    path: Path
    keys: Path
    errors: Path
    data: str
    control: str
    pids: list[int]
    key: dict[str, str]
    jwt: str
    signer: Signer

    def secrets(self) -> list[str]:
        """What must be found nowhere, and the middle of each, since messages may cut what they repeat."""
        whole = [self.key["key"], UNKNOWN, self.jwt, PASSWORD]
        private = self.signer.key.as_dict(private=True)["d"]
        return [*whole, *(one[8:28] for one in whole[:2]), self.jwt.split(".")[1][:24], private]

    def check(self, text: str, where: str) -> None:
        for secret in self.secrets():
            assert secret not in text, f"{where} holds a secret"

    def run(self, *words: str, key: str = "", remote: bool = True) -> str:
        place = ["--server", self.control, "--ca", str(self.path / "tls" / "ca.pem")] if remote else []
        command = [sys.executable, "-m", "casemate", *(place or ["--home", str(self.path)]), *words]
        environment = _environment(self.keys) | ({"CASEMATE_KEY": key} if key else {})
        done = subprocess.run(command, capture_output=True, text=True, env=environment, timeout=300, check=False)
        return done.stdout + done.stderr


def _environment(keys: Path) -> dict[str, str]:
    kept = {name: value for name, value in os.environ.items() if not name.startswith("CASEMATE_")}
    return {**kept, "CASEMATE_KEYS": str(keys)}


@pytest.fixture(scope="module")
def home(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Home]:
    folder = tmp_path_factory.mktemp("echo")
    path, keys, errors = folder / "home", folder / "keys", folder / "errors.log"
    casemate = [sys.executable, "-m", "casemate", "--home", str(path)]
    subprocess.run([*casemate, "init"], check=True, env=_environment(keys), capture_output=True, timeout=300)
    with errors.open("wb") as log:
        up = [*casemate, "up", "--data-port", "0", "--control-port", "0"]
        process = subprocess.Popen(up, stdout=subprocess.PIPE, stderr=log, text=True, env=_environment(keys))
    assert process.stdout is not None
    place = dict(word.split("=", 1) for word in process.stdout.readline().split()[1:])
    command = [*casemate, "key", "issue", "planted", "--role", "owner", "--expires", "1h", "--json"]
    issued = subprocess.run(command, check=True, env=_environment(keys), capture_output=True, text=True, timeout=300)
    signer = Signer()
    token = signer.sign({"iss": "https://idp.example", "sub": "planted-subject", "aud": "x", "iat": 1, "exp": 2})
    children = Path(f"/proc/{process.pid}/task/{process.pid}/children").read_text().split()
    pids = [process.pid, *(int(child) for child in children)]
    made = Home(path, keys, errors, place["data"], place["control"], pids, json.loads(issued.stdout), token, signer)
    yield made
    process.send_signal(signal.SIGTERM)
    assert process.wait(timeout=300) == 0
    process.stdout.close()
    made.check(errors.read_text(), "the log of the server")


@pytest.fixture(scope="module")
def http(home: Home) -> Iterator[httpx.Client]:
    context = ssl.create_default_context(cafile=str(home.path / "tls" / "ca.pem"))
    with httpx.Client(verify=context, timeout=60) as client:
        yield client


def places(home: Home, secret: str) -> Iterator[tuple[str, str, dict[str, Any]]]:
    """Requests that bear `secret` in each place that a request has."""
    owner = {"Authorization": f"Bearer {home.key['key']}"}
    form = {"grant_type": "client_credentials", "client_id": home.key["id"]}
    token = f"{home.data}/oauth/token"
    predict = f"{home.data}/v2/models/nothing/infer"
    api = f"{home.control}/api/v1"
    for base in (f"{home.data}/v2", f"{api}/keys"):
        for scheme in ("Bearer", "Basic", "Digest", ""):
            yield "GET", base, {"headers": {"Authorization": f"{scheme} {secret}".strip()}}
        yield "GET", base, {"headers": {"X-Api-Key": secret, "Cookie": f"session={secret}"}, "params": {"key": secret}}
    yield "GET", f"{home.data}/{secret}", {}
    yield "POST", predict, {"headers": owner, "content": json.dumps({"inputs": secret, secret: secret})}
    yield "POST", predict, {"headers": owner, "content": secret}
    yield "POST", token, {"data": {**form, "client_secret": secret}}
    yield "POST", token, {"data": form, "auth": (home.key["id"], secret)}
    yield "POST", token, {"data": {**form, "scope": "x", "client_assertion": secret}}
    yield "POST", token, {"data": {"grant_type": "urn:ietf:params:oauth:grant-type:jwt-bearer", "assertion": secret}}
    yield "POST", token, {"data": {"grant_type": "password", "username": "u", "password": secret}}
    yield "POST", token, {"content": secret}
    if secret == PASSWORD:
        return
    yield "GET", f"{api}/grants/{secret}", {"headers": owner}
    yield "DELETE", f"{api}/keys/{secret}", {"headers": owner, "params": {"reason": f"it was {secret}"}}
    named = {"name": secret, "role": "caller"}
    yield "POST", f"{api}/keys", {"headers": owner, "params": named}
    yield "POST", f"{api}/keys", {"headers": owner, "params": {"name": "x", "role": secret}}
    yield "POST", f"{api}/keys", {"headers": owner, "params": {"name": "x", "role": "caller", "expires": secret}}
    yield "POST", f"{api}/keys", {"headers": owner, "params": {"name": "x", "role": "caller", "reason": secret}}
    yield "POST", f"{api}/keys", {"headers": {**owner, "Idempotency-Key": secret}, "params": {"name": "x", "role": "x"}}
    yield "POST", f"{api}/issuers/{secret}", {"headers": owner, "params": {"audience": secret, "issuer": secret}}
    yield "POST", f"{api}/issuers/x", {"headers": owner, "params": {"audience": "a"}, "content": secret}
    bound = {"role": "caller", "on": secret, "claims": secret, "service": secret}
    yield "POST", f"{api}/issuers/x/bindings", {"headers": owner, "params": bound}
    yield "PUT", f"{api}/deployments/{secret}", {"headers": owner, "params": {"model": secret, "profile": secret}}
    asked = {"principal": secret, "action": secret, "resource": secret}
    yield "GET", f"{api}/access/explain", {"headers": owner, "params": asked}
    yield "POST", f"{api}/audit/verify", {"headers": owner, "content": secret}


def test_no_answer_holds_what_was_sent(home: Home, http: httpx.Client) -> None:
    count = 0
    for secret in (home.key["key"], UNKNOWN, home.jwt, PASSWORD):
        for method, url, more in places(home, secret):
            answer = http.request(method, url, **more)
            if answer.is_success and '"key":"cm_' in answer.text:
                continue  # a key that was issued is shown, once; which one is looked at below
            told = answer.text + str(answer.headers)
            home.check(told, f"the answer to {method} {url.partition('?')[0][:60].split('cm_')[0].split('eyJ')[0]}")
            assert answer.status_code != 500
            count += 1
    assert count > 90


def test_the_command_line_repeats_no_secret(home: Home) -> None:
    for secret in (UNKNOWN, home.jwt):
        for words in (
            ("key", "issue", secret, "--role", "caller"),
            ("key", "revoke", secret, "--reason", secret),
            ("issuer", "add", secret, "--audience", secret, "--jwks", secret),
            ("issuer", "bind", secret, "--subject", secret, "--role", "caller", "--on", secret),
            ("deploy", secret, secret),
        ):
            home.check(home.run(*words, remote=False), f"{words[0]} {words[1] if words[1] != secret else ''}")
    for key in (UNKNOWN, home.jwt, PASSWORD):
        home.check(home.run("key", "list", key=key), "a command with a key that counts for nothing")


def test_the_record_holds_no_secret(home: Home, tmp_path: Path) -> None:
    home.run("audit", "export", str(tmp_path / "log.jsonl"), remote=False)
    text = (tmp_path / "log.jsonl").read_text()
    assert "decision" in text
    home.check(text, "the audit log")
    home.check(home.run("key", "list", "--json", remote=False), "the list of keys")
    home.check(home.run("access", "report", "--json", remote=False), "the access report")


def test_no_process_was_started_with_a_secret(home: Home) -> None:
    for pid in home.pids:
        home.check(Path(f"/proc/{pid}/cmdline").read_bytes().decode(), "a command line")
    assert len(home.pids) >= 4
