"""Signing a command line in from a browser in which its person is signed in: `casemate login --browser`.

    the command's challenge -> the person, who agrees in the browser -> a ticket on the loopback -> a session

The ticket is worth nothing without the verifier, which never leaves the command but to the server. What begins can do what
the browser's session can, and ends no later. Sources: RFC 8252, section 7.3; RFC 7636; RFC 8628, section 5.4.
"""

from __future__ import annotations

import base64
import hashlib
import hmac
import re
from datetime import timedelta

import msgspec

from casemate.core import AuthError, InputError, Principal
from casemate.iam.bearer import hash_of
from casemate.iam.sessions import Session, Visitor
from casemate.iam.sign_in import SignedIn, SignIn

TICKET_LIFE = timedelta(minutes=3)  # for a command line to fetch its session, or a person to type a code
BROWSER_SECRET = re.compile(r"[A-Za-z0-9_-]{43}", re.ASCII)  # 256 random bits, base64url


class CommandLine(msgspec.Struct, frozen=True, kw_only=True):
    """A command that waits on the loopback. Args: challenge: S256 of the verifier that it alone has."""

    challenge: str
    port: int

    def check(self) -> None:
        """Raises: InputError `bad-challenge`."""
        if not (BROWSER_SECRET.fullmatch(self.challenge) and 1024 <= self.port <= 65535):
            raise InputError("A command line sends an S256 challenge and a port from 1024 on.", code="bad-challenge")

    def address(self, ticket: str) -> str:
        """Where the browser brings the ticket: always to the loopback itself."""
        return f"http://127.0.0.1:{self.port}/?ticket={ticket}"

    @property
    def code(self) -> str:
        """What the command and the page both show, so that the person sees that it is theirs."""
        digits = hashlib.sha256(self.challenge.encode()).hexdigest()[:8]
        return f"{digits[:4]} {digits[4:]}"


class CommandTicket(msgspec.Struct, frozen=True, kw_only=True):
    """A session that its person handed on. Args: session: the browser's, of `principal`."""

    principal: str
    session: str
    challenge: str


def hand_over(sign_in: SignIn, principal: Principal, command: CommandLine) -> str:
    """The ticket with which `command` gets a session as the one of `principal` is. Authorise first: it wants a fresh factor.

    Raises: InputError `bad-challenge`, `no-second-factor`; AuthError `bad-ticket`: the session has ended.
    """
    command.check()
    person = sign_in.person_of(principal)
    if _live(sign_in, person.id, principal.credential) is None:
        raise _over()
    ticket = base64.urlsafe_b64encode(sign_in.random(32)).rstrip(b"=").decode()
    found = CommandTicket(principal=person.id, session=principal.credential, challenge=command.challenge)
    sign_in.rows.put(_row(ticket), found, ends_at=sign_in.now() + TICKET_LIFE, principal=person.id)
    return ticket


def redeem_command(sign_in: SignIn, ticket: str, verifier: str, visitor: Visitor) -> SignedIn:
    """The session of a ticket, once. Raises: AuthError `bad-ticket`: unknown, used, too late, or the browser's has ended."""
    readable = BROWSER_SECRET.fullmatch(ticket) and BROWSER_SECRET.fullmatch(verifier)
    found = sign_in.rows.find(_row(ticket), CommandTicket, now=sign_in.now()) if readable else None
    if found is None or not hmac.compare_digest(challenge_of(verifier), found.challenge):
        raise _over()
    browser = _live(sign_in, found.principal, found.session)
    if not sign_in.rows.remove(_row(ticket)) or browser is None:
        raise _over()
    return sign_in.let_in(
        sign_in.access.snapshot.people[found.principal],
        methods=browser.methods,
        visitor=visitor,
        verified_at=browser.verified_at,
        provider=browser.provider,
        brought=browser.brought,
        until=browser.expires_at,
    )


def challenge_of(verifier: str) -> str:
    """S256 of RFC 7636, section 4.2."""
    return base64.urlsafe_b64encode(hashlib.sha256(verifier.encode()).digest()).rstrip(b"=").decode()


def _live(sign_in: SignIn, person: str, session: str) -> Session | None:
    return next((one for one in sign_in.sessions.of(person, now=sign_in.now()) if one.id == session), None)


def _row(ticket: str) -> str:
    return f"command:{hash_of(ticket)[:32]}"


def _over() -> AuthError:
    return AuthError("This sign-in is over, or began elsewhere: run casemate login again.", code="bad-ticket")
