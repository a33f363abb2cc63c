"""Access tokens, outside tokens and client certificates at a running server."""

from __future__ import annotations

import json
import ssl
import subprocess
import sys
import time
from collections.abc import Iterator
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import client_certificates
import httpx
import pytest
from joserfc import jwt
from joserfc.jwk import KeySet
from tiny_models import doubling_model
from token_makers import Signer, claims, github_claims

from casemate.client import Casemate
from conftest import Server, Walked

BODY = {"inputs": [{"name": "X", "shape": [1, 30], "datatype": "FP32", "data": [1.0] * 30}]}
PATIENCE = 180  # seconds after which something is broken; a bound, not an aim
BEARER = "urn:ietf:params:oauth:grant-type:jwt-bearer"


class Outside:
    """A client of the data plane, with or without a certificate."""

    def __init__(self, walked: Walked, server: Server, certificate: tuple[str, str] | None = None) -> None:
        context = ssl.create_default_context(cafile=str(walked.home / "tls" / "ca.pem"))
        if certificate:
            context.load_cert_chain(*certificate)
        self.http = httpx.Client(verify=context, timeout=120, base_url=server.data)

    def token(self, auth: tuple[str, str] | None = None, **form: str) -> httpx.Response:
        return self.http.post("/oauth/token", data={"grant_type": "client_credentials", **form}, auth=auth)

    def predict(self, bearer: str) -> httpx.Response:
        headers = {"Authorization": f"Bearer {bearer}"}
        return self.http.post("/v2/models/diagnosis/infer", json=BODY, headers=headers)

    def until(self, bearer: str, status: int) -> None:
        give_up = time.monotonic() + PATIENCE
        while (found := self.predict(bearer).status_code) != status:
            assert time.monotonic() < give_up, f"still {found} and not {status}"


def known_at_the_door(*clients: Outside) -> None:
    """Until the gateway has read who issued their certificates; before, it ends their connections."""
    give_up = time.monotonic() + PATIENCE
    for client in clients:
        while True:
            try:
                client.http.get("/v2/health/live")
                break
            except httpx.TransportError:
                assert time.monotonic() < give_up


@pytest.fixture
def outside(walked: Walked, server: Server) -> Iterator[Outside]:
    one = Outside(walked, server)
    yield one
    one.http.close()


def owner(walked: Walked, *words: str) -> Any:
    return json.loads(walked.run(*words, "--json"))


def key(walked: Walked, name: str, role: str = "caller") -> dict[str, str]:
    more = ("--deployment", "diagnosis") if role == "caller" else ()
    found: dict[str, str] = owner(walked, "key", "issue", name, "--role", role, "--expires", "1h", *more)
    return found


def now() -> datetime:
    return datetime.now(UTC)


def test_a_key_gets_a_token_that_counts_as_the_key_does(walked: Walked, outside: Outside) -> None:
    issued = key(walked, "oauth")
    outside.until(issued["key"], 200)
    answer = outside.token((issued["id"], issued["key"]))
    assert answer.status_code == 200, answer.text
    assert answer.headers["cache-control"] == "no-store"
    told = answer.json()
    assert (told["token_type"], told["expires_in"], told["scope"]) == ("Bearer", 300, "deployment:diagnosis")
    posted = outside.token(client_id=issued["id"], client_secret=issued["key"])
    assert posted.status_code == 200

    about = outside.http.get("/.well-known/oauth-authorization-server").json()
    keys = KeySet.import_key_set(outside.http.get("/oauth/jwks.json").json())
    found = jwt.decode(told["access_token"], keys, algorithms=["ES256"])
    assert (found.header["typ"], found.claims["client_id"]) == ("at+jwt", issued["id"])
    assert found.claims["iss"] == about["issuer"]
    assert found.claims["exp"] - found.claims["iat"] == 300

    assert outside.predict(told["access_token"]).status_code == 200
    owner(walked, "key", "revoke", issued["id"])
    outside.until(told["access_token"], 401)
    assert outside.token((issued["id"], issued["key"])).json()["error"] == "invalid_client"


def test_a_token_is_nothing_at_the_control_plane(walked: Walked, server: Server, outside: Outside) -> None:
    issued = key(walked, "stays-out", "owner")
    outside.until(issued["key"], 200)
    token = outside.token((issued["id"], issued["key"])).json()["access_token"]
    answer = outside.http.get(f"{server.control}/api/v1/keys", headers={"Authorization": f"Bearer {token}"})
    assert answer.status_code == 401


