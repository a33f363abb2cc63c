"""Outside providers: sign in through one, and say which there are, what their groups give, and whom a subject is."""

import html
from typing import Annotated, Any, Literal, TypeVar
from urllib.parse import parse_qs, urlencode

import msgspec
from fastapi import Response
from fastapi.responses import HTMLResponse, RedirectResponse
from pydantic import BaseModel, ConfigDict, Field, StringConstraints

from casemate.console.asset_routes import Body, plain
from casemate.console.callers import Anybody, Call, Caller, Stranger
from casemate.console.door import Door
from casemate.console.pages.frame import HEADERS
from casemate.console.session_routes import had_session, started
from casemate.console.visitors import COOKIE, check_own_site, credential_of, set_cookies
from casemate.core import Action, AuthError, Environment, InputError, Resource, parse_duration, parse_rfc3339, rfc3339
from casemate.iam import CommandLine
from casemate.iam.providers.administration import (
    add_provider,
    find_provider,
    link_subject,
    linking_resource,
    live_providers,
    map_group,
    mapping_resource,
    provider_record,
    revoke_provider,
    shown_provider,
)
from casemate.iam.providers.records import entry_of
from casemate.iam.providers.sign_in import FLOW_LIFE, Finished

FLOW_COOKIE = "__Host-casemate-provider"  # Lax: it must come along when the provider sends the browser back
FACTOR = "/session/provider-factor"
_SIGNED_IN = "/signed-in"
_UNKEPT = {**HEADERS, "Cache-Control": "no-store"}

_Sent = TypeVar("_Sent", bound=Response)

Secret = Annotated[str, StringConstraints(max_length=512)]
Line = Annotated[str, StringConstraints(max_length=300)]
Lines = Annotated[list[Line], Field(max_length=20)]


class _Body(BaseModel):
    model_config = ConfigDict(extra="forbid", strict=True, hide_input_in_errors=True)


class NewProvider(_Body):
    """`secret`: where the client's secret lies, never the secret. `ca`: PEM of the one authority to trust."""

    issuer: Line
    client_id: Line
    secret: Line
    display: Annotated[str, StringConstraints(max_length=60)] = ""
    client_auth: Line = "client_secret_basic"
    ca: Annotated[str, StringConstraints(max_length=16384)] = ""
    algorithms: Lines = []
    scopes: Lines = []
    groups_claim: Line = "groups"
    acr: Lines = []
    amr: Lines = []


class Ticket(_Body):
    """`verifier`: what the command line alone has; its challenge began the sign-in."""

    ticket: Secret
    verifier: Secret
    code: Secret = ""
    device: Secret = ""


def declare(door: Door) -> None:
    """The routes under /providers and /session/provider."""
    _declare_sign_in(door)
    _declare_tickets(door)
    _declare_reading(door)
    _declare_changes(door)


def _declare_sign_in(door: Door) -> None:
    @door.public("/providers/public")
    def public(stranger: Anybody) -> dict[str, Any]:
        """The names of providers, for the sign-in page."""
        return {"items": stranger.services.providers.public(), "next": None}

    @door.public("/session/provider/{name}")
    def begin(
        stranger: Anybody, name: str, challenge: str = "", port: int = 0, renew: Literal["", "yes"] = ""
    ) -> Response:
        """Go to a provider to sign in, or to give a fresh second factor for the session of this browser."""
        services, renewing = stranger.services, None
        command = CommandLine(challenge=challenge, port=port) if challenge or port else None
        try:  # a provider may ask nothing of who is signed in there, and nobody signs in without an act of their own
            check_own_site(stranger.request)
        except AuthError:
            if command is not None:
                raise
            return RedirectResponse("/", 303, _UNKEPT)
        if renew:
            if COOKIE not in stranger.request.cookies:
                raise AuthError("There is no session here to renew: sign in.", code="no-credential")
            renewing = services.authenticate(credential_of(stranger.request, ""))
        had = had_session(stranger) if command is None else None
        begun = services.providers.begin(name, command=command, renewing=renewing, had=had)
        answer = RedirectResponse(begun.url, 303, _UNKEPT)
        _keep(answer, begun.browser)
        return answer

    @door.public("/session/provider/{name}/callback")
    def callback(stranger: Anybody, name: str) -> Response:
        """Come back from a provider."""
        query = stranger.request.query_params
        if len(str(query)) > 8192 or len(query.multi_items()) != len(query):
            raise InputError("The provider's answer says something twice, or is too long.", code="bad-answer")
        found = stranger.services.providers.finish(name, dict(query), _browser(stranger), stranger.visitor)
        return _answered(found)


