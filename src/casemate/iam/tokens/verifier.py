"""Who stands behind a signed token: of our own token endpoint, or of an issuer on the ledger.

What was verified is kept until it ends, so that a token costs a signature once. What is kept is only that this token
proves this credential: whether the credential counts is asked of the newest snapshot each time, so a revocation wins.
"""

from __future__ import annotations

import base64
import hashlib
import threading
from collections.abc import Callable
from datetime import datetime
from typing import Any, Protocol

import msgspec

from casemate.core import AuthError, Principal
from casemate.iam.access import Access
from casemate.iam.tokens.holders import holder_of
from casemate.iam.tokens.jose import (
    Parsed,
    bad_token,
    check_audience,
    check_times,
    parse_token,
    text_claim,
    verify_signature,
)
from casemate.iam.tokens.jwks import PublicKeys
from casemate.iam.tokens.patterns import check_subject, exactness, fits
from casemate.iam.tokens.records import Issuer, TokenBinding
from casemate.keys.token_keys import MAX_LIFE, TYPE

LEEWAY = 30.0  # s that an outside issuer's clock may differ from ours
MAX_OUTSIDE_LIFE = 86400.0  # s; a token that lives for longer is a password
KEPT = 10_000  # verified tokens; some 400 bytes each
_TYPES = frozenset({"", "jwt", "at+jwt"})  # of outside tokens: not those that mean something else (RFC 8725, 3.11)

Spend = Callable[[str, int], None]  # name, until (s since 1970); raises AuthError `token-replayed`


class OwnTokens(Protocol):
    """What is known of the tokens that we give out."""

    @property
    def issuer(self) -> str: ...
    @property
    def audience(self) -> str: ...
    @property
    def keys(self) -> PublicKeys:
        """The published keys; another object whenever they change."""
        ...


class _Kept(msgspec.Struct, frozen=True):
    credential: str
    until: float  # s since 1970
    proof: object  # the keys that it was verified with: once these are others, it is verified anew
    thumbprint: str  # of the client's certificate that must come with it


class TokenVerifier:
    """Args: own: None where our own tokens do not count. spend: uses up a CI token; None where none is taken."""

    def __init__(self, *, own: OwnTokens | None = None, spend: Spend | None = None, most: int = KEPT) -> None:
        self._own, self._spend, self._most = own, spend, most
        self._kept: dict[bytes, _Kept] = {}
        self._imported: dict[str, tuple[object, PublicKeys]] = {}  # by issuer: the record, and the keys made of it
        self._lock = threading.Lock()

    def __len__(self) -> int:
        return len(self._kept)

    def authenticate(self, access: Access, token: str, now: datetime, certificate: bytes = b"") -> Principal:
        """Who holds it. Args: certificate: of the client's connection, DER; empty where it showed none.

        Raises: AuthError: bad-token, expired-token, early-token, wrong-audience, bad-subject, unbound-token,
            token-replayed, exchange-first, wrong-certificate, revoked-credential, expired-credential.
        """
        now = access.instant(now)
        digest = hashlib.sha256(token.encode("utf-8", "surrogatepass")).digest()
        kept = self._kept.get(digest)
        if kept is None or now.timestamp() >= kept.until or kept.proof is not self._proof(access, kept):
            kept = self._verified(access, token, now)
            if kept.until:
                self._keep(digest, kept, now.timestamp())
        if kept.thumbprint and kept.thumbprint != thumbprint_of(certificate):
            raise AuthError(
                "This token is bound to a client certificate that this connection does not show.",
                code="wrong-certificate",
            )
        return holder_of(access, kept.credential, now)

    def _proof(self, access: Access, kept: _Kept) -> object:
        """The keys that a kept token must have been verified with."""
        credential = access.snapshot.credentials.get(kept.credential)
        if isinstance(kept.proof, PublicKeys):
            return self._own.keys if self._own is not None else None
        if isinstance(credential, TokenBinding):
            return access.snapshot.issuers[credential.issuer].keys
        return None

    def _keep(self, digest: bytes, kept: _Kept, now: float) -> None:
        with self._lock:
            if len(self._kept) >= self._most:
                for old in [name for name, one in self._kept.items() if now >= one.until]:
                    del self._kept[old]
            if len(self._kept) >= self._most:
                del self._kept[next(iter(self._kept))]
            self._kept[digest] = kept

    def _verified(self, access: Access, token: str, now: datetime) -> _Kept:
        parsed = parse_token(token)
        issuer = text_claim(parsed, "iss")
        if self._own is not None and issuer == self._own.issuer:
            return _own(access, parsed, self._own, now.timestamp())
        return self._outside(access, parsed, issuer, now)

    def _outside(self, access: Access, parsed: Parsed, name: str, now: datetime) -> _Kept:
        snapshot = access.snapshot
        known = [
            one
            for one in snapshot.issuers.values()
            if one.about.issuer == name and one.about.id not in snapshot.revoked
        ]
        if not known:
            raise bad_token("no issuer on record made it")
        for issuer in known[1:]:  # of several, the one for its audience
            if _is_for(parsed, issuer):
                known[0] = issuer
        issuer = known[0]
        if parsed.type not in _TYPES:
            raise bad_token("it is of another type than this needs")
        if parsed.algorithm not in issuer.about.algorithms:
            raise bad_token("its algorithm is not the issuer's")
        verify_signature(parsed, self._keys_of(issuer))
        check_audience(parsed, frozenset({issuer.about.audience}))
        until = check_times(parsed, now.timestamp(), leeway=LEEWAY, longest=MAX_OUTSIDE_LIFE)
        check_subject(issuer.about.kind, parsed.claims)
        binding = _binding(access, issuer, parsed, now)
        if issuer.about.kind.is_ci:
            holder_of(access, binding.id, now)  # what does not count uses nothing up
            self._use_up(issuer, parsed, until)
            until = 0.0  # counts once: never kept
        return _Kept(binding.id, until, issuer.keys, "")

    def _use_up(self, issuer: Issuer, parsed: Parsed, until: float) -> None:
        if self._spend is None:
            raise AuthError(
                "A CI job's token counts once: exchange it at /oauth/token for one that lasts minutes.",
                code="exchange-first",
            )
        self._spend(f"{issuer.about.id}\n{text_claim(parsed, 'jti')}", int(until) + 1)

    def _keys_of(self, issuer: Issuer) -> PublicKeys:
        made = self._imported.get(issuer.about.id)
        if made is None or made[0] is not issuer.keys:
            made = self._imported[issuer.about.id] = (issuer.keys, PublicKeys(issuer.keys.keys))
        return made[1]


