"""The token endpoint: a service proves itself, and gets an access token that counts for minutes.

Sources: RFC 6749 (sections 2.3, 4.4, 5), RFC 7523 (assertions), RFC 8414 (metadata), RFC 8705 (certificates).
"""

from __future__ import annotations

import asyncio
import base64
import binascii
import logging
from typing import Protocol
from urllib.parse import parse_qsl, unquote_plus

import msgspec
import orjson

from casemate.core import AuthError, CasemateError, Clock, Event, InputError, LimitError, Principal, new_id, rfc3339
from casemate.doors import Rate, Recorder, Refusal, network_of
from casemate.doors.problems import Headers, problem_of, status_of
from casemate.gateway.interface import RateOf
from casemate.gateway.limits import Limits
from casemate.gateway.requests import RawRequest

_LOG = logging.getLogger("casemate.gateway")

MAX_BODY = 16 << 10  # bytes: two tokens of 8 KiB less their framing
MAX_FIELDS = 16
RATE = Rate(per_second=5, burst=20)  # tokens of one credential: one lasts for minutes
CREDENTIALS, BEARER = "client_credentials", "urn:ietf:params:oauth:grant-type:jwt-bearer"
ASSERTION = "urn:ietf:params:oauth:client-assertion-type:jwt-bearer"
METHODS = (
    "client_secret_basic",
    "client_secret_post",
    "private_key_jwt",
    "tls_client_auth",
    "self_signed_tls_client_auth",
)
_JSON: Headers = [(b"content-type", b"application/json")]


class Client(msgspec.Struct, frozen=True, kw_only=True):
    """What a client shows, unchecked: one way to prove itself. Never printed: it holds secrets."""

    id: str = ""
    secret: str = ""
    assertion: str = ""  # signed by the client itself
    token: str = ""  # of an outside issuer
    certificate: bytes = b""  # DER, of the connection

    def __repr__(self) -> str:
        return f"Client(id={self.id[:40]!r})"


class Issued(msgspec.Struct, frozen=True, kw_only=True):
    """Args: life: seconds."""

    token: str
    id: str
    life: int
    scope: str

    def __repr__(self) -> str:
        return f"Issued(id={self.id!r})"


class TokenService(Protocol):
    """Who a client is, and a token for it. `identify` and `issue` may block."""

    @property
    def issuer(self) -> str: ...
    @property
    def jwks(self) -> bytes: ...
    def identify(self, client: Client) -> Principal:
        """Raises: AuthError; StorageError."""
        ...

    def issue(self, principal: Principal, client: Client, scope: str) -> Issued:
        """Raises: InputError `invalid-scope`; StorageError; PolicyError."""
        ...


class TokenEndpoint:
    """Answers `POST /oauth/token`, and says where it is."""

    def __init__(
        self, service: TokenService, *, limits: Limits, recorder: Recorder, rate_of: RateOf, clock: Clock
    ) -> None:
        self._service, self._limits, self._recorder = service, limits, recorder
        self._rate_of, self._clock = rate_of, clock

    def keys(self) -> bytes:
        """The public keys of our tokens (RFC 7517)."""
        return self._service.jwks

    def metadata(self) -> bytes:
        """Source: RFC 8414, section 2."""
        issuer = self._service.issuer
        return orjson.dumps(
            {
                "issuer": issuer,
                "token_endpoint": f"{issuer}/oauth/token",
                "jwks_uri": f"{issuer}/oauth/jwks.json",
                "grant_types_supported": [CREDENTIALS, BEARER],
                "response_types_supported": [],
                "token_endpoint_auth_methods_supported": METHODS,
                "token_endpoint_auth_signing_alg_values_supported": ["ES256", "ES384", "RS256", "PS256", "Ed25519"],
                "tls_client_certificate_bound_access_tokens": True,
            }
        )

    async def answer(self, raw: RawRequest, content_type: bytes) -> tuple[int, bytes, Headers, str]:
        """Status, body, headers and the receipt's id. Raises: nothing."""
        grant = CREDENTIALS
        try:
            with self._limits.hold() as held:
                form = _form(await raw.read_body(MAX_BODY, held), content_type)
                grant, client = _read(form, raw)
                return await self._granted(raw, grant, client, form.get("scope", ""))
        except Exception as error:  # noqa: BLE001 what goes wrong refuses
            return self._refused(raw, error, grant)

    async def _granted(
        self, raw: RawRequest, grant: str, client: Client, scope: str
    ) -> tuple[int, bytes, Headers, str]:
        loop = asyncio.get_running_loop()
        self._recorder.require_room()
        try:
            raw.principal = principal = await loop.run_in_executor(None, self._service.identify, client)
        except AuthError:
            self._limits.count_refusal(raw.address)
            raise
        key = f"{principal.credential}@token"
        self._limits.take_address(raw.address)
        raw.allowance = self._limits.take_key(key, self._rate_of(principal) or RATE)
        issued = await loop.run_in_executor(None, self._service.issue, principal, client, scope)
        event = self._event(raw, principal, grant, issued)
        self._recorder.put(event)
        answer = {
            "access_token": issued.token,
            "token_type": "Bearer",
            "expires_in": issued.life,
            "scope": issued.scope,
        }
        return 200, orjson.dumps(answer), _JSON, event.id

    def _event(self, raw: RawRequest, principal: Principal, grant: str, issued: Issued) -> Event:
        return Event(
            id=new_id("evt"),
            at=rfc3339(self._clock.now()),
            kind="decision",
            project=principal.project,
            actor=principal.id,
            credential=principal.credential,
            resource=f"{principal.project}/token:{issued.id}",
            outcome="allowed",
            facts={"grant_type": grant, "address": network_of(raw.address), "seconds": issued.life},
        )

    def _refused(self, raw: RawRequest, error: Exception, grant: str) -> tuple[int, bytes, Headers, str]:
        if not isinstance(error, CasemateError):
            _LOG.error("The token endpoint failed.", exc_info=error)
        principal = raw.principal
        named = str(error.details.get("credential", "")) if isinstance(error, AuthError) else ""
        refusal = Refusal(
            code=error.code if isinstance(error, CasemateError) else "internal",
            status=status_of(error),
            guard="token",
            actor=principal.id if principal else "",
            credential=principal.credential if principal else named,
            address=network_of(raw.address),
        )
        receipt = self._recorder.count_refusal(refusal)
        problem = problem_of(error, receipt=receipt)
        name = _error_of(error, grant)
        status = 400 if name == "invalid_grant" else problem.status
        told = orjson.loads(problem.body)
        body = orjson.dumps({**told, "status": status, "error": name, "error_description": told["detail"]})
        kept = [header for header in problem.headers if header[0] not in (b"content-type", b"www-authenticate")]
        if status == 401:
            kept.append((b"www-authenticate", b'Basic realm="casemate"'))
        return status, body, [*_JSON, *kept], receipt


