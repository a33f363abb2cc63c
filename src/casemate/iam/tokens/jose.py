"""One signed token, read strictly before anything in it is believed (RFC 7515, RFC 8725).

A header says which recorded key is meant and nothing else: a key, a link to one or a chain that a token brings along
(`jwk`, `jku`, `x5u`, `x5c`) is refused, and so is what would change how it must be read (`crit`, `b64`, `zip`).
"""

from __future__ import annotations

import base64
import re
from typing import Any

import msgspec
from joserfc import jws
from joserfc.errors import JoseError

from casemate.core import AuthError
from casemate.iam.tokens.jwks import ALGORITHMS, PublicKeys
from casemate.scanning.strict_json import parse_json

MAX_TOKEN = 8192  # characters; a Kubernetes token has 1,200, and the head of a request 16 KiB
_SHAPE = re.compile(r"([A-Za-z0-9_-]{2,2048})\.([A-Za-z0-9_-]{2,8192})\.([A-Za-z0-9_-]{2,2048})", re.ASCII)
_HEADERS = frozenset({"alg", "kid", "typ", "x5t", "x5t#S256"})  # the last two name a key, and are not looked at
_MAX_KID = 200  # characters
_LAST = 1 << 40  # s since 1970: beyond is no time


class Parsed(msgspec.Struct, frozen=True, kw_only=True):
    """A token as it came: nothing in it is proved."""

    token: str
    algorithm: str
    kid: str | None
    type: str
    claims: dict[str, Any]


def looks_signed(text: str) -> bool:
    """Whether it has the shape of a token and not of an API key."""
    return text.count(".") == 2


def parse_token(token: str) -> Parsed:
    """Raises: AuthError (bad-token)."""
    shape = _SHAPE.fullmatch(token) if len(token) <= MAX_TOKEN else None
    if shape is None:
        raise bad_token("it is no signed token, or too long")
    header, claims = _object(shape[1], "header"), _object(shape[2], "claims")
    if not header.keys() <= _HEADERS:
        raise bad_token("its header says more than an algorithm, a type and the name of a key")
    algorithm, kid, kind = header.get("alg"), header.get("kid"), header.get("typ", "")
    if not isinstance(algorithm, str) or algorithm not in ALGORITHMS:
        raise bad_token("its algorithm is not allowed")
    if kid is not None and not (isinstance(kid, str) and len(kid) <= _MAX_KID):
        raise bad_token("the name of its key is no text, or too long")
    if not isinstance(kind, str):
        raise bad_token("its type is no text")
    kind = kind.lower().removeprefix("application/")
    return Parsed(token=token, algorithm=algorithm, kid=kid, type=kind, claims=claims)


def verify_signature(parsed: Parsed, keys: PublicKeys) -> None:
    """Raises: AuthError (bad-token): no recorded key of the algorithm's type made it."""
    key = keys.find(parsed.kid, parsed.algorithm)
    if key is None:
        raise bad_token("no key on record is the one that it names")
    try:
        jws.deserialize_compact(parsed.token, key, algorithms=[parsed.algorithm])
    except (JoseError, ValueError) as error:
        raise bad_token("its signature does not fit") from error


def text_claim(parsed: Parsed, name: str, *, longest: int = 300) -> str:
    """A claim that must be a text. Raises: AuthError (bad-token)."""
    value = parsed.claims.get(name)
    if not isinstance(value, str) or not 0 < len(value) <= longest:
        raise bad_token(f"its claim '{name}' is missing, no text, or too long")
    return value


def time_claim(parsed: Parsed, name: str) -> float:
    """A claim that must be a time, in s since 1970. Raises: AuthError (bad-token)."""
    value = parsed.claims.get(name)
    if isinstance(value, bool) or not isinstance(value, int | float) or not 0 <= value < _LAST:  # NaN is not
        raise bad_token(f"its claim '{name}' is missing or no time")
    return float(value)


def check_times(parsed: Parsed, now: float, *, leeway: float, longest: float) -> float:
    """`iat`, `nbf` (where there is one) and `exp`. Args: seconds. Returns: when it ends, s since 1970.

    Raises: AuthError: bad-token, expired-token, early-token.
    """
    issued, ends = time_claim(parsed, "iat"), time_claim(parsed, "exp")
    begins = time_claim(parsed, "nbf") if "nbf" in parsed.claims else issued
    if ends - issued > longest:
        raise bad_token(f"it lives for more than {longest:.0f} seconds")
    if max(issued, begins) > now + leeway:
        raise AuthError("This token is not valid yet: is a clock wrong?", code="early-token")
    if now >= ends + leeway:
        raise AuthError("This token has expired: ask its issuer for a new one.", code="expired-token")
    return ends + leeway


def check_audience(parsed: Parsed, allowed: frozenset[str]) -> None:
    """For us, and for nobody else. Raises: AuthError (wrong-audience)."""
    audience = parsed.claims.get("aud")
    if isinstance(audience, list) and len(audience) == 1:
        audience = audience[0]
    if not isinstance(audience, str) or audience not in allowed:
        raise AuthError("This token is for another audience: ask its issuer for one for this.", code="wrong-audience")


def bad_token(why: str) -> AuthError:
    """Says what is wrong with the token, and nothing that stands in it."""
    return AuthError(f"This token does not count: {why}.", code="bad-token")


def _object(part: str, what: str) -> dict[str, Any]:
    try:
        value = parse_json(base64.urlsafe_b64decode(part + "=" * (-len(part) % 4)))
    except ValueError:
        raise bad_token(f"its {what} is no JSON with one meaning") from None
    if not isinstance(value, dict):
        raise bad_token(f"its {what} is no object")
    return value