def test_what_proves_nothing_gets_no_token_and_is_told_why(walked: Walked, outside: Outside) -> None:
    issued, other = key(walked, "one"), key(walked, "other")
    outside.until(other["key"], 200)
    for auth, form, status, error in (
        ((issued["id"], other["key"]), {}, 401, "invalid_client"),
        ((issued["id"], "cm_" + "A" * 49), {}, 401, "invalid_client"),
        (None, {"client_id": issued["id"]}, 401, "invalid_client"),
        ((issued["id"], issued["key"]), {"client_secret": issued["key"]}, 400, "invalid_request"),
        ((issued["id"], issued["key"]), {"client_id": other["id"]}, 400, "invalid_request"),
        ((issued["id"], issued["key"]), {"grant_type": "password"}, 400, "unsupported_grant_type"),
        ((issued["id"], issued["key"]), {"scope": "*"}, 400, "invalid_scope"),
    ):
        answer = outside.token(auth, **form)
        assert (answer.status_code, answer.json()["error"]) == (status, error), answer.text
        assert issued["key"] not in answer.text
        assert other["key"] not in answer.text


def test_a_workload_shows_its_own_token(walked: Walked, outside: Outside, tmp_path: Path) -> None:
    signer, account = Signer("RS256"), "system:serviceaccount:shop:web"
    (tmp_path / "jwks.json").write_bytes(signer.jwks())
    url = "https://kubernetes.default.svc.cluster.local"
    owner(
        walked, "issuer", "add", "cluster", "--kind", "kubernetes", "--issuer", url, "--audience", "casemate",
        "--jwks", str(tmp_path / "jwks.json"),
    )  # fmt: skip
    bound = owner(
        walked, "issuer", "bind", "cluster", "--subject", account, "--role", "caller", "--on", "deployment:diagnosis",
        "--expires", "1h",
    )  # fmt: skip
    token = signer.sign(claims(now(), iss=url, sub=account, life=3600))
    outside.until(token, 200)
    exchanged = outside.token(grant_type=BEARER, assertion=token).json()
    assert outside.predict(exchanged["access_token"]).status_code == 200
    give_up, used = time.monotonic() + PATIENCE, None
    while not used and time.monotonic() < give_up:
        used = owner(walked, "issuer", "bindings")[-1]["last_used_at"]
    assert used, "its last use is known"
    owner(walked, "issuer", "unbind", bound["id"], "--reason", "over")
    outside.until(token, 401)
    outside.until(exchanged["access_token"], 401)
    owner(walked, "issuer", "revoke", "cluster")


def test_a_client_signs_its_own_assertion_once(walked: Walked, outside: Outside, tmp_path: Path) -> None:
    signer = Signer("ES256", kid="mine")
    (tmp_path / "jwks.json").write_bytes(signer.jwks())
    bound = owner(
        walked, "issuer", "key", "batch", str(tmp_path / "jwks.json"), "--role", "caller", "--on",
        "deployment:diagnosis", "--expires", "1h",
    )["id"]  # fmt: skip
    about = outside.http.get("/.well-known/oauth-authorization-server").json()
    said = claims(now(), iss=bound, sub=bound, aud=about["token_endpoint"], jti="once", life=60)
    form = {
        "client_assertion_type": "urn:ietf:params:oauth:client-assertion-type:jwt-bearer",
        "client_assertion": signer.sign(said),
    }
    give_up = time.monotonic() + PATIENCE
    while (answer := outside.token(**form)).status_code != 200:
        assert time.monotonic() < give_up, answer.text
        assert answer.json()["code"] in ("bad-client", "address-limited"), answer.text
    assert outside.predict(answer.json()["access_token"]).status_code == 200
    assert outside.token(**form).json()["code"] == "token-replayed"


def test_a_token_that_is_bound_to_a_certificate_needs_it(walked: Walked, server: Server, tmp_path: Path) -> None:
    ca = client_certificates.authority()
    name = "spiffe://acme/web"
    (tmp_path / "ca.pem").write_bytes(ca.pem)
    bound = owner(
        walked, "issuer", "certificate", "mesh", str(tmp_path / "ca.pem"), "--san", f"URI:{name}", "--role", "caller",
        "--on", "deployment:diagnosis", "--expires", "1h",
    )["id"]  # fmt: skip
    own = client_certificates.client(None, name="pinned")
    (tmp_path / "own.pem").write_bytes(own.pem)
    pinned = owner(
        walked, "issuer", "certificate", "pinned", str(tmp_path / "own.pem"), "--role", "caller", "--on",
        "deployment:diagnosis", "--expires", "1h",
    )["id"]  # fmt: skip
    web = Outside(walked, server, client_certificates.client(ca, uri=name).write(tmp_path, "web"))
    evil = Outside(walked, server, client_certificates.client(ca, uri="spiffe://acme/evil").write(tmp_path, "evil"))
    alone = Outside(walked, server, own.write(tmp_path, "alone"))
    bare = Outside(walked, server)
    known_at_the_door(web, evil, alone)
    give_up = time.monotonic() + PATIENCE
    while (answer := web.token(client_id=bound)).status_code != 200:
        assert time.monotonic() < give_up, answer.text
    token = answer.json()["access_token"]
    assert web.predict(token).status_code == 200
    for other in (bare, evil, alone):
        refused = other.predict(token)
        assert (refused.status_code, refused.json()["code"]) == (401, "wrong-certificate")
    assert evil.token(client_id=bound).json()["code"] == "bad-client"
    assert alone.token(client_id=bound).json()["code"] == "bad-client"
    assert bare.token(client_id=bound).json()["code"] == "no-credential"
    assert alone.token(client_id=pinned).status_code == 200
    stranger = client_certificates.client(client_certificates.authority(), uri=name).write(tmp_path, "stranger")
    unknown = Outside(walked, server, stranger)
    with pytest.raises((httpx.TransportError, ssl.SSLError)):
        unknown.token(client_id=bound)
    unknown.http.close()
    issued = key(walked, "bound-key")
    web.until(issued["key"], 200)
    token = web.token((issued["id"], issued["key"])).json()["access_token"]
    assert bare.predict(token).json()["code"] == "wrong-certificate", (
        "a key's token over such a connection is bound, too"
    )
    owner(walked, "issuer", "unbind", bound)
    web.until(web.token((issued["id"], issued["key"])).json()["access_token"], 200)
    assert web.token(client_id=bound).json()["code"] in ("revoked-credential", "address-limited")
    for one in (web, evil, alone, bare):
        one.http.close()


