"""Sessions: sign in and out, see and end one's own, give a fresh second factor, change one's own factors."""

from contextlib import suppress
from typing import Annotated, Any

import msgspec
from fastapi import Response
from pydantic import BaseModel, ConfigDict, StringConstraints

from casemate.console.callers import Anybody, Call, Caller, Stranger
from casemate.console.door import Door
from casemate.console.services import Services
from casemate.console.visitors import COOKIE, check_own_site, csrf_token, drop_cookie, set_cookies
from casemate.core import Action, AuthError, InputError, NotFoundError, Principal, Resource, VerificationError, rfc3339
from casemate.iam import Offered, Session, StartedSession, end_session

Secret = Annotated[str, StringConstraints(max_length=512)]  # characters; longer is no password or code of ours


class _Body(BaseModel):
    model_config = ConfigDict(extra="forbid", strict=True, hide_input_in_errors=True)


class SignInBody(_Body):
    """`code`: of the second factor, or a recovery code. `cookie`: keep the session in the browser alone."""

    name: Annotated[str, StringConstraints(max_length=200)]
    password: Secret
    code: Secret
    device: Secret = ""
    cookie: bool = False


class Code(_Body):
    code: Secret


class NewPassword(_Body):
    password: Secret
    new: Secret


def declare(door: Door) -> None:
    """The routes under /session and /sessions."""
    _declare_session(door)
    _declare_sessions(door)
    _declare_factors(door)


def _declare_session(door: Door) -> None:
    @door.public("/session", "POST")
    def sign_in(stranger: Anybody, body: SignInBody, response: Response) -> dict[str, Any]:
        """Sign in with name, password and second factor. One answer for whatever is wrong."""
        if body.cookie:  # nobody is signed in to somebody else's account by a page of theirs
            check_own_site(stranger.request)
        visitor = msgspec.structs.replace(stranger.visitor, device=body.device or stranger.visitor.device)
        signed_in = stranger.services.sign_in.sign_in(body.name, body.password, body.code, visitor)
        if body.cookie:
            end_replaced(stranger)
        return started(stranger.services, signed_in.started, response, cookie=body.cookie, device=signed_in.device)

    @door.read("/session", Action.SESSION_READ, about=_own)
    def who(call: Caller) -> dict[str, Any]:
        """Who calls, by what, and until when."""
        principal = call.principal
        answer = {"principal": principal.id, "name": principal.name, "kind": principal.kind, "id": principal.credential}
        found = [one for one in _sessions(call) if one.id == principal.credential]
        return answer | {"session": _shown(found[0], call)} if found else answer

    @door.change("DELETE", "/session", Action.SESSION_REVOKE, about=_own)
    def sign_out(call: Caller, response: Response) -> dict[str, Any]:
        """End the session with which this is asked."""
        services = call.services
        if not services.sessions.end(call.principal.id, call.principal.credential, now=services.clock.now()):
            raise InputError("Only a session signs out, and this is none.", code="no-session")
        drop_cookie(response)
        return {"id": call.principal.credential, "state": "ended"}

    @door.change("POST", "/session/verification", Action.SESSION_VERIFY, about=_own)
    def verify(call: Caller, body: Code, response: Response) -> dict[str, Any]:
        """Give a fresh second factor: the session goes on under a new token."""
        made = call.services.sign_in.verify(call.principal, body.code, call.visitor)
        return renewed(call, made, response)


def _declare_sessions(door: Door) -> None:
    @door.read("/sessions", Action.SESSION_READ, about=_whose)
    def sessions(call: Caller, user: str = "") -> dict[str, Any]:
        """The live sessions of a person; your own unless `user` names somebody."""
        return {"items": [_shown(one, call) for one in _sessions(call, user)], "next": None}

    @door.change("DELETE", "/sessions/{session_id}", Action.SESSION_REVOKE, about=_own)
    def revoke(call: Caller, session_id: str) -> dict[str, Any]:
        """End one of your own sessions now, for good."""
        services, now = call.services, call.services.clock.now()
        if session_id not in {one.id for one in _sessions(call)}:
            raise NotFoundError(
                f"You have no session {session_id[:80]!r}: see casemate session list.", code="session-not-found"
            )
        entries = end_session(session_id, by=call.principal, reason=call.reason, now=now)
        services.commit(entries, call.intent)
        services.sessions.end(call.principal.id, session_id, now=now)
        return {"id": session_id, "state": "revoked"}


