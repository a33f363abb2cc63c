"""What every page has: its template, its headers, and the gate before whatever it shows of somebody.

    pages = Pages()

    @pages.page("/", "sign_in.html")
    def sign_in(view: View) -> dict[str, Any]: ...

    @pages.page("/account", "account.html", action=Action.SESSION_READ, about=own_sessions)
    def account(view: View, call: Call) -> dict[str, Any]: ...

A handler returns what its template shows. Nothing comes from elsewhere, and nothing runs that is not a file of ours.
Sources: W3C CSP Level 3; Trusted Types; OWASP Secure Headers; ASVS 5.0, V3.4.
"""

from __future__ import annotations

import hashlib
from collections.abc import Callable
from dataclasses import dataclass
from datetime import datetime
from pathlib import Path
from typing import Annotated, Any
from urllib.parse import urlencode

from fastapi import APIRouter, Depends, Request, Response
from fastapi.responses import HTMLResponse, RedirectResponse
from jinja2 import Environment, FileSystemLoader, StrictUndefined

from casemate.console.callers import Call, authenticated
from casemate.console.problems import problem_of
from casemate.console.services import Services
from casemate.console.visitors import COOKIE, drop_cookie
from casemate.core import Action, AuthError, CasemateError, InputError, NotFoundError, Resource, rfc3339
from casemate.iam import RelyingParty

SIGN_IN, ACCOUNT, COMMAND = "/", "/account", "/command"
_HERE = Path(__file__).parent
_KINDS = {".css": "text/css; charset=utf-8", ".js": "text/javascript; charset=utf-8", ".svg": "image/svg+xml"}
_CSP = (
    "default-src 'none'; script-src 'self'; style-src 'self'; connect-src 'self'; img-src 'self' data:; "  # data: QR
    "form-action 'self'; frame-ancestors 'none'; base-uri 'none'; require-trusted-types-for 'script'; trusted-types 'none'"
)
HEADERS = {
    "Content-Security-Policy": _CSP,
    "Cross-Origin-Opener-Policy": "same-origin",
    "Cross-Origin-Resource-Policy": "same-origin",
    "Permissions-Policy": "publickey-credentials-get=(self), publickey-credentials-create=(self), camera=(), "
    "geolocation=(), microphone=()",
    "Referrer-Policy": "no-referrer",
    "X-Content-Type-Options": "nosniff",
    "X-Frame-Options": "DENY",
}
_HSTS = "max-age=31536000"  # s; ASVS 5.0, V3.4.1

_FAMILIES = (("Firefox", "Firefox"), ("AppleWebKit/537.36", "Chromium, Chrome or Edge"), ("AppleWebKit/", "Safari"))
_SYSTEMS = (
    ("iPhone", "iPhone"), ("iPad", "iPad"), ("Android", "Android"), ("Windows", "Windows"), ("Macintosh", "macOS"),
    ("CrOS", "ChromeOS"), ("Linux", "Linux"),
)  # fmt: skip

Shown = dict[str, Any]
About = Callable[[Call], Resource]


@dataclass(frozen=True, slots=True, kw_only=True)
class View:
    """One request for a page."""

    services: Services
    request: Request
    party: RelyingParty | None  # None: the control plane's address has no name, so there are no passkeys


