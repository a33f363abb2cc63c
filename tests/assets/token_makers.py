"""Tokens as issuers make them, and as attackers do."""

from __future__ import annotations

import base64
import hashlib
import hmac
import json
from datetime import datetime
from typing import Any

from cryptography.hazmat.primitives import hashes
from cryptography.hazmat.primitives.asymmetric import ec
from cryptography.hazmat.primitives.asymmetric.utils import decode_dss_signature
from joserfc import jwt
from joserfc.jwk import ECKey, OKPKey, RSAKey

ISSUER, AUDIENCE = "https://idp.example", "casemate"


class Signer:
    """An issuer's private key and what it publishes."""

    def __init__(self, algorithm: str = "ES256", kid: str = "k1") -> None:
        self.algorithm, self.kid = algorithm, kid
        kind = algorithm[:2]
        self.key: Any = (
            ECKey.generate_key("P-256") if kind == "ES" else OKPKey.generate_key("Ed25519") if kind == "Ed"
            else RSAKey.generate_key(2048)
        )  # fmt: skip

    def public(self) -> dict[str, Any]:
        return {**self.key.as_dict(private=False), "kid": self.kid, "alg": self.algorithm, "use": "sig"}

    def jwks(self) -> bytes:
        return json.dumps({"keys": [self.public()]}).encode()

    def sign(self, claims: dict[str, Any], **header: Any) -> str:
        """A token; a header whose value is None is left out."""
        whole = {"alg": self.algorithm, "kid": self.kid, "typ": "JWT", **header}
        whole = {name: value for name, value in whole.items() if value is not None}
        head, body = _part(whole), _part(claims)
        if set(whole) <= {"alg", "kid", "typ"}:
            return str(jwt.encode(whole, claims, self.key, algorithms=[self.algorithm]))
        return self.raw(head, body)

    def raw(self, head: str, body: str) -> str:
        """Sign two parts as they are, with ES256."""
        r, s = decode_dss_signature(self.key.raw_value.sign(f"{head}.{body}".encode(), ec.ECDSA(hashes.SHA256())))
        return f"{head}.{body}.{_encoded(r.to_bytes(32) + s.to_bytes(32))}"


def claims(now: datetime, *, life: int = 300, **more: Any) -> dict[str, Any]:
    at = int(now.timestamp())
    made = {"iss": ISSUER, "aud": AUDIENCE, "sub": "robot-7", "iat": at, "exp": at + life, "jti": f"j{at}", **more}
    return {name: value for name, value in made.items() if value is not None}


def unsigned(claims: dict[str, Any], algorithm: str = "none", signature: str = "") -> str:
    return f"{_part({'alg': algorithm, 'typ': 'JWT'})}.{_part(claims)}.{signature}"


def with_shared_secret(claims: dict[str, Any], secret: bytes, kid: str) -> str:
    """HS256 under whatever the attacker takes for the secret: a public key that everybody knows."""
    text = f"{_part({'alg': 'HS256', 'typ': 'JWT', 'kid': kid})}.{_part(claims)}"
    return f"{text}.{_encoded(hmac.new(secret, text.encode(), hashlib.sha256).digest())}"


def github_claims(now: datetime, **more: Any) -> dict[str, Any]:
    return claims(
        now,
        iss="https://token.actions.githubusercontent.com",
        sub="repo:acme/risk:ref:refs/heads/main",
        repository="acme/risk",
        ref="refs/heads/main",
        event_name="push",
        **more,
    )


def part(value: Any) -> str:
    return _part(value)


def _part(value: Any) -> str:
    return _encoded((value if isinstance(value, str) else json.dumps(value)).encode())


def _encoded(data: bytes) -> str:
    return base64.urlsafe_b64encode(data).decode().rstrip("=")
