"""Azure Key Vault by its documented REST shapes, for Microsoft's own client: no emulator of it exists.

Source: learn.microsoft.com/rest/api/keyvault/keys (create, get, update, wrap, unwrap), its bearer challenge, and the token
endpoint of the Microsoft identity platform. What the real service does beyond these shapes is not tested by this.
"""

from __future__ import annotations

import base64
import os
import socket
import time
from pathlib import Path
from typing import Any

import pytest
from cryptography.hazmat.primitives import hashes
from cryptography.hazmat.primitives.asymmetric import padding, rsa
from https_server import Answer, HttpsServer
from real_bao import secret_file

VAULT, LOGIN = "casemate-test.vault.azure.net", "login.casemate.test"
TENANT, CLIENT = "72f988bf-86f1-41af-91ab-2d7cd011db47", "04b07795-8ddb-461a-bbee-02f9e1bf7b46"
SECRET = "planted~azure~client~secret~8f3a"
_TOKEN = "eyJ.planted-azure-token"
_OAEP = padding.OAEP(padding.MGF1(hashes.SHA256()), hashes.SHA256(), None)


class KeyVault:
    def __init__(self, folder: Path, patch: pytest.MonkeyPatch) -> None:
        self.keys: dict[str, rsa.RSAPrivateKey] = {}  # "name/version" ->
        self.disabled: set[str] = set()
        self.denied = False
        self.server = HttpsServer(folder, [VAULT, LOGIN], self._handle)
        self.vault, self._login = f"https://{VAULT}:{self.server.port}", f"https://{LOGIN}:{self.server.port}"
        self._secret = secret_file(folder / "client-secret", SECRET)
        asked = socket.getaddrinfo

        def found(host: Any, *rest: Any, **more: Any) -> Any:
            return asked("127.0.0.1" if host in (VAULT, LOGIN) else host, *rest, **more)

        patch.setattr(socket, "getaddrinfo", found)

    def settings(self) -> dict[str, str]:
        return {
            "vault": self.vault,
            "tenant": TENANT,
            "client": CLIENT,
            "client_secret_file": str(self._secret),
            "authority": self._login,
            "ca": str(self.server.ca),
        }

    def _handle(self, method: str, path: str, headers: dict[str, str], body: Any) -> Answer:  # noqa: PLR0911 one for each shape
        if headers["host"].startswith(LOGIN):
            return self._sign_in(path, body)
        if headers.get("authorization") != f"Bearer {_TOKEN}":
            challenge = (
                f'Bearer authorization="{self._login}/{TENANT}", resource="https://vault.azure.net:{self.server.port}"'
            )
            return 401, {"www-authenticate": challenge}, {"error": {"code": "Unauthorized", "message": "AKV10000"}}
        if self.denied:
            return _error(403, "Forbidden", "Caller is not authorized.", "ForbiddenByRbac")
        _, name, *rest = path.partition("?")[0].strip("/").split("/")
        if rest == ["create"]:
            return self._create(name, body)
        version = f"{name}/{rest[0]}"
        if version not in self.keys:
            return _error(404, "KeyNotFound", f"A key with (name/id) {version} was not found.")
        if method == "PATCH":
            self.disabled |= set() if body["attributes"]["enabled"] else {version}
            return self._bundle(version)
        if version in self.disabled:
            return _error(403, "Forbidden", "Operation get is not allowed on a disabled key.", "KeyDisabled")
        if method == "GET":
            return self._bundle(version)
        return self._use(version, rest[1], body)

    def _sign_in(self, path: str, body: str) -> Answer:
        here = f"{self._login}/{TENANT}"
        if path.endswith("/.well-known/openid-configuration"):
            places = {"authorization_endpoint": f"{here}/oauth2/v2.0/authorize", "issuer": f"{here}/v2.0"}
            return 200, {}, {"token_endpoint": f"{here}/oauth2/v2.0/token", **places}
        if SECRET.replace("~", "%7E") not in body and SECRET not in body:
            return 401, {}, {"error": "invalid_client", "error_description": "AADSTS7000215: Invalid client secret."}
        return 200, {}, {"token_type": "Bearer", "expires_in": 3599, "access_token": _TOKEN}

    def _create(self, name: str, body: dict[str, Any]) -> Answer:
        assert body["kty"] == "RSA"
        version = f"{name}/{os.urandom(16).hex()}"
        self.keys[version] = rsa.generate_private_key(65537, 2048)  # a smaller one than is asked for, to be quick
        return self._bundle(version)

    def _bundle(self, version: str) -> Answer:
        numbers = self.keys[version].public_key().public_numbers()
        now = int(time.time())
        key = {
            "kid": f"{self.vault}/keys/{version}",
            "kty": "RSA",
            "key_ops": ["wrapKey", "unwrapKey"],
            "n": _text(numbers.n.to_bytes(256)),
            "e": _text(numbers.e.to_bytes(3)),
        }
        attributes = {"enabled": version not in self.disabled, "created": now, "updated": now}
        return 200, {}, {"key": key, "attributes": attributes, "tags": {}}

    def _use(self, version: str, verb: str, body: dict[str, str]) -> Answer:
        assert body["alg"] == "RSA-OAEP-256"
        value = _bytes(body["value"])
        try:
            private = self.keys[version]
            done = private.public_key().encrypt(value, _OAEP) if verb == "wrapkey" else private.decrypt(value, _OAEP)
        except ValueError:
            return _error(400, "BadParameter", "The parameter is incorrect.")
        return 200, {}, {"kid": f"{self.vault}/keys/{version}", "value": _text(done)}


def _error(status: int, code: str, message: str, inner: str = "") -> Answer:
    more = {"innererror": {"code": inner}} if inner else {}
    return status, {}, {"error": {"code": code, "message": message, **more}}


def _bytes(text: str) -> bytes:
    return base64.urlsafe_b64decode(text + "=" * (-len(text) % 4))


def _text(data: bytes) -> str:
    return base64.urlsafe_b64encode(data).rstrip(b"=").decode()