class Pages:
    """Collects the pages, each with the Action that the gate is asked about; None: it shows nothing of anybody."""

    def __init__(self) -> None:
        self.router = APIRouter(include_in_schema=False)
        self.actions: dict[str, Action | None] = {}
        self._environment = Environment(
            loader=FileSystemLoader(_HERE / "templates"),
            autoescape=True,
            undefined=StrictUndefined,
            trim_blocks=True,
            lstrip_blocks=True,
        )
        self._environment.filters |= {"moment": _moment, "client": client_in_words}
        self._files = {file.name: _File.read(file) for file in sorted((_HERE / "static").iterdir())}
        self.router.add_api_route("/static/{name}", self._static, methods=["GET"])

    def page(
        self, path: str, template: str, *, action: Action | None = None, about: About | None = None
    ) -> Callable[[Callable[..., Shown | Response]], Callable[..., Shown | Response]]:
        """A page at `path`. Whoever is not signed in and must be is sent to the sign-in page."""
        self.actions[path] = action

        def declare(handler: Callable[..., Shown | Response]) -> Callable[..., Shown | Response]:
            def open_to_all(request: Request) -> Response:
                view = _view(request)
                return self._shown(view, template, lambda: handler(view))

            def behind_the_gate(request: Request, reader: Reader) -> Response:
                view = _view(request)
                if isinstance(reader, AuthError):
                    return _to_sign_in(reader, request)

                def show() -> Shown | Response:
                    if isinstance(reader, CasemateError):
                        raise reader
                    assert action is not None
                    assert about is not None
                    reader.read(action, about(reader))
                    return handler(view, reader)

                return self._shown(view, template, show)

            self.router.add_api_route(
                path,
                behind_the_gate if action else open_to_all,
                methods=["GET"],
                response_class=HTMLResponse,
                openapi_extra={"x-action": action},
            )
            return handler

        return declare

    def _shown(self, view: View, template: str, make: Callable[[], Shown | Response]) -> Response:
        status = 200
        try:
            shown = make()
        except CasemateError as error:
            problem = problem_of(error)
            status, template, shown = problem.status, "problem.html", {"told": problem.document["detail"]}
        if isinstance(shown, Response):
            return shown
        text = self._environment.get_template(template).render(party=view.party, **shown)
        return HTMLResponse(text, status, {**HEADERS, **_transport(view.party), "Cache-Control": "no-store"})

    def _static(self, name: str, request: Request) -> Response:
        file = self._files.get(name)
        if file is None:
            raise NotFoundError("There is no such file.", code="no-route")
        headers = {**HEADERS, "ETag": file.tag, "Cache-Control": "no-cache"}
        if request.headers.get("if-none-match") == file.tag:
            return Response(status_code=304, headers=headers)
        return Response(file.content, media_type=file.kind, headers=headers)


@dataclass(frozen=True, slots=True)
class _File:
    content: bytes
    kind: str
    tag: str

    @classmethod
    def read(cls, path: Path) -> _File:
        content = path.read_bytes()
        return cls(content, _KINDS[path.suffix], f'"{hashlib.sha256(content).hexdigest()[:32]}"')


async def _reader(request: Request) -> Call | CasemateError:
    """Who looks, by their cookie alone; why not, where they may not."""
    try:
        return await authenticated(request)
    except CasemateError as error:
        return error


Reader = Annotated[Any, Depends(_reader)]


def _view(request: Request) -> View:
    services: Services = request.app.state.services
    try:
        party = services.passkey_sign_in.party
    except InputError:
        party = None
    return View(services=services, request=request, party=party)


def _to_sign_in(error: AuthError, request: Request) -> Response:
    """A session that is over is forgotten; one that another site made the browser show is left alone.

    A command line that waits is still asked about after the sign-in, unless another site led here.
    """
    asked = request.url.path == COMMAND and not comes_from_elsewhere(request)
    place = f"{SIGN_IN}?{waiting_command(request)}" if asked else SIGN_IN
    response = RedirectResponse(place, 303, {**HEADERS, "Cache-Control": "no-store"})
    if error.code != "cross-site":
        drop_cookie(response)
    return response


def waiting_command(request: Request) -> str:
    """The query that names a command line, written anew; empty where there is none."""
    named = {name: request.query_params.get(name, "")[:64] for name in ("challenge", "port")}
    return urlencode(named) if all(named.values()) else ""


def may_be_signed_in(request: Request) -> bool:
    """Whether the browser shows a session, and a page of ours or the person asks; what it is worth is seen elsewhere."""
    return COOKIE in request.cookies and not comes_from_elsewhere(request)


def comes_from_elsewhere(request: Request) -> bool:
    """Whether another site led here, so that the browser may have kept the session's cookie back."""
    return request.headers.get("sec-fetch-site", "none") not in ("none", "same-origin")


def _transport(party: RelyingParty | None) -> dict[str, str]:
    """Never again without TLS; not for `localhost`, where every other server of the machine would be meant, too."""
    return {} if party is None or party.rp_id == "localhost" else {"Strict-Transport-Security": _HSTS}


def client_in_words(client: str) -> str:
    """What a browser calls itself, for people: its family and its system. A claim, and shortened where it came in."""
    if not client.startswith("Mozilla/5.0 ("):
        return client or "unnamed client"
    family = next((name for sign, name in _FAMILIES if sign in client), "Browser")
    system = next((name for sign, name in _SYSTEMS if sign in client), "")
    return f"{family} on {system}" if system else family


def _moment(when: datetime | str) -> str:
    return when if isinstance(when, str) else rfc3339(when)
