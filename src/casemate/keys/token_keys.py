"""The keys that sign access tokens: one a day, made ahead, so that every gateway knows a key before anything bears it.

The file beside the other keys is replaced whole. A lost one costs five minutes of tokens and nothing else, so it is made
anew where it is missing.
"""

from __future__ import annotations

import threading
from collections.abc import Callable
from pathlib import Path
from typing import Annotated, Any

import msgspec
from cryptography.hazmat.primitives import serialization
from joserfc import jwt
from joserfc.jwk import ECKey

from casemate.core import PolicyError, StorageError
from casemate.keys.files import read_private, write_private

ALGORITHM, TYPE = "ES256", "at+jwt"
MAX_LIFE = 300  # s of an access token
ROTATION = 86400  # s that a key signs
AHEAD = 3600  # s that a key is published before it signs; gateways look every few seconds
AFTER = MAX_LIFE + 300  # s that it stays published after it signed last: until its tokens have ended, with room
_SKEW = 60  # s between the clock of who asks and ours
_FILE = "token.json"

_Text = Annotated[str, msgspec.Meta(min_length=1, max_length=200)]
_Instant = Annotated[int, msgspec.Meta(ge=0, lt=1 << 40)]  # s since 1970


class Confirmation(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """What the caller must hold, too. Source: RFC 8705, section 3.1."""

    thumbprint: Annotated[str, msgspec.Meta(pattern=r"^[A-Za-z0-9_-]{43}\Z")] = msgspec.field(name="x5t#S256")


class AccessClaims(msgspec.Struct, frozen=True, kw_only=True, forbid_unknown_fields=True, omit_defaults=True):
    """What an access token says. Source: RFC 9068, section 2.2."""

    iss: _Text
    sub: _Text  # the principal
    aud: _Text
    exp: _Instant
    iat: _Instant
    jti: _Text
    client_id: _Text  # the credential that it was got with
    scope: Annotated[str, msgspec.Meta(max_length=200)]
    cnf: Confirmation | None = None


class _TokenKey(msgspec.Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    kid: str
    pem: str
    signs_from: float  # s since 1970


_CLAIMS = msgspec.json.Decoder(AccessClaims)
_KEPT = msgspec.json.Decoder(list[_TokenKey])


class TokenKeys:
    """Signs access tokens for one audience. Args: now: seconds since 1970; what it says may not run backwards."""

    def __init__(self, folder: Path, *, audience: str, now: Callable[[], float]) -> None:
        """Raises: StorageError: the file is broken, or others may read it."""
        self._path, self._audience, self._now = folder / _FILE, audience, now
        self._lock = threading.Lock()
        self._keys = _load(self._path)

    def issue(self, claims: bytes) -> str:
        """The signed token. Args: claims: JSON of `AccessClaims`.

        Raises: PolicyError `token-refused`: for another audience, for longer than 5 minutes, or not for now.
        """
        now = self._now()
        try:
            wanted = _CLAIMS.decode(claims)
        except msgspec.DecodeError as error:
            raise _refused("it does not say what an access token says") from error
        if wanted.aud != self._audience:
            raise _refused("it is for another audience than this home's data plane")
        if not 0 < wanted.exp - wanted.iat <= MAX_LIFE:
            raise _refused(f"it lives for more than {MAX_LIFE} seconds")
        if abs(wanted.iat - now) > _SKEW:
            raise _refused("it was not asked for just now")
        key = self._signing(now)
        header = {"alg": ALGORITHM, "typ": TYPE, "kid": key.kid}
        return jwt.encode(header, msgspec.to_builtins(wanted), _private(key), algorithms=[ALGORITHM])

    def jwks(self) -> dict[str, Any]:
        """The public keys whose tokens count, as RFC 7517 has them; the newest may not have signed anything yet."""
        self._signing(self._now())
        return {"keys": [_public(key) for key in self._keys]}

    def _signing(self, now: float) -> _TokenKey:
        """The key that signs now. Makes the next one when it is time, and lets go of those whose tokens have ended."""
        with self._lock:
            keys = list(self._keys)
            if not keys:
                keys.append(_new_key(now))
            elif now >= keys[-1].signs_from + ROTATION - AHEAD:
                keys.append(_new_key(max(keys[-1].signs_from + ROTATION, now + AHEAD)))
            current = max((at for at, key in enumerate(keys) if key.signs_from <= now), default=0)
            while current and now >= keys[1].signs_from + AFTER:
                del keys[0]
                current -= 1
            if keys != self._keys:
                write_private(self._path, msgspec.json.encode(keys))
                self._keys = keys
            return keys[current]


def _refused(why: str) -> PolicyError:
    return PolicyError(f"The keeper does not sign this token: {why}.", code="token-refused")


def _new_key(signs_from: float) -> _TokenKey:
    made = ECKey.generate_key("P-256")
    return _TokenKey(kid=made.thumbprint(), pem=made.as_pem(private=True).decode(), signs_from=signs_from)


def _private(key: _TokenKey) -> ECKey:
    return ECKey.import_key(key.pem)


def _public(key: _TokenKey) -> dict[str, Any]:
    public = ECKey.import_key(key.pem).as_dict(private=False)
    return {**public, "kid": key.kid, "alg": ALGORITHM, "use": "sig"}


def _load(path: Path) -> list[_TokenKey]:
    if not path.exists():
        return []
    try:
        keys = _KEPT.decode(read_private(path))
        for key in keys:
            serialization.load_pem_private_key(key.pem.encode(), password=None)
    except (msgspec.DecodeError, ValueError) as error:
        raise StorageError(
            f"The key file {path} is broken: delete it, and a new one is made; tokens of the last five minutes end.",
            code="key-file-broken",
        ) from error
    return keys