def _declare_factors(door: Door) -> None:
    @door.change("POST", "/session/password", Action.USER_UPDATE, about=_myself)
    def password(call: Caller, body: NewPassword, response: Response) -> dict[str, Any]:
        """Change your password; every other session of yours ends."""
        enrolment = call.services.enrolment
        made = enrolment.change_password(call.principal, body.password, body.new, call.visitor, intent=call.intent)
        return renewed(call, made, response)

    @door.change("POST", "/session/totp", Action.USER_UPDATE, about=_myself)
    def totp(call: Caller, qr: bool = False) -> dict[str, Any]:  # noqa: FBT001, FBT002 - a query parameter
        """Be offered a new second factor; the old one counts until the new one is confirmed."""
        return shown_factor(call.services.enrolment.offer_totp(call.principal), qr=qr)

    @door.change("POST", "/session/totp/confirmation", Action.USER_UPDATE, about=_myself)
    def confirm_totp(call: Caller, body: Code, response: Response) -> dict[str, Any]:
        """Confirm the new second factor with a code of it; every other session of yours ends."""
        enrolment = call.services.enrolment
        made = enrolment.confirm_totp(call.principal, body.code, call.visitor, intent=call.intent)
        return renewed(call, made, response)

    @door.change("POST", "/session/recovery-codes", Action.USER_UPDATE, about=_myself)
    def recovery_codes(call: Caller) -> dict[str, Any]:
        """Ten new recovery codes in place of all earlier ones, shown this once."""
        codes = call.services.enrolment.new_recovery_codes(call.principal, intent=call.intent)
        return {"recovery_codes": codes}


def end_replaced(stranger: Stranger) -> None:
    """End the session that the browser had, since a new one takes its cookie. Ask it only of our own site's pages."""
    before = had_session(stranger)
    if before is not None:
        sessions, now = stranger.services.sessions, stranger.services.clock.now()
        sessions.end(before.id, before.credential, now=now)


def had_session(stranger: Stranger) -> Principal | None:
    """Whose session the browser has; None where it has none, or one that ended. Ask it only of our own site's pages."""
    services = stranger.services
    with suppress(AuthError, VerificationError):
        return services.sessions.authenticate(stranger.request.cookies.get(COOKIE, ""), services.clock.now())
    return None


def shown_factor(offered: Offered, *, qr: bool) -> dict[str, Any]:
    """A second factor to be set up, this once. Args: qr: with a picture as a data: URI, for a page."""
    shown = {"name": offered.name, "secret": offered.secret, "uri": offered.uri}
    if not qr:
        return shown
    import segno

    return shown | {"qr": segno.make(offered.uri, error="m").svg_data_uri(scale=4, border=2, light="#fff")}


def started(
    services: Services, made: StartedSession, response: Response, *, cookie: bool, device: str = ""
) -> dict[str, Any]:
    """A session that has begun, as it is answered: its token in the body, or in a cookie and nowhere else."""
    session = made.session
    answer: dict[str, Any] = {
        "id": session.id,
        "principal": session.principal,
        "name": services.access.snapshot.people[session.principal].name,
        "expires_at": rfc3339(session.expires_at),
    }
    if cookie:
        set_cookies(response, made.token, device)
        return {**answer, "csrf": csrf_token(made.token)}
    return {**answer, "token": made.token, **({"device": device} if device else {})}


def renewed(call: Call, made: StartedSession | None, response: Response) -> dict[str, Any]:
    """A session that goes on under a new token, as it is answered; the home's owner has none."""
    if made is None:
        return {"principal": call.principal.id, "name": call.principal.name}
    return started(call.services, made, response, cookie=call.by_cookie)


def _shown(session: Session, call: Call) -> dict[str, Any]:
    shown = {
        "id": session.id,
        "created_at": rfc3339(session.created_at),
        "seen_at": rfc3339(session.seen_at),
        "verified_at": rfc3339(session.verified_at),
        "expires_at": rfc3339(session.expires_at),
        "address": session.address,
        "client": session.client,
        "methods": list(session.methods),
        "current": session.id == call.principal.credential,
    }
    return shown | ({"csrf": call.csrf} if shown["current"] and call.csrf else {})


def _sessions(call: Call, user: str = "") -> list[Session]:
    people = call.services.access.snapshot.people_by_name
    return call.services.sessions.of(people.get(user, user) or call.principal.id, now=call.services.clock.now())


def _own(call: Call, _: dict[str, Any]) -> Resource:
    return Resource("session", call.principal.id, attributes={"holder": call.principal.id})


def _whose(call: Call, arguments: dict[str, Any]) -> Resource:
    user = arguments["user"]
    holder = call.services.access.snapshot.people_by_name.get(user, user)[:80] or call.principal.id
    return Resource("session", holder, attributes={"holder": holder})


def _myself(call: Call, _: dict[str, Any]) -> Resource:
    return Resource("user", call.principal.id, attributes={"holder": call.principal.id})
