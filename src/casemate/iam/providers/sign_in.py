"""Signing in through an outside provider: authorization code with PKCE, bound to the browser or command that began it.

    begin -> the provider -> finish -> a session, or a ticket: for a command line, or until a second factor is given

Each step counts once. Sources: OpenID Connect Core 1.0; RFC 7636; RFC 8252; RFC 9207; RFC 9470; RFC 9700, section 2.1.
"""

from __future__ import annotations

import base64
import hmac
import re
import threading
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from datetime import datetime, timedelta
from urllib.parse import urlencode

import msgspec
from authlib.oauth2.rfc7636 import create_s256_code_challenge

from casemate.core import AuthError, LimitError, Principal
from casemate.iam.authorizer import FRESH
from casemate.iam.bearer import hash_of
from casemate.iam.command_sign_in import BROWSER_SECRET, TICKET_LIFE, CommandLine
from casemate.iam.person import Person
from casemate.iam.providers.administration import find_provider, groups_of, live_providers
from casemate.iam.providers.arrival import arrive, no_role
from casemate.iam.providers.claims import (
    Vouched,
    check_id_token,
    check_userinfo,
    fresh_since,
    groups_in,
    parse_id_token,
    refused,
)
from casemate.iam.providers.client import ProviderClient
from casemate.iam.providers.records import ProviderAdded
from casemate.iam.sessions import StartedSession, Visitor
from casemate.iam.sign_in import SignedIn, SignIn

FLOW_LIFE = timedelta(minutes=10)  # from the click to the way back; people look for their phones
AT_ONCE = 4  # sign-ins that wait for providers
_CODE = re.compile(r"[!-~]{1,2048}", re.ASCII)


class ProviderFlow(msgspec.Struct, frozen=True, kw_only=True):
    """A sign-in that has begun. Args: browser: hash of the cookie. session: that the browser had, of `principal`; it is
    renewed, or ends when a new one begins."""

    provider: str
    nonce: str
    verifier: str
    browser: str
    started_at: datetime
    principal: str = ""
    session: str = ""
    renews: bool = False
    command: CommandLine | None = None


class ProviderTicket(msgspec.Struct, frozen=True, kw_only=True):
    """Somebody for whom a provider vouched. Args: bound: hash of the cookie, or the command's challenge. replaces: the
    session that the browser had, and whose; it ends when this one begins."""

    provider: str
    principal: str
    brought: tuple[str, ...]
    methods: tuple[str, ...]
    verified_at: datetime | None  # None: a second factor of our own is wanted
    bound: str
    replaces: tuple[str, str] | None = None


class Begun(msgspec.Struct, frozen=True, kw_only=True):
    """Args: url: where to send the browser. browser: secret for its cookie."""

    url: str
    browser: str


class Finished(msgspec.Struct, frozen=True, kw_only=True):
    """One of three. Args: ticket: where something is still wanted. command: who fetches it. name: the person's."""

    signed_in: SignedIn | None = None
    renewed: StartedSession | None = None
    ticket: str = ""
    command: CommandLine | None = None
    name: str = ""