def _answered(found: Finished) -> Response:
    """Where a sign-in that the provider answered goes on."""
    if found.command is not None:  # the person says whether it is theirs: a link may have led here, with another's
        values = (found.name, found.command.code, found.command.address(found.ticket))
        name, code, target = (html.escape(one, quote=True) for one in values)
        return _dropped(HTMLResponse(_HAND_ON.format(name=name, code=code, target=target), headers=_UNKEPT))
    if found.ticket:
        return RedirectResponse(f"/api/v1{FACTOR}?{urlencode({'ticket': found.ticket})}", 303, _UNKEPT)
    answer = _dropped(RedirectResponse(_SIGNED_IN, 303, _UNKEPT))
    if found.renewed is not None:
        set_cookies(answer, found.renewed.token)
    elif found.signed_in is not None:
        set_cookies(answer, found.signed_in.started.token, found.signed_in.device)
    return answer


def _declare_tickets(door: Door) -> None:
    @door.public(FACTOR, media="text/html")
    def ask_factor(stranger: Anybody, ticket: str = "") -> Response:
        """Ask for a code of the person's own second factor, where the provider spoke of none."""
        del stranger  # the door has counted them
        return HTMLResponse(_FORM.format(ticket=html.escape(ticket[:100], quote=True)), headers=_UNKEPT)

    @door.public(FACTOR, "POST")
    def give_factor(stranger: Anybody, body: Body) -> Response:
        """Give the code that the form asked for."""
        check_own_site(stranger.request)
        said = parse_qs(body.whole(4096).decode(errors="replace"), max_num_fields=4)
        ticket, code = (said.get(one, [""])[0] for one in ("ticket", "code"))
        made = stranger.services.providers.redeem(ticket, _browser(stranger), code, stranger.visitor, by_command=False)
        answer = _dropped(RedirectResponse(_SIGNED_IN, 303, _UNKEPT))
        set_cookies(answer, made.started.token, made.device)
        return answer

    @door.public("/session/provider-ticket", "POST")
    def redeem(stranger: Anybody, body: Ticket, response: Response) -> dict[str, Any]:
        """The session of a command line, for the ticket that the browser brought it and its verifier."""
        visitor = msgspec.structs.replace(stranger.visitor, device=body.device or stranger.visitor.device)
        made = stranger.services.providers.redeem(body.ticket, body.verifier, body.code, visitor, by_command=True)
        return started(stranger.services, made.started, response, cookie=False, device=made.device)


def _declare_reading(door: Door) -> None:
    @door.read("/providers", Action.PROVIDER_READ)
    def providers(call: Caller) -> dict[str, Any]:
        """All providers, with what their groups give; never their secrets."""
        access, now = call.services.access, call.services.clock.now()
        return plain({"items": [shown_provider(access, one, now=now) for one in live_providers(access)], "next": None})

    @door.read("/providers/{name}", Action.PROVIDER_READ)
    def show(call: Caller, name: str) -> dict[str, Any]:
        """One provider, and the address to which it must send people back."""
        services = call.services
        found = find_provider(services.access, name)
        shown = shown_provider(services.access, found, now=services.clock.now())
        return plain({**shown, "redirect_uri": services.providers.redirect_uri(found)})


