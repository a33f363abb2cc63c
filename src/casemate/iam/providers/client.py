"""What is asked of a provider over the network: its discovery document, its keys, tokens for a code, and user info.

The network is a parameter. What comes back is bounded there, and read strictly here. Sources: OpenID Connect Discovery 1.0,
section 4.3; RFC 6749, section 2.3.1; RFC 7523, section 2.2.
"""

from __future__ import annotations

import base64
import secrets
import threading
from collections.abc import Callable
from datetime import datetime, timedelta
from typing import Any, Protocol
from urllib.parse import quote, urlencode

import msgspec
from joserfc import jwt
from joserfc.errors import JoseError
from joserfc.jwk import ECKey, RSAKey

from casemate.core import AuthError, CasemateError, Clock, InputError, Secret, StorageError, UpstreamError
from casemate.iam.providers.records import ClientAuth, ProviderAdded
from casemate.iam.tokens.issuers import checked_url
from casemate.iam.tokens.jose import Parsed
from casemate.iam.tokens.jwks import PublicKeys, read_jwks
from casemate.scanning.strict_json import parse_json

KEPT = timedelta(hours=1)  # a discovery document and keys
AGAIN = timedelta(seconds=30)  # between two looks for a key that is not there, or at a provider that failed


class Ask(Protocol):
    """One https request. Returns: status and body, bounded. Raises: UpstreamError."""

    def __call__(self, url: str, *, ca: str, headers: dict[str, str], body: bytes | None) -> tuple[int, bytes]: ...


class Discovered(msgspec.Struct, frozen=True, kw_only=True):
    """Args: names_itself: it puts `iss` into its answers (RFC 9207)."""

    authorization_endpoint: str
    token_endpoint: str
    jwks_uri: str
    userinfo_endpoint: str
    names_itself: bool


class Tokens(msgspec.Struct, frozen=True, kw_only=True):
    id_token: str
    access_token: str

    def __repr__(self) -> str:
        return "Tokens()"


