"""Who asks the token endpoint for an access token: by an API key, a signed assertion, a certificate or a token.

Each proves a credential on the ledger, and what is given out counts for no longer than that credential.
"""

from __future__ import annotations

from datetime import datetime

from casemate.core import AuthError, Principal
from casemate.iam.access import Access
from casemate.iam.credentials import authenticate
from casemate.iam.tokens.holders import holder_of
from casemate.iam.tokens.jose import check_audience, check_times, parse_token, text_claim, verify_signature
from casemate.iam.tokens.jwks import PublicKeys
from casemate.iam.tokens.records import ClientKeyBinding
from casemate.iam.tokens.verifier import LEEWAY, Spend

MAX_ASSERTION = 600.0  # s that an assertion may live; it counts once


def secret_holder(access: Access, client_id: str, secret: str, now: datetime) -> Principal:
    """`client_secret_basic` and `client_secret_post`: the key's id, and the key. Raises: AuthError, as for the key."""
    holder = authenticate(access, secret, now)
    if holder.credential != client_id:
        raise AuthError("The client id is not this key's: see casemate key list.", code="bad-client")
    return holder


def assertion_holder(
    access: Access, assertion: str, now: datetime, *, client_id: str, audiences: frozenset[str], spend: Spend
) -> Principal:
    """`private_key_jwt`: signed by the client's own key, for us, once. Source: RFC 7523, section 3.

    Args: client_id: as stated beside it; empty where it was not. audiences: our issuer and our token endpoint.
    Raises: AuthError: bad-client, bad-token, expired-token, early-token, wrong-audience, token-replayed,
        revoked-credential, expired-credential.
    """
    now = access.instant(now)
    parsed = parse_token(assertion)
    named = text_claim(parsed, "iss")
    binding = access.snapshot.credentials.get(named)
    if not isinstance(binding, ClientKeyBinding) or parsed.claims.get("sub") != named or client_id not in ("", named):
        raise AuthError(
            "This assertion names no client that signs its own: see casemate issuer list.", code="bad-client"
        )
    verify_signature(parsed, PublicKeys(binding.keys))
    check_audience(parsed, audiences)
    until = check_times(parsed, now.timestamp(), leeway=LEEWAY, longest=MAX_ASSERTION)
    holder = holder_of(access, named, now)
    spend(f"{named}\n{text_claim(parsed, 'jti')}", int(until) + 1)
    return holder