def _declare_changes(door: Door) -> None:
    @door.change("POST", "/providers/{name}", Action.PROVIDER_ADD)
    def add(call: Caller, name: str, body: NewProvider | None = None) -> dict[str, Any]:
        """Let people sign in through a provider. They have no role by that until a group of theirs has."""
        services = call.services
        if body is None:
            raise InputError("Say which provider it is: issuer, client_id and secret.", code="bad-provider")
        if name == "public":
            raise InputError("'public' is a path of ours: take another name.", code="bad-name")
        record = provider_record(name, by=call.principal, now=services.clock.now(), **body.model_dump())
        services.settle(lambda: add_provider(services.access, record), call.intent)
        uri = services.providers.redirect_uri(record)
        return plain({**shown_provider(services.access, record, now=record.created_at), "redirect_uri": uri})

    @door.change("POST", "/providers/{name}/groups", Action.PROVIDER_MAP, about=_mapped)
    def map_to_role(
        call: Caller,
        name: str,
        group: Line,
        role: str,
        on: str,
        environment: Environment | None = None,
        life: str = "90d",
    ) -> dict[str, Any]:
        """Let members of a group at the provider have a role while they are signed in through it. `life`: of the mapping."""
        del life  # the gate has decided on when it ends
        services, made = call.services, []
        until = parse_rfc3339(str(call.decided.attributes["expires_at"]))

        def entries() -> list[Any]:
            record = map_group(
                services.access,
                name,
                group,
                role=role,
                scope=on,
                environment=environment,
                by=call.principal,
                reason=call.reason,
                now=services.clock.now(),
                until=until,
            )
            made.append(record)
            return [entry_of(record)]

        services.settle(entries, call.intent)
        answer = {"id": made[0].id, "group": group, "role": role, "scope": made[0].scope, "environment": environment}
        return plain({**answer, "expires_at": rfc3339(until)})

    @door.change("POST", "/providers/{name}/subjects", Action.PROVIDER_BIND, about=_linked)
    def bind(call: Caller, name: str, user: str, subject: Line) -> dict[str, Any]:
        """Let a subject of the provider be a person who is there already."""
        services, made = call.services, []

        def entries() -> list[Any]:
            now = services.clock.now()
            made.append(link_subject(services.access, name, user, subject, by=call.principal, now=now))
            return [entry_of(made[-1])]

        services.settle(entries, call.intent)
        return {"principal": made[0].principal, "issuer": made[0].issuer, "subject": subject}

    @door.change("DELETE", "/providers/{name}", Action.PROVIDER_REVOKE, urgent=True)
    def revoke(call: Caller, name: str) -> dict[str, Any]:
        """End a provider with its sessions, or one mapping by its id, now."""
        services, found = call.services, []

        def entries() -> list[Any]:
            now = services.clock.now()
            one, items = revoke_provider(services.access, name, by=call.principal, reason=call.reason, now=now)
            found.append(one)
            return items

        services.settle(entries, call.intent)
        return {"id": found[0], "state": "revoked"}


def _mapped(call: Call, arguments: dict[str, Any]) -> Resource:
    return mapping_resource(
        arguments["name"],
        arguments["role"],
        arguments["on"],
        arguments["environment"],
        now=call.services.clock.now(),
        life=parse_duration(arguments["life"]),
    )


def _linked(call: Call, arguments: dict[str, Any]) -> Resource:
    now = call.services.clock.now()
    return linking_resource(call.services.access, arguments["name"], arguments["user"], now=now)


def _browser(stranger: Stranger) -> str:
    return stranger.request.cookies.get(FLOW_COOKIE, "")


def _keep(response: Response, browser: str) -> None:
    age = int(FLOW_LIFE.total_seconds())
    response.set_cookie(FLOW_COOKIE, browser, secure=True, httponly=True, path="/", samesite="lax", max_age=age)


def _dropped(response: _Sent) -> _Sent:
    response.delete_cookie(FLOW_COOKIE, path="/", secure=True, httponly=True, samesite="lax")
    return response


_HAND_ON = """<!doctype html>
<html lang="en"><head><meta charset="utf-8"><title>A command line - Casemate</title>
<meta name="viewport" content="width=device-width"><link rel="stylesheet" href="/static/casemate.css"></head>
<body><main><h1>Let a command line act as you?</h1>
<p>A program on this computer asks to be signed in as <strong>{name}</strong>. It may then do all that you may.</p>
<p>Go on only if you have just run <code>casemate login --provider</code> yourself, and it shows this code:</p>
<p><code id="compare">{code}</code></p>
<p><a class="button" id="hand-on" href="{target}">Yes, it is mine</a></p>
<p><a href="/">No, and tell nobody anything</a></p></main></body></html>
"""
_FORM = """<!doctype html>
<html lang="en"><head><meta charset="utf-8"><title>Second factor - Casemate</title>
<meta name="viewport" content="width=device-width"><link rel="stylesheet" href="/static/casemate.css"></head>
<body><main><h1>Second factor</h1>
<p>The provider did not say that you gave a second factor. Type a code of the one that you have here.</p>
<form method="post"><input type="hidden" name="ticket" value="{ticket}">
<label>Code <input name="code" autocomplete="one-time-code" required autofocus></label>
<button>Sign in</button></form></main></body></html>
"""