class Robot:
    """A CI job with tokens of its own, at both planes."""

    def __init__(self, walked: Walked, server: Server, signer: Signer) -> None:
        self.walked, self.server, self.signer, self.count = walked, server, signer, 0

    def token(self) -> str:
        self.count += 1
        said = github_claims(now(), jti=f"job-{self.count}")
        return self.signer.sign({**said, "aud": "casemate-ci"})

    def run(self, *words: str, token: str = "") -> tuple[int, dict[str, Any]]:
        place = ["--server", self.server.control, "--ca", str(self.walked.home / "tls" / "ca.pem")]
        environment = {**self.walked.environment(), "CASEMATE_KEY": token or self.token()}
        command = [sys.executable, "-m", "casemate", *place, *words, "--json"]
        done = subprocess.run(command, capture_output=True, text=True, env=environment, timeout=300, check=False)
        return done.returncode, json.loads(done.stdout)


def test_a_ci_job_deploys_only_what_a_person_approved(
    walked: Walked, server: Server, outside: Outside, tmp_path: Path
) -> None:
    signer = Signer("RS256", kid="gh")
    (tmp_path / "jwks.json").write_bytes(signer.jwks())
    words = ("issuer", "add", "github", "--kind", "github", "--audience", "casemate-ci")
    owner(walked, *words, "--jwks", str(tmp_path / "jwks.json"))
    owner(
        walked, "issuer", "bind", "github", "--claim", "repository=acme/risk", "--claim", "ref=refs/heads/main",
        "--role", "operator", "--on", "*", "--expires", "1h",
    )  # fmt: skip
    robot = Robot(walked, server, signer)
    helper = key(walked, "helper", "approver")
    pusher = key(walked, "pusher", "data-scientist")
    (tmp_path / "model.onnx").write_bytes(doubling_model(2.0))
    with Casemate(server=server.control, key=pusher["key"], ca=walked.home / "tls" / "ca.pem") as casemate:
        assert casemate.push_model("robots", tmp_path / "model.onnx")["verdict"] == "clean"
    version = "robots@1"

    code, said = robot.run("deploy", "robots", version, "--environment", "staging")
    assert (code, said["code"]) == (1, "forbidden")
    assert "ci-deploys-approved" in said["error"]
    headers = {"Authorization": f"Bearer {helper['key']}"}
    model, number = version.split("@")
    url = f"{server.control}/api/v1/models/{model}/versions/{number}/approvals"
    approved = outside.http.post(url, params={"environment": "staging"}, headers=headers)
    assert approved.status_code == 200, approved.text
    code, said = robot.run("deploy", "robots", version, "--environment", "staging")
    assert (code, said["code"]) == (1, "forbidden"), "a service's approval is none by a person"

    owner(walked, "model", "approve", version, "--environment", "staging", "--reason", "looked at")
    once = robot.token()
    code, said = robot.run("deploy", "robots", version, "--environment", "staging", token=once)
    assert code == 0, said
    code, said = robot.run("deployment", "list", token=once)
    assert said["code"] == "token-replayed"
    code, said = robot.run("model", "approve", version, "--environment", "production")
    assert (code, said["code"]) == (1, "forbidden")
    code, said = robot.run("key", "issue", "mine", "--role", "caller")
    assert (code, said["code"]) == (1, "forbidden")

    direct = outside.predict(robot.token())
    assert (direct.status_code, direct.json()["code"]) == (401, "exchange-first")
