"""`casemate login --browser` and `--provider NAME`: the browser signs in, and hands this command a ticket on the loopback.

The ticket is worth nothing without the verifier, which never leaves this process but to the server. Sources: RFC 8252,
section 7.3; RFC 7636.
"""

from __future__ import annotations

import base64
import secrets
import time
import webbrowser
from http.server import BaseHTTPRequestHandler, HTTPServer
from typing import Any
from urllib.parse import parse_qs, quote, urlencode, urlsplit

from casemate.cli import output
from casemate.cli.kept_sessions import ask_code
from casemate.cli.session import Session
from casemate.core import AuthError, InputError, NotFoundError, checked_name

_PATIENCE = 300.0  # s to sign in within


def through_provider(session: Session, provider: str, *, device: str) -> dict[str, Any]:
    """A session, as a sign-in with a password answers it. Raises: NotFoundError; InputError `login-timeout`; what the server refuses."""
    with session.client(anonymous=True) as casemate:
        known = [str(one["name"]) for one in casemate.providers.public()]
    if provider not in known:  # said at once: the browser would show it, and this command would wait
        told = f"it knows {', '.join(known)}" if known else "it knows none"
        raise NotFoundError(f"There is no provider {provider[:80]!r} there: {told}.", code="provider-not-found")
    name = quote(checked_name(provider, what="provider name"))
    ticket, verifier = _brought(session, f"/api/v1/session/provider/{name}")
    with session.client(anonymous=True) as casemate:
        try:
            return casemate.providers.redeem(ticket, verifier, device=device)
        except AuthError as error:
            if error.code != "second-factor-wanted":
                raise
        return casemate.providers.redeem(ticket, verifier, code=ask_code(), device=device)


def through_browser(session: Session, *, device: str) -> dict[str, Any]:
    """A session as the browser's is, where the person is signed in or signs in. Raises: as `through_provider`."""
    ticket, verifier = _brought(session, "/command")
    with session.client(anonymous=True) as casemate:
        return casemate.people.fetch_session(ticket, verifier, device=device)


def _brought(session: Session, path: str) -> tuple[str, str]:
    """The ticket that the browser brings from `path`, and its verifier."""
    from casemate.iam import CommandLine, challenge_of  # with all that policies need: no other command waits for that

    verifier = _b64(secrets.token_bytes(32))
    with _Waiting() as waiting:
        command = CommandLine(challenge=challenge_of(verifier), port=waiting.port)
        url = f"{session.server.rstrip('/')}{path}?{urlencode({'challenge': command.challenge, 'port': command.port})}"
        said = f"Sign in with your browser, on this machine. It shows the code {command.code}.\n{url}"
        output.people.print(said, markup=False, soft_wrap=True)
        webbrowser.open(url)
        return waiting.ticket(), verifier


class _Waiting(HTTPServer):
    """Listens on 127.0.0.1 alone, for one ticket."""

    found = ""

    def __init__(self) -> None:
        super().__init__(("127.0.0.1", 0), _Answer)
        self.port = self.server_address[1]
        self.timeout = 1.0

    def ticket(self) -> str:
        ends = time.monotonic() + _PATIENCE
        while not self.found:
            if time.monotonic() >= ends:
                raise InputError("Nobody signed in within 5 minutes: run casemate login again.", code="login-timeout")
            self.handle_request()
        return self.found


class _Answer(BaseHTTPRequestHandler):
    server: _Waiting
    timeout = 5.0

    def do_GET(self) -> None:
        said = parse_qs(urlsplit(self.path).query).get("ticket", [""])[0]
        if len(said) == 43:
            self.server.found = said
        body = b"You can close this page and go back to the terminal.\n" if said else b"There is no ticket here.\n"
        self.send_response(200 if said else 404)
        headers = {"Content-Type": "text/plain", "Content-Length": str(len(body)), "Referrer-Policy": "no-referrer"}
        for name, value in headers.items():
            self.send_header(name, value)
        self.end_headers()
        self.wfile.write(body)

    def log_message(self, *_: object) -> None:
        """A ticket is not for the terminal."""


def _b64(data: bytes) -> str:
    return base64.urlsafe_b64encode(data).rstrip(b"=").decode()
