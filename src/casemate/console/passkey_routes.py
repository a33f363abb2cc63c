"""Passkeys: sign in with one, enrol with one, a fresh second factor by one, and one's own.

What a browser signs is bound to a cookie of its own, to the session or to the invitation; the relying party comes from
the settings, never from the request.
"""

import secrets
from typing import Annotated, Any

import msgspec
from fastapi import Response
from pydantic import BaseModel, ConfigDict, StringConstraints

from casemate.console.callers import Anybody, Call, Caller, Stranger
from casemate.console.door import Door
from casemate.console.session_routes import end_replaced, renewed, started
from casemate.console.visitors import (
    CHALLENGE_COOKIE,
    check_own_site,
    drop_challenge_cookie,
    set_challenge_cookie,
)
from casemate.core import Action, Resource, rfc3339
from casemate.iam import PasskeyInfo

Secret = Annotated[str, StringConstraints(max_length=512)]  # characters; longer is no secret of ours
Label = Annotated[str, StringConstraints(max_length=200)]


class _Body(BaseModel):
    model_config = ConfigDict(extra="forbid", strict=True, hide_input_in_errors=True)


class Asserted(_Body):
    """`passkey`: what the browser got, as its `toJSON()` says it. `name` and `password`: it is the second factor."""

    passkey: dict[str, Any]
    name: Annotated[str, StringConstraints(max_length=200)] = ""
    password: Secret = ""
    device: Secret = ""
    cookie: bool = False


class Verified(_Body):
    passkey: dict[str, Any]


class Made(_Body):
    """`name`: what the person calls it."""

    passkey: dict[str, Any]
    name: Label


class Invited(_Body):
    invitation: Secret


class Enrolling(_Body):
    invitation: Secret
    passkey: dict[str, Any]
    name: Label
    device: Secret = ""
    cookie: bool = False


def declare(door: Door) -> None:
    """The routes under /session/passkey, /session/passkeys, /session/verification and /enrolment."""
    _declare_sign_in(door)
    _declare_enrolment(door)
    _declare_verification(door)
    _declare_own(door)


def _declare_sign_in(door: Door) -> None:
    @door.public("/session/passkey/options", "POST")
    def ask(stranger: Anybody, response: Response) -> dict[str, Any]:
        """What a browser needs to ask for a passkey: a challenge for it alone, good once and for two minutes."""
        browser = secrets.token_urlsafe(32)
        options = stranger.services.passkey_sign_in.ask_sign_in(browser)
        set_challenge_cookie(response, browser)
        return options

    @door.public("/session/passkey", "POST")
    def sign_in(stranger: Anybody, body: Asserted, response: Response) -> dict[str, Any]:
        """Sign in with a passkey alone, or with name, password and a passkey. One answer for whatever is wrong."""
        visitor, browser = _visitor(stranger, body.device, cookie=body.cookie), _browser(stranger)
        proof = stranger.services.passkey_sign_in
        if body.name or body.password:
            made = proof.sign_in_after_password(body.name, body.password, body.passkey, browser, visitor)
        else:
            made = proof.sign_in(body.passkey, browser, visitor)
        drop_challenge_cookie(response)
        if body.cookie:
            end_replaced(stranger)
        return started(stranger.services, made.started, response, cookie=body.cookie, device=made.device)


def _declare_enrolment(door: Door) -> None:
    @door.public("/enrolment/passkey/options", "POST")
    def ask(stranger: Anybody, body: Invited) -> dict[str, Any]:
        """With an invitation: what a browser needs to make a passkey."""
        return stranger.services.passkeys.ask_enrol(body.invitation)

    @door.public("/enrolment/passkey", "POST")
    def enrol(stranger: Anybody, body: Enrolling, response: Response) -> dict[str, Any]:
        """Enrol with a passkey for both factors. Answers recovery codes, this once, and a session."""
        visitor = _visitor(stranger, body.device, cookie=body.cookie)
        confirmed = stranger.services.passkeys.enrol(body.invitation, body.passkey, body.name, visitor)
        if body.cookie:
            end_replaced(stranger)
        signed_in = confirmed.signed_in
        answer = started(stranger.services, signed_in.started, response, cookie=body.cookie, device=signed_in.device)
        return {**answer, "recovery_codes": confirmed.recovery_codes}