def _own(access: Access, parsed: Parsed, own: OwnTokens, now: float) -> _Kept:
    keys = own.keys
    if parsed.type != TYPE:
        raise bad_token("it is of another type than this needs")
    verify_signature(parsed, keys)
    check_audience(parsed, frozenset({own.audience}))
    until = check_times(parsed, now, leeway=0.0, longest=MAX_LIFE)
    confirmation: Any = parsed.claims.get("cnf")
    thumbprint: Any = ""
    if confirmation is not None:
        thumbprint = confirmation.get("x5t#S256") if isinstance(confirmation, dict) else None
        if not isinstance(thumbprint, str) or not thumbprint:
            raise bad_token("it is bound to something that is not looked at here")
    got_with = access.snapshot.credentials.get(text_claim(parsed, "client_id"))
    if got_with is None or got_with.principal != parsed.claims.get("sub"):
        raise bad_token("what it was got with is not on record")
    return _Kept(got_with.id, until, keys, thumbprint)


def _is_for(parsed: Parsed, issuer: Issuer) -> bool:
    return parsed.claims.get("aud") in (issuer.about.audience, [issuer.about.audience])


def _binding(access: Access, issuer: Issuer, parsed: Parsed, now: datetime) -> TokenBinding:
    """The binding that its claims fit; of several that count the one that says most, and the newest of these.

    One that ended is found where no other is, so that its holder is told.
    """
    snapshot = access.snapshot
    fitting = [one for one in snapshot.bound.get(issuer.about.id, ()) if fits(one.claims, parsed.claims)]
    if not fitting:
        raise AuthError("Nobody is bound to what this token says: see casemate issuer bind.", code="unbound-token")
    live = [one for one in fitting if one.id not in snapshot.revoked and now < one.expires_at]
    return max(live or fitting, key=lambda one: (exactness(one.claims), one.created_at))


def thumbprint_of(certificate: bytes) -> str:
    """`x5t#S256` of a certificate in DER; empty for none. Source: RFC 8705, section 3.1."""
    if not certificate:
        return ""
    return base64.urlsafe_b64encode(hashlib.sha256(certificate).digest()).decode().rstrip("=")
