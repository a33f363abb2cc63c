"""Access tokens at a gateway: the keeper signs them, the ledger says for whom, and anybody may read the public keys."""

from __future__ import annotations

import asyncio
import logging
from collections.abc import Callable

import msgspec

from casemate.app.ground import TokensPort
from casemate.core import CasemateError, Clock, InputError, Principal, canonical, new_id
from casemate.gateway import Client, Issued
from casemate.iam import Access, Authorizer
from casemate.iam.tokens.certificates import certificate_holder
from casemate.iam.tokens.clients import assertion_holder, secret_holder
from casemate.iam.tokens.jwks import PublicKeys, read_jwks
from casemate.iam.tokens.verifier import TokenVerifier, thumbprint_of
from casemate.keys import AccessClaims, Confirmation
from casemate.keys.token_keys import ALGORITHM, MAX_LIFE

_LOOK = 10.0  # s between two looks at the public keys; the keeper publishes one an hour before it signs

_log = logging.getLogger("casemate.gateway")


class GatewayTokens:
    """Args: issuer: our own address, https://HOST. audience: whom our tokens are for."""

    def __init__(
        self, *, access: Access, keeper: TokensPort, issuer: Callable[[], str], audience: str, clock: Clock
    ) -> None:
        self._access, self._keeper, self._issuer, self._clock = access, keeper, issuer, clock
        self.audience = audience
        self._assertions = TokenVerifier(spend=keeper.spend)
        self._jwks = b""
        self._keys = PublicKeys(())
        self.refresh()
        self.authorizer: Authorizer | None = None  # asked whether anybody may be let in at all

    @property
    def issuer(self) -> str:
        return self._issuer()

    @property
    def keys(self) -> PublicKeys:
        return self._keys

    @property
    def jwks(self) -> bytes:
        return self._jwks

    def refresh(self) -> None:
        """Read the public keys. Raises: StorageError: the keeper did not answer, and the last ones stand."""
        found = canonical(self._keeper.jwks())
        if found != self._jwks:
            self._keys, self._jwks = PublicKeys(read_jwks(found, [ALGORITHM])), found

    async def follow(self) -> None:
        """Refresh again and again; a trouble is logged once."""
        told = ""
        while True:
            await asyncio.sleep(_LOOK)
            try:
                await asyncio.to_thread(self.refresh)
                told = ""
            except CasemateError as error:
                if told != error.code:
                    _log.error("the keys of access tokens cannot be read: %s (%s)", error.message, error.code)
                told = error.code

    def identify(self, client: Client) -> Principal:
        """Who the client is. Raises: AuthError; StorageError: access-stale, access-unreadable."""
        if self.authorizer is not None:
            self.authorizer.check_readable()
        now = self._clock.now()
        if client.token:
            return self._assertions.authenticate(self._access, client.token, now, client.certificate)
        if client.assertion:
            audiences = frozenset({self.issuer, f"{self.issuer}/oauth/token"})
            return assertion_holder(
                self._access,
                client.assertion,
                now,
                client_id=client.id,
                audiences=audiences,
                spend=self._keeper.spend,
            )
        if client.secret:
            return secret_holder(self._access, client.id, client.secret, now)
        return certificate_holder(self._access, client.id, client.certificate, now)

    def issue(self, principal: Principal, client: Client, scope: str) -> Issued:
        """A token that counts for five minutes, and never for longer than what proved its holder."""
        credential = self._access.snapshot.credentials[principal.credential]
        if scope not in ("", credential.scope):
            raise InputError(f"This client's scope is {credential.scope}: leave 'scope' out.", code="invalid-scope")
        now = self._clock.now().timestamp()
        life = max(1, min(MAX_LIFE, int(credential.expires_at.timestamp() - now)))
        thumbprint = thumbprint_of(client.certificate)
        claims = AccessClaims(
            iss=self.issuer,
            sub=principal.id,
            aud=self.audience,
            iat=int(now),
            exp=int(now) + life,
            jti=new_id("tok"),
            client_id=principal.credential,
            scope=credential.scope,
            cnf=Confirmation(thumbprint=thumbprint) if thumbprint else None,
        )
        token = self._keeper.issue(msgspec.json.encode(claims))
        return Issued(token=token, id=claims.jti, life=life, scope=credential.scope)
