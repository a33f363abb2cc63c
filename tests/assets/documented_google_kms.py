"""Cloud KMS by its documented REST shapes, for Google's own client: no emulator of it exists.

Source: cloud.google.com/kms/docs/reference/rest (v1: cryptoKeys, cryptoKeyVersions, encrypt, decrypt). What the real service does beyond these shapes is not tested by this.
"""

from __future__ import annotations

import base64
import json
import os
import re
import time
from pathlib import Path
from typing import Any

from cryptography.exceptions import InvalidSignature, InvalidTag
from cryptography.hazmat.primitives import hashes, serialization
from cryptography.hazmat.primitives.asymmetric import padding, rsa
from cryptography.hazmat.primitives.ciphers.aead import AESGCM
from https_server import Answer, HttpsServer

RING = "projects/casemate-test/locations/europe-west3/keyRings/homes"
_STATES = {1: "ENABLED", 2: "DISABLED"}  # the client asks for enumerations as numbers


class GoogleKms:
    def __init__(self, folder: Path) -> None:
        self.versions: dict[str, tuple[bytes, str]] = {}  # name -> (key, state)
        self.denied = False
        self.server = HttpsServer(folder, ["localhost"], self._handle)
        self.endpoint = f"https://localhost:{self.server.port}"
        self._account = folder / "account.json"
        account = rsa.generate_private_key(65537, 2048)
        self._public = account.public_key()
        key = account.private_bytes(
            serialization.Encoding.PEM, serialization.PrivateFormat.PKCS8, serialization.NoEncryption()
        )
        self._account.touch(0o600)
        about = {
            "type": "service_account",
            "project_id": "casemate-test",
            "private_key_id": "1",
            "private_key": key.decode(),
            "client_email": "casemate@casemate-test.iam.gserviceaccount.com",
            "token_uri": f"{self.endpoint}/token",
        }
        self._account.write_text(json.dumps(about))

    def settings(self) -> dict[str, str]:
        return {"key_ring": RING, "endpoint": self.endpoint, "credentials_file": str(self._account)}

    def set_state(self, version: str, state: str) -> None:
        self.versions[version] = (self.versions[version][0], state)

    def _handle(self, method: str, path: str, headers: dict[str, str], body: Any) -> Answer:
        if not self._is_signed(headers.get("authorization", "")):
            return _error(401, "UNAUTHENTICATED", "Request had invalid authentication credentials.")
        if self.denied:
            return _error(403, "PERMISSION_DENIED", "Permission 'cloudkms.cryptoKeyVersions.useToEncrypt' denied.")
        name, _, query = path.removeprefix("/v1/").partition("?")
        if method == "POST" and name.endswith("/cryptoKeys"):
            return self._create_key(name.removesuffix("/cryptoKeys"), query)
        if method == "POST" and name.endswith("/cryptoKeyVersions"):
            return self._create_version(name.removesuffix("/cryptoKeyVersions"))
        if method == "PATCH":
            self.set_state(name, _STATES[body["state"]])
            return 200, {}, {"name": name, "state": body["state"]}
        target, _, verb = name.partition(":")
        return self._encrypt(target, body) if verb == "encrypt" else self._decrypt(target, body)

    def _is_signed(self, authorization: str) -> bool:
        """A service account signs its own token, for this API's scope. Source: google.aip.dev/auth/4111."""
        signed, _, signature = authorization.removeprefix("Bearer ").rpartition(".")
        try:
            self._public.verify(_url_bytes(signature), signed.encode(), padding.PKCS1v15(), hashes.SHA256())
        except (InvalidSignature, ValueError):
            return False
        claims = json.loads(_url_bytes(signed.partition(".")[2]))
        return claims["exp"] > time.time() and claims["scope"] == "https://www.googleapis.com/auth/cloudkms"

    def _create_key(self, ring: str, query: str) -> Answer:
        named = re.search(r"cryptoKeyId=([\w-]+)", query)
        assert named is not None
        key = f"{ring}/cryptoKeys/{named[1]}"
        if any(version.startswith(f"{key}/") for version in self.versions):
            return _error(409, "ALREADY_EXISTS", f"CryptoKey {key} already exists.")
        version = self._create_version(key)[2]
        return 200, {}, {"name": key, "primary": version, "purpose": "ENCRYPT_DECRYPT"}

    def _create_version(self, key: str) -> Answer:
        number = 1 + sum(version.startswith(f"{key}/") for version in self.versions)
        name = f"{key}/cryptoKeyVersions/{number}"
        self.versions[name] = (os.urandom(32), "ENABLED")
        algorithm = {"algorithm": "GOOGLE_SYMMETRIC_ENCRYPTION", "protectionLevel": "SOFTWARE"}
        return 200, {}, {"name": name, "state": "ENABLED", **algorithm}

    def _encrypt(self, name: str, body: dict[str, str]) -> Answer:
        if name not in self.versions:
            return _error(404, "NOT_FOUND", f"CryptoKeyVersion {name} not found.")
        key, state = self.versions[name]
        if state != "ENABLED":
            return _disabled(name)
        number, nonce = int(name.rpartition("/")[2]), os.urandom(12)
        sealed = AESGCM(key).encrypt(nonce, _bytes(body, "plaintext"), _bytes(body, "additionalAuthenticatedData"))
        return 200, {}, {"name": name, "ciphertext": _text(number.to_bytes(4) + nonce + sealed), "protectionLevel": "SOFTWARE"}  # fmt: skip

    def _decrypt(self, name: str, body: dict[str, str]) -> Answer:
        sealed = _bytes(body, "ciphertext")
        version = f"{name}/cryptoKeyVersions/{int.from_bytes(sealed[:4])}"
        invalid = _error(400, "INVALID_ARGUMENT", "Decryption failed: the ciphertext is invalid.")
        if version not in self.versions:
            return invalid
        key, state = self.versions[version]
        if state != "ENABLED":
            return _disabled(version)
        try:
            plain = AESGCM(key).decrypt(sealed[4:16], sealed[16:], _bytes(body, "additionalAuthenticatedData"))
        except (InvalidTag, ValueError):
            return invalid
        return 200, {}, {"plaintext": _text(plain), "usedPrimary": True, "protectionLevel": "SOFTWARE"}


def _error(status: int, code: str, message: str) -> Answer:
    return status, {}, {"error": {"code": status, "message": message, "status": code}}


def _disabled(version: str) -> Answer:
    return _error(400, "FAILED_PRECONDITION", f"{version} is not enabled, current state is: DISABLED.")


def _bytes(body: dict[str, str], name: str) -> bytes:
    return base64.b64decode(body.get(name, ""))


def _url_bytes(text: str) -> bytes:
    return base64.urlsafe_b64decode(text + "=" * (-len(text) % 4))


def _text(data: bytes) -> str:
    return base64.b64encode(data).decode()
