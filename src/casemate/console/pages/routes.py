"""The pages: sign in, enrol with an invitation, one's own account, approving a model, and letting a command line in."""

from __future__ import annotations

import re
from typing import Any

from fastapi import Response
from fastapi.responses import RedirectResponse

from casemate.console.callers import Call
from casemate.console.pages.frame import (
    ACCOUNT,
    COMMAND,
    HEADERS,
    SIGN_IN,
    Pages,
    View,
    comes_from_elsewhere,
    may_be_signed_in,
    waiting_command,
)
from casemate.core import Action, Environment, InputError, Resource
from casemate.iam import FRESH, CommandLine, describe_person

_FACTORS = {"password": "password", "totp": "authenticator app", "passkey": "passkey"}


def build_pages() -> Pages:
    """All pages."""
    pages = Pages()

    @pages.page(SIGN_IN, "sign_in.html")
    def sign_in(view: View) -> dict[str, Any] | Response:
        if may_be_signed_in(view.request):
            command = waiting_command(view.request)
            return RedirectResponse(
                f"{COMMAND}?{command}" if command else ACCOUNT, 303, {**HEADERS, "Cache-Control": "no-store"}
            )
        return {"from_elsewhere": comes_from_elsewhere(view.request)}

    @pages.page("/signed-in", "signed_in.html")
    def signed_in(_: View) -> dict[str, Any]:
        """Where a sign-in at another site ends."""
        return {}

    @pages.page("/enrol", "enrol.html")
    def enrol(_: View) -> dict[str, Any]:
        return {}

    @pages.page(ACCOUNT, "account.html", action=Action.SESSION_READ, about=_sessions)
    def account(view: View, call: Call) -> dict[str, Any]:
        services, now = view.services, view.services.clock.now()
        call.read(Action.USER_READ, Resource("user", call.principal.id, attributes={"holder": call.principal.id}))
        person = services.sign_in.person_of(call.principal)
        sessions = services.sessions.of(person.id, now=now)
        passkeys = services.passkeys.all(call.principal)
        described = describe_person(services.access, person, now=now)
        return {
            "person": described,
            "factors": [_FACTORS.get(one, one) for one in described.factors],
            "csrf": call.csrf,
            "current": call.principal.credential,
            "sessions": sorted(sessions, key=lambda one: (one.id != call.principal.credential, one.created_at)),
            "passkeys": passkeys,
            "passkey_here": any(one.works_here for one in passkeys),
            "verified_at": call.principal.verified_at,
            "fresh": services.authorizer.is_fresh(call.principal),
            "fresh_minutes": int(FRESH.total_seconds() // 60),
        }

    @pages.page("/approve", "approve.html", action=Action.SESSION_READ, about=_sessions)
    def approve(view: View, call: Call) -> dict[str, Any]:
        """What it shows of a model comes through the API, under the API's rules."""
        return {
            "name": call.principal.name,
            "csrf": call.csrf,
            "environments": [one.value for one in Environment],
            "passkey_here": any(one.works_here for one in view.services.passkeys.all(call.principal)),
        }

    @pages.page(COMMAND, "command.html", action=Action.SESSION_READ, about=_sessions)
    def command(view: View, call: Call) -> dict[str, Any]:
        """Asks whether a command line that waits may act as the person."""
        services, query = view.services, view.request.query_params
        port = query.get("port", "")
        waits = CommandLine(
            challenge=query.get("challenge", ""), port=int(port) if re.fullmatch(r"[0-9]{4,5}", port, re.ASCII) else 0
        )
        waits.check()
        person = services.sign_in.person_of(call.principal)
        live = services.sessions.of(person.id, now=services.clock.now())
        until = next((one.expires_at for one in live if one.id == call.principal.credential), None)
        if until is None:
            raise InputError("A browser in which you are signed in lets a command line in.", code="no-browser")
        return {
            "name": call.principal.name,
            "csrf": call.csrf,
            "challenge": waits.challenge,
            "port": waits.port,
            "code": waits.code,
            "until": until,
            "passkey_here": any(one.works_here for one in services.passkeys.all(call.principal)),
        }

    return pages


def _sessions(call: Call) -> Resource:
    return Resource("session", call.principal.id, attributes={"holder": call.principal.id})
