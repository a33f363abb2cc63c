"""Public keys of token issuers, read once and strictly: what is recorded holds no secret and fits its algorithm.

Each algorithm takes one type of key alone, so that no public key is ever taken for a shared secret (RFC 8725, section
3.1), and shared secrets (`HS256`) and `none` are no algorithms here.
"""

from __future__ import annotations

import base64
from collections.abc import Iterable
from typing import Any

from joserfc.errors import JoseError
from joserfc.jwk import ECKey, OKPKey, RSAKey

from casemate.core import InputError
from casemate.iam.tokens.records import Jwk
from casemate.scanning.strict_json import parse_json

MAX_JWKS = 64 << 10  # bytes; a large issuer's is 10 KiB
MAX_KEYS = 32
_RSA_BITS = (2048, 8192)  # below is broken, above costs a verifier milliseconds
_MAX_KID = 200  # characters

# Source: RFC 7518, section 3.1; RFC 9864 for Ed25519.
ALGORITHMS = {
    "ES256": ("EC", "P-256"), "ES384": ("EC", "P-384"), "ES512": ("EC", "P-521"),
    "RS256": ("RSA", ""), "RS384": ("RSA", ""), "RS512": ("RSA", ""),
    "PS256": ("RSA", ""), "PS384": ("RSA", ""), "PS512": ("RSA", ""),
    "Ed25519": ("OKP", "Ed25519"),
}  # fmt: skip
_PUBLIC = {"EC": ("crv", "x", "y"), "RSA": ("n", "e"), "OKP": ("crv", "x")}
_PRIVATE = frozenset({"d", "p", "q", "dp", "dq", "qi", "oth", "k"})
_CLASSES: dict[str, Any] = {"EC": ECKey, "RSA": RSAKey, "OKP": OKPKey}


class PublicKeys:
    """Keys of one issuer, ready to verify with."""

    def __init__(self, keys: Iterable[Jwk]) -> None:
        """Args: keys: as `read_jwks` returns them."""
        self._keys = [(key, _imported(key)) for key in keys]

    def find(self, kid: str | None, algorithm: str) -> Any | None:
        """The key for a token's header: by its `kid`, or the only one there is; of the algorithm's type, or None."""
        fitting = [
            found for key, found in self._keys if _fits(key, algorithm) and (kid is None or key.get("kid") == kid)
        ]
        return fitting[0] if len(fitting) == 1 else None


def checked_algorithms(names: Iterable[str]) -> tuple[str, ...]:
    """Raises: InputError (bad-algorithm)."""
    found = tuple(dict.fromkeys(names))
    for name in found:
        if name not in ALGORITHMS:
            raise InputError(
                f"{name[:20]!r} is no algorithm that issuers may use: choose of {', '.join(ALGORITHMS)}.",
                code="bad-algorithm",
            )
    if not found:
        raise InputError("Name the algorithms of its tokens: --alg ES256.", code="bad-algorithm")
    return found


def read_jwks(data: bytes, algorithms: Iterable[str]) -> tuple[Jwk, ...]:
    """The public keys that fit `algorithms`, with their public members only. Raises: InputError (bad-jwks)."""
    if len(data) > MAX_JWKS:
        raise _bad(f"it is over {MAX_JWKS} bytes")
    try:
        document = parse_json(data)
    except ValueError as error:
        raise _bad(f"it is no JSON ({error})") from error
    keys = document.get("keys") if isinstance(document, dict) else None
    if not isinstance(keys, list) or not all(isinstance(key, dict) for key in keys):
        raise _bad("it has no list 'keys' of objects")
    if len(keys) > MAX_KEYS:
        raise _bad(f"it has over {MAX_KEYS} keys")
    wanted = tuple(algorithms)
    read = [_public(key) for key in keys if key.get("use", "sig") == "sig"]
    found = [key for key in read if key is not None and any(_fits(key, name) for name in wanted)]
    names = [key.get("kid", "") for key in found]
    if len(set(names)) != len(names):
        raise _bad("two of its keys have the same 'kid', or none")
    if not found:
        raise _bad(f"it has no key for {', '.join(wanted)}")
    return tuple(found)


def _public(key: dict[str, Any]) -> Jwk | None:
    """One key's public members; None for a type that no algorithm here takes. Raises: InputError (bad-jwks)."""
    if _PRIVATE & key.keys():
        raise _bad("it holds a private key or a shared secret; whoever made it should make a new one")
    kind = key.get("kty")
    if kind not in _PUBLIC:
        return None
    members = ("kty", *_PUBLIC[kind], *(name for name in ("kid", "alg") if name in key))
    if not all(isinstance(key.get(name), str) and key[name].isascii() for name in members):
        raise _bad("a key lacks one of its members")
    found: Jwk = {name: key[name] for name in members}
    if len(found.get("kid", "")) > _MAX_KID:
        raise _bad(f"a 'kid' is over {_MAX_KID} characters")
    if (kind, found.get("crv", "")) not in ALGORITHMS.values():
        return None
    if kind == "RSA" and not (_RSA_BITS[0] <= _number(found["n"]).bit_length() <= _RSA_BITS[1]):
        raise _bad(f"an RSA key has not {_RSA_BITS[0]} to {_RSA_BITS[1]} bits")
    if kind == "RSA" and _number(found["n"]) % 2 == 0:
        raise _bad("an RSA key's modulus is even")
    _imported(found)
    return found


def _number(text: str) -> int:
    try:
        return int.from_bytes(base64.urlsafe_b64decode(text + "=" * (-len(text) % 4)))
    except ValueError:
        return 0


def _imported(key: Jwk) -> Any:
    try:
        return _CLASSES[key["kty"]].import_key({name: value for name, value in key.items() if name != "alg"})
    except (JoseError, ValueError, TypeError) as error:
        raise _bad("a key is broken") from error


def _fits(key: Jwk, algorithm: str) -> bool:
    kind, curve = ALGORITHMS[algorithm]
    return key["kty"] == kind and key.get("crv", "") == curve and key.get("alg", algorithm) == algorithm


def _bad(why: str) -> InputError:
    return InputError(f"The key set cannot be used: {why}.", code="bad-jwks")