def _error_of(error: Exception, grant: str) -> str:
    """Source: RFC 6749, section 5.2."""
    if isinstance(error, AuthError):
        return "invalid_grant" if grant == BEARER else "invalid_client"
    if isinstance(error, InputError):
        known = {"unsupported-grant-type": "unsupported_grant_type", "invalid-scope": "invalid_scope"}
        return known.get(error.code, "invalid_request")
    return "slow_down" if isinstance(error, LimitError) else "temporarily_unavailable"


def _form(body: bytes, content_type: bytes) -> dict[str, str]:
    """Raises: InputError `bad-form`: no form, or a field that stands twice."""
    if content_type.partition(b";")[0].strip().lower() != b"application/x-www-form-urlencoded":
        raise InputError("Send a form: Content-Type: application/x-www-form-urlencoded.", code="bad-form")
    try:
        text = body.decode("ascii")
        fields = parse_qsl(
            text, keep_blank_values=True, strict_parsing=True, max_num_fields=MAX_FIELDS, errors="strict"
        )
    except ValueError as error:
        raise InputError("The form cannot be read: send NAME=VALUE, joined by '&'.", code="bad-form") from error
    form = dict(fields)
    if len(form) != len(fields):
        raise InputError("A field stands twice in the form.", code="bad-form")
    return form


def _read(form: dict[str, str], raw: RawRequest) -> tuple[str, Client]:
    """The grant, and the one way in which the client proves itself.

    Raises: InputError: bad-form, unsupported-grant-type; AuthError `no-credential`.
    """
    grant = form.get("grant_type", "")
    if grant not in (CREDENTIALS, BEARER):
        raise InputError(f"grant_type must be {CREDENTIALS} or {BEARER}.", code="unsupported-grant-type")
    shown = {
        "header": bool(raw.authorization),
        "secret": "client_secret" in form,
        "assertion": "client_assertion" in form,
        "token": "assertion" in form,
    }
    if sum(shown.values()) > 1:
        raise InputError("Prove yourself in one way, not in two.", code="bad-form")
    if shown["token"] is not (grant == BEARER):
        raise InputError(f"An assertion comes with the grant_type {BEARER}, and with no other.", code="bad-form")
    named = form.get("client_id", "")
    if shown["token"]:
        return grant, Client(token=form["assertion"], certificate=raw.certificate)
    if shown["header"]:
        client_id, secret = _basic(raw.authorization)
        if named not in ("", client_id):
            raise InputError("The form names another client than the header.", code="bad-form")
        return grant, Client(id=client_id, secret=secret, certificate=raw.certificate)
    if shown["assertion"]:
        if form.get("client_assertion_type") != ASSERTION:
            raise InputError(f"client_assertion_type must be {ASSERTION}.", code="bad-form")
        return grant, Client(id=named, assertion=form["client_assertion"], certificate=raw.certificate)
    if not named or not (shown["secret"] or raw.certificate):
        raise AuthError(
            "Nothing proves this client: send its id and its key, an assertion, or a client certificate.",
            code="no-credential",
        )
    return grant, Client(id=named, secret=form.get("client_secret", ""), certificate=raw.certificate)


def _basic(header: str) -> tuple[str, str]:
    """Client id and secret, each form-encoded. Source: RFC 6749, section 2.3.1. Raises: AuthError `no-credential`."""
    scheme, _, encoded = header.partition(" ")
    try:
        text = base64.b64decode(encoded.strip(), validate=True).decode() if scheme.lower() == "basic" else ""
    except (binascii.Error, UnicodeDecodeError):
        text = ""
    client_id, colon, secret = text.partition(":")
    if not colon:
        raise AuthError("The Authorization header must be 'Basic' with client id and key.", code="no-credential")
    return unquote_plus(client_id), unquote_plus(secret)
