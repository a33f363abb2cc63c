"""An authenticator in software: makes passkeys and signs with them, and lies wherever a test asks it to."""

from __future__ import annotations

import hashlib
import json
import os
from typing import Any

import cbor2
from cryptography.hazmat.primitives import hashes
from cryptography.hazmat.primitives.asymmetric import ec, ed25519, padding, rsa

from casemate.iam.passkeys import decode_base64url, encode_base64url

UP, UV, BE, BS, AT = 1, 4, 8, 16, 64
_NUMBERS = {"ES256": -7, "EdDSA": -8, "RS256": -257}


class SoftPasskey:
    """One credential. `options` are the server's, as JSON; `site`: the origin that the browser would tell. Args: counts: whether it keeps a counter."""

    def __init__(self, *, algorithm: str = "ES256", counts: bool = True, rsa_bits: int = 2048) -> None:
        self.algorithm, self.counts, self.count = algorithm, counts, 0
        self.id, self.user = os.urandom(32), b""
        self._key: Any = {
            "ES256": lambda: ec.generate_private_key(ec.SECP256R1()),
            "EdDSA": ed25519.Ed25519PrivateKey.generate,
            "RS256": lambda: rsa.generate_private_key(public_exponent=65537, key_size=rsa_bits),
        }[algorithm]()

    def create(self, options: dict[str, Any], site: str, *, statement: Any = None, **lies: Any) -> dict[str, Any]:
        """What `navigator.credentials.create` answers. Args: statement: (fmt, attStmt), or "self"."""
        self.user = decode_base64url(options["user"]["id"], "test")
        flags = lies.pop("flags", UP | UV) | AT
        attested = bytes(16) + len(self.id).to_bytes(2) + self.id + cbor2.dumps(self.cose())
        data = self._data(lies.pop("rp_id", options["rp"]["id"]), flags) + attested
        said = _client_data(lies.pop("type", "webauthn.create"), options["challenge"], site, lies)
        if statement == "self":  # signed by the new key itself, as some devices do though nobody asks
            signed = data + hashlib.sha256(decode_base64url(said, "test")).digest()
            statement = ("packed", {"alg": _NUMBERS[self.algorithm], "sig": self._sign(signed)})
        fmt, body = statement or ("none", {})
        response = {
            "clientDataJSON": said,
            "attestationObject": encode_base64url(cbor2.dumps({"fmt": fmt, "attStmt": body, "authData": data})),
            "transports": ["internal", "hybrid"],
        }
        return self._named(response)

    def get(self, options: dict[str, Any], site: str, **lies: Any) -> dict[str, Any]:
        """What `navigator.credentials.get` answers."""
        self.count += self.counts
        data = self._data(lies.pop("rp_id", options["rpId"]), lies.pop("flags", UP | UV))
        user = lies.pop("user", self.user)
        said = _client_data(lies.pop("type", "webauthn.get"), options["challenge"], site, lies)
        signed = data + hashlib.sha256(decode_base64url(said, "test")).digest()
        response = {
            "clientDataJSON": said,
            "authenticatorData": encode_base64url(data),
            "signature": encode_base64url(self._sign(signed)),
            "userHandle": encode_base64url(user) if user else None,
        }
        return self._named(response)

    def cose(self) -> dict[int, Any]:
        """The public key as COSE has it."""
        number, public = _NUMBERS[self.algorithm], self._key.public_key()
        if self.algorithm == "EdDSA":
            return {1: 1, 3: number, -1: 6, -2: public.public_bytes_raw()}
        numbers = public.public_numbers()
        if self.algorithm == "RS256":
            return {1: 3, 3: number, -1: _bytes(numbers.n), -2: _bytes(numbers.e)}
        return {1: 2, 3: number, -1: 1, -2: numbers.x.to_bytes(32), -3: numbers.y.to_bytes(32)}

    def _named(self, response: dict[str, Any]) -> dict[str, Any]:
        named = encode_base64url(self.id)
        return {"id": named, "rawId": named, "type": "public-key", "response": response, "clientExtensionResults": {}}

    def _data(self, rp_id: str, flags: int) -> bytes:
        return hashlib.sha256(rp_id.encode()).digest() + bytes([flags]) + self.count.to_bytes(4)

    def _sign(self, data: bytes) -> bytes:
        if self.algorithm == "EdDSA":
            return self._key.sign(data)
        if self.algorithm == "RS256":
            return self._key.sign(data, padding.PKCS1v15(), hashes.SHA256())
        return self._key.sign(data, ec.ECDSA(hashes.SHA256()))


def _client_data(kind: str, challenge: str, site: str, lies: dict[str, Any]) -> str:
    said = {"type": kind, "challenge": challenge, "origin": site, "crossOrigin": False, **lies}
    return encode_base64url(json.dumps(said).encode())


def _bytes(number: int) -> bytes:
    return number.to_bytes((number.bit_length() + 7) // 8)