def _declare_verification(door: Door) -> None:
    @door.change("POST", "/session/verification/options", Action.SESSION_VERIFY, about=_session)
    def ask(call: Caller) -> dict[str, Any]:
        """What a browser needs to ask for one of your own passkeys."""
        return call.services.passkey_sign_in.ask_verify(call.principal)

    @door.change("POST", "/session/verification/passkey", Action.SESSION_VERIFY, about=_session)
    def verify(call: Caller, body: Verified, response: Response) -> dict[str, Any]:
        """Give a fresh second factor by passkey: the session goes on under a new token."""
        made = call.services.passkey_sign_in.verify(call.principal, body.passkey, call.visitor)
        return renewed(call, made, response)


def _declare_own(door: Door) -> None:
    @door.read("/session/passkeys", Action.SESSION_READ, about=_session)
    def passkeys(call: Caller) -> dict[str, Any]:
        """Your own passkeys."""
        return {"items": [shown(one) for one in call.services.passkeys.all(call.principal)], "next": None}

    @door.change("POST", "/session/passkeys/options", Action.USER_UPDATE, about=_myself)
    def ask(call: Caller) -> dict[str, Any]:
        """What a browser needs to make another passkey."""
        return call.services.passkeys.ask_add(call.principal)

    @door.change("POST", "/session/passkeys", Action.USER_UPDATE, about=_myself)
    def add(call: Caller, body: Made) -> dict[str, Any]:
        """Add a passkey that the browser has made."""
        return shown(call.services.passkeys.add(call.principal, body.passkey, body.name, intent=call.intent))

    @door.change("PUT", "/session/passkeys/{passkey_id}", Action.USER_UPDATE, about=_myself)
    def rename(call: Caller, passkey_id: str, name: str) -> dict[str, Any]:
        """Call one of your passkeys something else."""
        return shown(call.services.passkeys.rename(call.principal, passkey_id, name, intent=call.intent))

    @door.change("DELETE", "/session/passkeys/{passkey_id}", Action.USER_UPDATE, about=_myself)
    def remove(call: Caller, passkey_id: str, response: Response) -> dict[str, Any]:
        """Remove one of your passkeys; every other session of yours ends. The last thing you sign in with stays."""
        made = call.services.passkeys.remove(call.principal, passkey_id, call.visitor, intent=call.intent)
        return {**renewed(call, made, response), "passkey": passkey_id, "state": "removed"}


def shown(one: PasskeyInfo) -> dict[str, Any]:
    """A passkey as its person sees it: no key, and not the authenticator's id."""
    return {
        "id": one.id,
        "name": one.name,
        "added_at": rfc3339(one.added_at),
        "used_at": rfc3339(one.used_at) if one.used_at else None,
        "transports": list(one.transports),
        "synced": one.synced,
        "works_here": one.works_here,
    }


def _visitor(stranger: Stranger, device: str, *, cookie: bool) -> Any:
    if cookie:  # nobody is signed in to somebody else's account by a page of theirs
        check_own_site(stranger.request)
    return msgspec.structs.replace(stranger.visitor, device=device or stranger.visitor.device)


def _browser(stranger: Stranger) -> str:
    return stranger.request.cookies.get(CHALLENGE_COOKIE, "")


def _session(call: Call, _: dict[str, Any]) -> Resource:
    return Resource("session", call.principal.id, attributes={"holder": call.principal.id})


def _myself(call: Call, _: dict[str, Any]) -> Resource:
    return Resource("user", call.principal.id, attributes={"holder": call.principal.id})
