"""A token's verification and a key's lookup beside bare joserfc, and how soon a revoked key's token is refused by four gateways.

1,000 keys in the ledger. Revocation: 25 keys, each with a token that all four gateway processes take; the clock runs
from the moment that the revocation is asked for until each has refused the token. Medians of five runs, but the latency.
"""

from __future__ import annotations

import json
import os
import ssl
import statistics
import subprocess
import sys
import tempfile
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path

import httpx
import msgspec
from joserfc import jws, jwt
from joserfc.jwk import ECKey, RSAKey

from access import Ledger, microseconds
from casemate.client import Casemate
from casemate.core import SystemClock, rfc3339
from casemate.iam import Access, Authorizer, Policies, issue_key, key_request, local_owner
from casemate.iam.tokens.bindings import bind, token_binding
from casemate.iam.tokens.issuers import add_issuer, issuer_request
from casemate.iam.tokens.jwks import PublicKeys, read_jwks
from casemate.iam.tokens.verifier import TokenVerifier
from casemate.keys import AccessClaims, TokenKeys, make_private_folder
from casemate.settings import load_settings

KEYS, ROUNDS, GATEWAYS = 1_000, 25, 4
URL, AUDIENCE = "https://models.example", "urn:casemate:bench:data"
PATIENCE = 20.0  # s after which a token that still counts is a defect


class Own:
    issuer, audience = URL, AUDIENCE

    def __init__(self, keys: TokenKeys) -> None:
        self.keys = PublicKeys(read_jwks(json.dumps(keys.jwks()).encode(), ["ES256"]))


def claims_for(issuer: str, audience: str, **more: str) -> dict:
    now = int(time.time())
    return {"iss": issuer, "aud": audience, "iat": now, "exp": now + 300, "jti": "tok_1", **more}


def verification(folder: Path) -> list[dict]:
    clock, ledger, owner = SystemClock(), Ledger(), local_owner(1000)
    for _ in range(KEYS):
        issued = issue_key(key_request("web", role="caller", scope="*", now=clock.now()), issuer=owner)
        ledger.append(issued.entries, rfc3339(clock.now()))
    access = Access(ledger, owner_uid=1000)
    access.refresh()
    outside = RSAKey.generate_key(2048)
    jwks = json.dumps({"keys": [{**outside.as_dict(private=False), "kid": "k"}]}).encode()
    request = issuer_request(
        "idp", kind="generic", issuer="https://idp.example", audience="us", algorithms=["RS256"], source=""
    )
    ledger.append(
        add_issuer(access, request, read_jwks(jwks, ["RS256"]), by=owner, now=clock.now()), rfc3339(clock.now())
    )
    access.refresh()
    service = key_request("robot", role="caller", scope="*", now=clock.now())
    bound = bind(service, token_binding(access, "idp", {"sub": "robot-1"}), by=owner, reason="bench")
    ledger.append(bound.entries, rfc3339(clock.now()))
    access.refresh()
    make_private_folder(folder / "keys")
    keys = TokenKeys(folder / "keys", audience=AUDIENCE, now=time.time)
    verifier = TokenVerifier(own=Own(keys))
    authorizer = Authorizer(access=access, policies=Policies(), clock=clock, tokens=verifier)
    holder = authorizer.authenticate(issued.key)
    said = claims_for(URL, AUDIENCE, sub=holder.id, client_id=holder.credential, scope="*")
    signed = msgspec.json.encode(msgspec.convert(said, AccessClaims))
    token = keys.issue(signed)
    public = ECKey.import_key({name: keys.jwks()["keys"][0][name] for name in ("kty", "crv", "x", "y")})
    foreign = jwt.encode({"alg": "RS256", "kid": "k"}, claims_for("https://idp.example", "us", sub="robot-1"), outside)

    def cold(one: str) -> Callable[[], object]:
        def verify() -> None:
            verifier._kept.clear()
            authorizer.authenticate(one)

        return verify

    bare = microseconds(lambda: jws.deserialize_compact(token, public, algorithms=["ES256"]), 500)
    bare_rsa = microseconds(lambda: jws.deserialize_compact(foreign, outside, algorithms=["RS256"]), 500)
    own, rsa = microseconds(cold(token), 500), microseconds(cold(foreign), 500)
    kept = microseconds(lambda: authorizer.authenticate(token), 20_000)
    return [
        row("key lookup", microseconds(lambda: authorizer.authenticate(issued.key), 20_000), "us"),
        row("access token (ES256), first seen; beside: joserfc alone", own, "us", bare),
        row("outside token (RS256), first seen; beside: joserfc alone", rsa, "us", bare_rsa),
        row("token, seen before; beside: joserfc alone", kept, "us", bare),
        row("access token signed by the keeper", microseconds(lambda: keys.issue(signed), 300), "us"),
    ]