class ProviderClient:
    """For use from many threads. Args: secret_of: what a provider's reference names."""

    def __init__(self, *, ask: Ask, secret_of: Callable[[str], Secret], clock: Clock) -> None:
        self._ask, self._secret_of, self._clock = ask, secret_of, clock
        self._lock, self._locks = threading.Lock(), dict[str, threading.Lock]()
        self._found: dict[str, tuple[datetime, Discovered]] = {}
        self._keys: dict[str, tuple[datetime, PublicKeys]] = {}
        self._failed: dict[str, tuple[datetime, CasemateError]] = {}

    def discover(self, provider: ProviderAdded) -> Discovered:
        """Raises: UpstreamError `provider-unreachable`, `bad-discovery`; a failure is told again for 30 s."""
        with self._one(provider):  # many who come at once ask the provider once
            now = self._clock.now()
            kept = self._found.get(provider.id)
            if kept and now - kept[0] < KEPT:
                return kept[1]
            failed = self._failed.get(provider.id)
            if failed and now - failed[0] < AGAIN:
                raise failed[1]
            try:
                found = self._discover(provider)
            except CasemateError as error:
                self._failed[provider.id] = (now, error)
                raise
            self._found[provider.id] = (now, found)
            return found

    def _one(self, provider: ProviderAdded) -> threading.Lock:
        with self._lock:
            return self._locks.setdefault(provider.id, threading.Lock())

    def _discover(self, provider: ProviderAdded) -> Discovered:
        document = self._json(provider, f"{provider.issuer.rstrip('/')}/.well-known/openid-configuration")
        if document.get("issuer") != provider.issuer:
            raise _bad_discovery("it names another issuer")
        methods = document.get("code_challenge_methods_supported")
        if isinstance(methods, list) and "S256" not in methods:
            raise _bad_discovery("it does not speak PKCE with S256")
        return Discovered(
            authorization_endpoint=_endpoint(document, "authorization_endpoint"),
            token_endpoint=_endpoint(document, "token_endpoint"),
            jwks_uri=_endpoint(document, "jwks_uri"),
            userinfo_endpoint=_endpoint(document, "userinfo_endpoint") if "userinfo_endpoint" in document else "",
            names_itself=document.get("authorization_response_iss_parameter_supported") is True,
        )

    def keys_for(self, provider: ProviderAdded, parsed: Parsed) -> PublicKeys:
        """Keys that hold the one a token names; read anew where they do not, but every 30 s at most."""
        place = self.discover(provider).jwks_uri
        with self._one(provider):  # many who come at once ask the provider once
            now = self._clock.now()
            kept = self._keys.get(provider.id)
            fits = kept is not None and kept[1].find(parsed.kid, parsed.algorithm) is not None
            if kept is None or now - kept[0] >= (KEPT if fits else AGAIN):
                try:
                    keys = PublicKeys(read_jwks(self._bytes(provider, place), provider.algorithms))
                except InputError as error:
                    raise UpstreamError(
                        f"The provider's keys cannot be used: {error.message}", code="bad-jwks"
                    ) from error
                kept = self._keys[provider.id] = (now, keys)
            return kept[1]

    def redeem(self, provider: ProviderAdded, code: str, *, verifier: str, redirect_uri: str) -> Tokens:
        """Tokens for a code. Raises: AuthError `provider-refused`; UpstreamError; StorageError, InputError: the secret."""
        endpoint = self.discover(provider).token_endpoint
        form = {
            "grant_type": "authorization_code",
            "code": code,
            "redirect_uri": redirect_uri,
            "code_verifier": verifier,
        }
        headers = {"Content-Type": "application/x-www-form-urlencoded", "Accept": "application/json"}
        secret = self._secret_of(provider.secret).reveal()
        if provider.client_auth is ClientAuth.BASIC:
            pair = f"{quote(provider.client_id, safe='')}:{quote(secret, safe='')}"
            headers["Authorization"] = "Basic " + base64.b64encode(pair.encode()).decode()
        else:
            form |= {
                "client_id": provider.client_id,
                "client_assertion_type": "urn:ietf:params:oauth:client-assertion-type:jwt-bearer",
                "client_assertion": self._assertion(provider, secret),
            }
        status, body = self._ask(endpoint, ca=provider.ca, headers=headers, body=urlencode(form).encode())
        if status in (400, 401):
            raise AuthError(
                "The provider did not take the code of this sign-in: it was used, has expired, or the client's secret is wrong.",
                code="provider-refused",
            )
        answer = _object(status, body)
        id_token, access_token = answer.get("id_token"), answer.get("access_token")
        if not (isinstance(id_token, str) and isinstance(access_token, str) and access_token.isascii()):
            raise UpstreamError("The provider's answer holds no ID token.", code="bad-answer")
        if str(answer.get("token_type", "")).lower() != "bearer":
            raise UpstreamError("The provider's access token is of an unknown type.", code="bad-answer")
        return Tokens(id_token=id_token, access_token=access_token)

    def userinfo(self, provider: ProviderAdded, access_token: str) -> Any:
        """What it says of the person; None where it has no such endpoint."""
        endpoint = self.discover(provider).userinfo_endpoint
        return self._json(provider, endpoint, {"Authorization": f"Bearer {access_token}"}) if endpoint else None

    def _assertion(self, provider: ProviderAdded, pem: str) -> str:
        now = int(self._clock.now().timestamp())
        claims = {"iss": provider.client_id, "sub": provider.client_id, "aud": provider.issuer}
        claims |= {"iat": now, "exp": now + 60, "jti": secrets.token_urlsafe(16)}  # type: ignore[dict-item]
        for kind, algorithm in ((ECKey, "ES256"), (RSAKey, "RS256")):
            try:
                return jwt.encode({"alg": algorithm}, claims, kind.import_key(pem), algorithms=[algorithm])
            except (JoseError, ValueError, TypeError):
                continue
        raise StorageError("The client's private key is no PEM of a P-256 or RSA key.", code="secret-missing")

    def _json(self, provider: ProviderAdded, url: str, more: dict[str, str] | None = None) -> dict[str, Any]:
        return _object(200, self._bytes(provider, url, more))

    def _bytes(self, provider: ProviderAdded, url: str, more: dict[str, str] | None = None) -> bytes:
        headers = {"Accept": "application/json", **(more or {})}
        status, body = self._ask(url, ca=provider.ca, headers=headers, body=None)
        if status != 200:
            raise UpstreamError(f"The provider answered {status}; redirects are not followed.", code="bad-answer")
        return body


def _object(status: int, body: bytes) -> dict[str, Any]:
    if status != 200:
        raise UpstreamError(f"The provider answered {status}: try again.", code="bad-answer")
    try:
        value = parse_json(body)
    except ValueError as error:
        raise UpstreamError("The provider's answer is no JSON with one meaning.", code="bad-answer") from error
    if not isinstance(value, dict):
        raise UpstreamError("The provider's answer is no object.", code="bad-answer")
    return value


def _endpoint(document: dict[str, Any], name: str) -> str:
    value = document.get(name)
    if not isinstance(value, str):
        raise _bad_discovery(f"it has no {name}")
    try:
        return checked_url(value, what=name, code="bad-discovery")
    except InputError as error:
        raise _bad_discovery(f"its {name} is no plain https address") from error


def _bad_discovery(why: str) -> UpstreamError:
    return UpstreamError(f"The provider's discovery document cannot be used: {why}.", code="bad-discovery")