class ProviderSignIn:
    """For use from many threads. Args: public_url: where people reach the control plane; never from a request."""

    def __init__(self, sign_in: SignIn, client: ProviderClient, *, public_url: str) -> None:
        self._in, self._client, self._url = sign_in, client, public_url.rstrip("/")
        self._places = threading.BoundedSemaphore(AT_ONCE)

    def redirect_uri(self, provider: ProviderAdded) -> str:
        """One for each provider, so that no answer of one is taken for another's (RFC 9700, section 4.4)."""
        return f"{self._url}/api/v1/session/provider/{provider.name}/callback"

    def public(self) -> list[dict[str, str]]:
        """What the sign-in page shows to anybody."""
        return [{"name": one.name, "display": one.display} for one in live_providers(self._in.access)]

    def begin(
        self,
        name: str,
        *,
        command: CommandLine | None = None,
        renewing: Principal | None = None,
        had: Principal | None = None,
    ) -> Begun:
        """Args: renewing: whose session wants a fresh second factor. had: whose session the browser has, which a new one
        ends: it sends that cookie now, and not when another site sends it back.

        Raises: NotFoundError, UpstreamError, LimitError.
        """
        provider = find_provider(self._in.access, name)
        if command is not None:
            command.check()
        with self._place():
            found = self._client.discover(provider)
        state, nonce, verifier, browser = (self._secret() for _ in range(4))
        now, session = self._in.now(), renewing or had
        flow = ProviderFlow(
            provider=provider.id,
            nonce=nonce,
            verifier=verifier,
            browser=_hash(browser),
            started_at=now,
            principal=session.id if session else "",
            session=session.credential if session else "",
            renews=renewing is not None,
            command=command,
        )
        self._in.rows.put(_row("flow", state), flow, ends_at=now + FLOW_LIFE)
        query = {
            "response_type": "code",
            "client_id": provider.client_id,
            "redirect_uri": self.redirect_uri(provider),
            "scope": " ".join(provider.scopes),
            "state": state,
            "nonce": nonce,
            "code_challenge": create_s256_code_challenge(verifier),
            "code_challenge_method": "S256",
            **({"acr_values": " ".join(provider.acr)} if provider.acr else {}),
            **({"max_age": "0", "prompt": "login"} if renewing else {"max_age": "43200"}),
        }
        return Begun(url=f"{found.authorization_endpoint}?{urlencode(query)}", browser=browser)

    def finish(self, name: str, query: Mapping[str, str], browser: str, visitor: Visitor) -> Finished:
        """What the provider's answer makes. Raises: AuthError, on record by the door; UpstreamError; LimitError."""
        flow = self._taken(query.get("state", ""), browser)
        provider = find_provider(self._in.access, name)
        if flow.provider != provider.id:
            raise _not_begun()
        with self._place():
            vouched, brought = self._vouched(provider, flow, query)
        person = arrive(self._in, provider, vouched, has_role=bool(brought))
        if flow.renews:
            return Finished(renewed=self._renew(flow, person, vouched))
        if not brought and not self._has_own_role(person):
            raise no_role(provider)
        if not vouched.second_factor and person.totp is None:
            self._in.record(person, visitor, self._in.now(), "refused", "no-second-factor", provider=provider.id)
            raise refused(
                f"{provider.display} did not say that you gave a second factor, and you have none here: set one up there, "
                "and sign in again.",
                "no-second-factor",
            )
        ticket = ProviderTicket(
            provider=provider.id,
            principal=person.id,
            brought=brought,
            methods=("fed", *(one for one in vouched.methods if one != "fed")),
            verified_at=self._verified_at(vouched) if vouched.second_factor else None,
            bound=flow.command.challenge if flow.command else flow.browser,
            replaces=(flow.principal, flow.session) if flow.session else None,
        )
        if flow.command is None and vouched.second_factor:
            return Finished(signed_in=self._let_in(ticket, person, visitor, ticket.methods))
        secret = self._secret()
        self._in.rows.put(_row("ticket", secret), ticket, ends_at=self._in.now() + TICKET_LIFE)
        return Finished(ticket=secret, command=flow.command, name=person.name)

    def redeem(self, ticket: str, proof: str, code: str, visitor: Visitor, *, by_command: bool) -> SignedIn:
        """The session of a ticket. Args: proof: the cookie, or the command's verifier. code: of the second factor.

        Raises: AuthError: bad-ticket; second-factor-wanted: the ticket is still good; bad-code. LimitError.
        """
        readable = BROWSER_SECRET.fullmatch(ticket) and BROWSER_SECRET.fullmatch(proof)
        row, now = _row("ticket", ticket) if readable else "", self._in.now()
        found = self._in.rows.find(row, ProviderTicket, now=now) if readable else None
        shown = "" if found is None else create_s256_code_challenge(proof) if by_command else _hash(proof)
        if found is None or not hmac.compare_digest(shown, found.bound):
            raise refused("This sign-in is over, or began elsewhere: sign in again from the start.", "bad-ticket")
        find_provider(self._in.access, found.provider)
        person = self._in.access.snapshot.people[found.principal]
        if person.id in self._in.access.snapshot.revoked or not person.is_active:
            raise refused("The person has ended here: ask an owner.", "person-ended")
        methods, verified = found.methods, found.verified_at
        if verified is None:
            if not code:
                raise refused("A code of your second factor is wanted as well.", "second-factor-wanted")
            methods = (*methods, self._in.prove(person, code, visitor, account=f"provider {person.id}"))
            verified = self._in.now()
        if not self._in.rows.remove(row):
            raise refused("This sign-in is over: sign in again from the start.", "bad-ticket")
        return self._let_in(msgspec.structs.replace(found, verified_at=verified), person, visitor, methods)

    def _vouched(
        self, provider: ProviderAdded, flow: ProviderFlow, query: Mapping[str, str]
    ) -> tuple[Vouched, tuple[str, ...]]:
        """Whom the provider vouches for, and which mappings of their groups count."""
        names_itself = self._client.discover(provider).names_itself
        if ("iss" in query or names_itself) and query.get("iss") != provider.issuer:
            raise refused("The answer is of another provider than the one that was asked: sign in again.")
        if "error" in query:
            raise refused(f"{provider.display} did not sign you in ({_printable(query['error'])}): try again there.")
        code = query.get("code", "")
        if not _CODE.fullmatch(code):
            raise refused("The provider's answer holds no code: sign in again from the start.")
        tokens = self._client.redeem(provider, code, verifier=flow.verifier, redirect_uri=self.redirect_uri(provider))
        parsed = parse_id_token(provider, tokens.id_token)
        keys = self._client.keys_for(provider, parsed)
        now = self._in.now()
        vouched = check_id_token(provider, parsed, keys, nonce=flow.nonce, access_token=tokens.access_token, now=now)
        groups = groups_in(provider, vouched.claims)
        if provider.groups_claim not in vouched.claims:
            told = self._client.userinfo(provider, tokens.access_token)
            if told is not None:
                told = check_userinfo(vouched, told)
                groups = groups_in(provider, told)
                vouched = msgspec.structs.replace(vouched, claims={**told, **vouched.claims})
        mapped = groups_of(self._in.access, provider.id, now=now)
        return vouched, tuple(one.id for one in mapped if one.group in groups)

    def _renew(self, flow: ProviderFlow, person: Person, vouched: Vouched) -> StartedSession:
        """RFC 9470: the session goes on with a fresh second factor, if the provider says that one was just given."""
        if person.id != flow.principal:
            raise refused("Another person signed in than whose session this is: sign out first.")
        if not (vouched.second_factor and fresh_since(vouched, flow.started_at)):
            raise refused("The provider did not say that a second factor was given just now.", "no-second-factor")
        return self._in.sessions.verified(
            person.id, flow.session, methods=("fed", *vouched.methods), now=self._in.now()
        )

    def _let_in(self, ticket: ProviderTicket, person: Person, visitor: Visitor, methods: tuple[str, ...]) -> SignedIn:
        signed_in = self._in.let_in(
            person,
            methods=methods,
            visitor=visitor,
            verified_at=ticket.verified_at,
            provider=ticket.provider,
            brought=ticket.brought,
        )
        if ticket.replaces is not None:
            self._in.sessions.end(*ticket.replaces, now=self._in.now())
        return signed_in

    def _verified_at(self, vouched: Vouched) -> datetime:
        """When the second factor was given; so long ago that it is not fresh, where the provider does not say."""
        now = self._in.now()
        return now - FRESH if vouched.authenticated_at is None else min(now, vouched.authenticated_at)

    def _has_own_role(self, person: Person) -> bool:
        now = self._in.now()
        granted = self._in.access.snapshot.grants.get(person.id, {})
        return any(now < one.expires_at for grants in granted.values() for one in grants.values())

    def _taken(self, state: str, browser: str) -> ProviderFlow:
        """The flow of this state and this browser, which is then over. Raises: AuthError `provider-refused`."""
        if not (BROWSER_SECRET.fullmatch(state) and BROWSER_SECRET.fullmatch(browser)):
            raise _not_begun()
        row, now = _row("flow", state), self._in.now()
        flow = self._in.rows.find(row, ProviderFlow, now=now)
        if flow is None or not hmac.compare_digest(flow.browser, _hash(browser)) or not self._in.rows.remove(row):
            raise _not_begun()
        return flow

    def _secret(self) -> str:
        return _b64(self._in.random(32))

    @contextmanager
    def _place(self) -> Iterator[None]:
        if not self._places.acquire(blocking=False):
            raise LimitError("Many sign in at once: try again in a few seconds.", retry_after=3, code="sign-in-busy")
        try:
            yield
        finally:
            self._places.release()


def _not_begun() -> AuthError:
    return refused("This sign-in did not begin in this browser, or is over: sign in again from the start.", "bad-state")


def _printable(text: str) -> str:
    return re.sub(r"[^a-z_]", "", text[:40]) or "error"


def _row(kind: str, secret: str) -> str:
    return f"{kind}:{_hash(secret)[:32]}"


def _hash(text: str) -> str:
    return hash_of(text)


def _b64(data: bytes) -> str:
    return base64.urlsafe_b64encode(data).rstrip(b"=").decode()