def row(name: str, value: float, unit: str, beside: float | None = None) -> dict:
    found = {"name": name, "value": value, "unit": unit}
    return found | ({"beside": beside, "ratio": round(value / beside, 3)} if beside else {})


@contextmanager
def gateways(folder: Path) -> Iterator[tuple[Path, list[str]]]:
    """A served home with four gateway processes: where it is, and where they are."""
    home, keys = folder / "home", folder / "keys-of-home"
    kept = {name: value for name, value in os.environ.items() if not name.startswith("CASEMATE_")}
    environment = {**kept, "CASEMATE_KEYS": str(keys), "CASEMATE_DATA_URL": URL}
    casemate = [sys.executable, "-m", "casemate", "--home", str(home)]
    subprocess.run([*casemate, "init"], check=True, env=environment, capture_output=True)
    up = [*casemate, "up", "--data-port", "0", "--control-port", "0"]
    processes = [subprocess.Popen(up, stdout=subprocess.PIPE, text=True, env=environment)]
    try:
        first = dict(word.split("=", 1) for word in processes[0].stdout.readline().split()[1:])["data"]
        settings = load_settings({}, home=home, keys=keys, data_url=URL, data_port=0)
        for _ in range(GATEWAYS - 1):
            command = [sys.executable, "-m", "casemate.app.processes", "gateway"]
            pipes = {"stdin": subprocess.PIPE, "stdout": subprocess.PIPE, "text": True, "env": environment}
            processes.append(subprocess.Popen(command, **pipes))
            processes[-1].stdin.write(msgspec.json.encode(settings, enc_hook=str).decode())
            processes[-1].stdin.close()
        others = [dict(word.split("=", 1) for word in one.stdout.readline().split()[1:]) for one in processes[1:]]
        yield home, [first, *(one["url"] for one in others)]
    finally:
        for process in reversed(processes):
            process.terminate()
        for process in processes:
            process.wait(60)


def revocation(folder: Path) -> list[dict]:
    late: list[float] = []
    with gateways(folder) as (home, urls), Casemate(socket=home / "run" / "control.sock") as casemate:
        context = ssl.create_default_context(cafile=str(home / "tls" / "ca.pem"))
        clients = [httpx.Client(verify=context, base_url=url, timeout=30) for url in urls]
        for number in range(ROUNDS):
            issued = casemate.issue_key(f"bench-{number}", role="caller", expires="1h")
            token = taken(clients, issued)
            late += refused(clients, token, lambda key=issued: casemate.revoke_key(key["id"]))
            print(f"{number + 1}/{ROUNDS} revoked", file=sys.stderr)
        for client in clients:
            client.close()
    ordered = sorted(late)
    p99 = ordered[min(len(ordered) - 1, int(0.99 * len(ordered)))]
    return [
        row(f"revocation until {GATEWAYS} gateways refuse, median", round(statistics.median(late) * 1000), "ms"),
        {**row(f"revocation until {GATEWAYS} gateways refuse, p99", round(p99 * 1000), "ms"), "aim": "< 1000"},
    ]


def taken(clients: list[httpx.Client], issued: dict) -> str:
    """A token of this key, once every gateway takes it."""
    give_up = time.monotonic() + PATIENCE
    form, auth = {"grant_type": "client_credentials"}, (issued["id"], issued["key"])
    while (answer := clients[0].post("/oauth/token", data=form, auth=auth)).status_code != 200:
        wait(give_up)
    token = answer.json()["access_token"]
    for client in clients:
        while status(client, token) != 200:
            wait(give_up)
    return token


def wait(give_up: float) -> None:
    if time.monotonic() > give_up:
        raise SystemExit("a gateway did not take a new key's token: not a measurement")
    time.sleep(0.25)  # refused credentials of one address are limited


def status(client: httpx.Client, token: str) -> int:
    return client.get("/v2", headers={"Authorization": f"Bearer {token}"}).status_code


def refused(clients: list[httpx.Client], token: str, revoke: Callable[[], object]) -> list[float]:
    """Seconds from asking for the revocation until each gateway refuses the token."""
    start, found = time.monotonic(), [PATIENCE] * len(clients)

    def watch(at: int) -> None:
        while time.monotonic() - start < PATIENCE:
            if status(clients[at], token) != 200:
                found[at] = time.monotonic() - start
                return
            time.sleep(0.005)

    watchers = [threading.Thread(target=watch, args=(at,)) for at in range(len(clients))]
    for watcher in watchers:
        watcher.start()
    start = time.monotonic()
    revoke()
    for watcher in watchers:
        watcher.join()
    return found


def main() -> None:
    with tempfile.TemporaryDirectory() as folder:
        rows = verification(Path(folder)) + revocation(Path(folder))
    print(json.dumps(rows))


if __name__ == "__main__":
    main()
