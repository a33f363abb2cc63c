"""What a provider says of a person, checked before any of it is believed.

Sources: OpenID Connect Core 1.0, sections 3.1.3.7 and 5.3.2; RFC 8176 (`amr`); RFC 8725; RFC 9207 (`iss` of the answer).
"""

from __future__ import annotations

from datetime import UTC, datetime, timedelta
from typing import Any

import msgspec
from authlib.oidc.core import CodeIDToken
from joserfc.errors import JoseError

from casemate.core import AuthError
from casemate.iam.providers.records import ProviderAdded
from casemate.iam.tokens.jose import Parsed, check_times, parse_token, text_claim, time_claim, verify_signature
from casemate.iam.tokens.jwks import PublicKeys

LEEWAY = 60.0  # s that two clocks may differ
LONGEST = 86400.0  # s that an ID token may live; providers give out minutes to an hour
MAX_GROUPS = 1000


class Vouched(msgspec.Struct, frozen=True, kw_only=True):
    """Whom the provider vouches for. Args: authenticated_at: None: it does not say."""

    subject: str
    claims: dict[str, Any]
    second_factor: bool
    methods: tuple[str, ...]
    authenticated_at: datetime | None


def parse_id_token(provider: ProviderAdded, token: str) -> Parsed:
    """Read strictly; nothing in it is proved. Raises: AuthError `bad-token`."""
    parsed = parse_token(token)
    if parsed.algorithm not in provider.algorithms:
        raise _refused("its ID token has an algorithm that was not agreed on")
    return parsed


def check_id_token(
    provider: ProviderAdded, parsed: Parsed, keys: PublicKeys, *, nonce: str, access_token: str, now: datetime
) -> Vouched:
    """Whom the ID token speaks of. Raises: AuthError: bad-token, expired-token, early-token, provider-refused."""
    verify_signature(parsed, keys)
    check_times(parsed, now.timestamp(), leeway=LEEWAY, longest=LONGEST)
    wanted = {
        "iss": {"essential": True, "value": provider.issuer},
        "aud": {"essential": True, "value": provider.client_id},
    }
    said = CodeIDToken(
        parsed.claims,
        {"alg": parsed.algorithm},
        options=wanted,
        params={"nonce": nonce, "client_id": provider.client_id, "access_token": access_token},
    )
    try:
        said.validate(now=int(now.timestamp()), leeway=int(LEEWAY))
    except (JoseError, ValueError, TypeError) as error:
        raise _refused(f"its ID token is not for this sign-in ({_claim(error)})") from error
    if parsed.claims["iss"] != provider.issuer or parsed.claims.get("nonce") != nonce:
        raise _refused("its ID token is not for this sign-in (iss or nonce)")
    subject = text_claim(parsed, "sub", longest=255)
    if not (subject.isascii() and subject.isprintable()):
        raise _refused("the subject of its ID token is no ASCII")
    at = _instant(time_claim(parsed, "auth_time")) if "auth_time" in parsed.claims else None
    return Vouched(
        subject=subject,
        claims=parsed.claims,
        second_factor=has_second_factor(provider, parsed.claims),
        methods=tuple(one for one in _texts(parsed.claims.get("amr")) if one.isalnum() and len(one) <= 20)[:8],
        authenticated_at=at,
    )


def has_second_factor(provider: ProviderAdded, claims: dict[str, Any]) -> bool:
    """Whether the provider says, in the agreed words, that a second factor was given; silence is a no."""
    if not provider.acr and not provider.amr:
        return False
    acr = not provider.acr or claims.get("acr") in provider.acr
    return acr and (not provider.amr or bool(set(provider.amr) & set(_texts(claims.get("amr")))))


def check_userinfo(vouched: Vouched, answer: Any) -> dict[str, Any]:
    """The claims of a UserInfo answer. Raises: AuthError: it speaks of somebody else."""
    if not isinstance(answer, dict) or answer.get("sub") != vouched.subject:
        raise _refused("its user info speaks of somebody else than its ID token")
    return answer


def groups_in(provider: ProviderAdded, claims: dict[str, Any]) -> frozenset[str]:
    """The groups that a set of claims names; of a claim of another shape, none."""
    found = claims.get(provider.groups_claim)
    return frozenset(_texts([found] if isinstance(found, str) else found)[:MAX_GROUPS])


def fresh_since(vouched: Vouched, started: datetime) -> bool:
    """Whether the person authenticated after `started`, by the provider's clock."""
    at = vouched.authenticated_at
    return at is not None and at >= started - timedelta(seconds=LEEWAY)


def _texts(value: Any) -> list[str]:
    return [one for one in value if isinstance(one, str)] if isinstance(value, list) else []


def _instant(seconds: float) -> datetime:
    return datetime.fromtimestamp(seconds, UTC)


def _claim(error: Exception) -> str:
    name = getattr(error, "claim", None) or getattr(error, "claim_name", "")
    return str(name)[:20] or type(error).__name__


def _refused(why: str) -> AuthError:
    return refused(f"The provider's answer does not count: {why}. Sign in again from the start.")


def refused(message: str, code: str = "provider-refused") -> AuthError:
    return AuthError(message, code=code)
