"""People: invite, list, reset, revoke; and how they enrol, which needs nobody but an invitation's code."""

from typing import Annotated, Any

import msgspec
from fastapi import Response
from pydantic import BaseModel, ConfigDict, StringConstraints

from casemate.console.asset_routes import plain
from casemate.console.callers import Anybody, Call, Caller
from casemate.console.door import Door
from casemate.console.flags import is_set
from casemate.console.session_routes import end_replaced, shown_factor, started
from casemate.console.visitors import check_own_site
from casemate.core import Action, Environment, InputError, parse_duration, parse_rfc3339
from casemate.iam import (
    Invitation,
    LedgerItem,
    PersonRequest,
    describe_person,
    end_all_sessions,
    find_person,
    invite,
    list_people,
    made_by,
    person_request,
    person_resource,
    reset_person,
    reset_resource,
    revoke_person,
    stated_reason,
)

Secret = Annotated[str, StringConstraints(max_length=512)]  # characters; longer is no password or code of ours


class _Body(BaseModel):
    model_config = ConfigDict(extra="forbid", strict=True, hide_input_in_errors=True)


class Begun(_Body):
    """`qr`: answer the secret as a picture, too."""

    invitation: Secret
    password: Secret
    qr: bool = False


class Confirmation(_Body):
    invitation: Secret
    code: Secret
    device: Secret = ""
    cookie: bool = False


def declare(door: Door) -> None:
    """The routes under /users and /enrolment."""
    _declare_reading(door)
    _declare_changes(door)
    _declare_enrolment(door)


def _declare_reading(door: Door) -> None:
    @door.read("/users", Action.USER_READ)
    def people(call: Caller) -> dict[str, Any]:
        """All people with their roles and kinds of factors, never a secret."""
        services = call.services
        return {"items": msgspec.to_builtins(list_people(services.access, now=services.clock.now())), "next": None}

    @door.read("/users/{user_id}", Action.USER_READ, about=_one)
    def show(call: Caller, user_id: str) -> dict[str, Any]:
        """One person, by name or id."""
        return _shown(call, user_id)


def _declare_changes(door: Door) -> None:
    @door.change("POST", "/users", Action.USER_INVITE, about=_asked)
    def invited(
        call: Caller,
        name: str,
        role: str,
        on: str = "*",
        life: str = "90d",
        environment: Environment | None = None,
        local: bool = False,  # noqa: FBT001, FBT002 - a query parameter
    ) -> dict[str, Any]:
        """Invite a person. The answer is the only place that ever shows the code. `life`: of the grant."""
        asked = _request(call, {"name": name, "role": role, "on": on, "life": life, "environment": environment})
        decided = parse_rfc3339(str(call.decided.attributes["expires_at"]))  # not a moment longer than the gate allowed
        asked = msgspec.structs.replace(asked, expires_at=decided)
        services, made = call.services, list[Invitation]()

        def make() -> list[Any]:
            made.append(invite(services.access, asked, by=call.principal, local=local, reason=call.reason))
            return made[0].entries

        services.settle(make, call.intent)
        return {**_code(made[0]), "role": role, "scope": str(asked.scope)}

    @door.change("POST", "/users/{user_id}/reset", Action.USER_RESET, about=_resetting)
    def reset(call: Caller, user_id: str) -> dict[str, Any]:
        """End a person's factors and sessions, and invite them anew."""
        services, made, reason = call.services, list[Invitation](), _stated(call)
        person = find_person(services.access, user_id)

        def make() -> list[Any]:
            now = services.clock.now()
            made.append(reset_person(services.access, person.id, by=call.principal, reason=reason, now=now))
            return made[0].entries

        services.settle(make, call.intent)
        return _code(made[0])

    @door.change("DELETE", "/users/{user_id}", Action.USER_REVOKE, about=_one)
    def revoke(call: Caller, user_id: str, callers: str = "") -> dict[str, Any]:
        """End a person now, with their sessions, grants and invitation, and every key of their making that may do more
        than call; `callers`: those, too. What lives on is `left`."""
        services, now, ended = call.services, call.services.clock.now, list[str]()
        person_id = services.access.snapshot.people_by_name.get(user_id, user_id)

        def make() -> list[LedgerItem]:
            entries = revoke_person(
                services.access,
                person_id,
                callers=is_set(callers, "callers"),
                by=call.principal,
                reason=call.reason,
                now=now(),
            )
            ended[:] = [str(body["id"]) for kind, body in entries if kind == "credential"]
            return entries

        services.settle(make, call.intent)
        left = made_by(services.access, person_id, now=now())
        return {
            "id": person_id,
            "state": "revoked",
            "ended": ended,
            "left": [{"id": one.id, "name": one.name, "role": one.role} for one in left],
        }

    @door.change("DELETE", "/users/{user_id}/sessions", Action.USER_REVOKE, about=_one)
    def sign_out(call: Caller, user_id: str) -> dict[str, Any]:
        """End every session of a person now."""
        services = call.services
        person = find_person(services.access, user_id)
        services.settle(
            lambda: end_all_sessions(person.id, by=call.principal, reason=call.reason, now=services.clock.now()),
            call.intent,
        )
        return {"id": person.id, "state": "signed-out"}


def _declare_enrolment(door: Door) -> None:
    @door.public("/enrolment", "POST")
    def begin(stranger: Anybody, body: Begun) -> dict[str, Any]:
        """With an invitation: choose a password, and be offered a second factor to set up."""
        offered = stranger.services.enrolment.begin(body.invitation, body.password)
        return shown_factor(offered, qr=body.qr)

    @door.public("/enrolment/confirmation", "POST")
    def confirm(stranger: Anybody, body: Confirmation, response: Response) -> dict[str, Any]:
        """Confirm the second factor with a code of it. Answers recovery codes, this once, and a session."""
        if body.cookie:  # nobody is signed in to somebody else's account by a page of theirs
            check_own_site(stranger.request)
        visitor = msgspec.structs.replace(stranger.visitor, device=body.device or stranger.visitor.device)
        confirmed = stranger.services.enrolment.confirm(body.invitation, body.code, visitor)
        if body.cookie:
            end_replaced(stranger)
        signed_in = confirmed.signed_in
        answer = started(stranger.services, signed_in.started, response, cookie=body.cookie, device=signed_in.device)
        return {**answer, "recovery_codes": confirmed.recovery_codes}


def _one(call: Call, arguments: dict[str, Any]) -> Any:
    return person_resource(call.services.access, arguments["user_id"])


def _resetting(call: Call, arguments: dict[str, Any]) -> Any:
    return reset_resource(call.services.access, arguments["user_id"], now=call.services.clock.now())


def _asked(call: Call, arguments: dict[str, Any]) -> Any:
    return _request(call, arguments).resource()


def _request(call: Call, arguments: dict[str, Any]) -> PersonRequest:
    return person_request(
        arguments["name"],
        role=arguments["role"],
        scope=arguments["on"],
        now=call.services.clock.now(),
        life=parse_duration(arguments["life"]),
        environment=arguments["environment"],
    )


def _stated(call: Call) -> str:
    if not call.reason:
        raise InputError("Say why: a reset of somebody's factors goes on record with its reason.", code="no-reason")
    return stated_reason(call.reason)


def _shown(call: Call, user_id: str) -> dict[str, Any]:
    services = call.services
    person_id = services.access.snapshot.people_by_name.get(user_id, user_id)
    person = services.access.snapshot.people.get(person_id) or find_person(services.access, user_id)
    shown: dict[str, Any] = plain(describe_person(services.access, person, now=services.clock.now()))
    return shown


def _code(made: Invitation) -> dict[str, Any]:
    return {"id": made.person, "name": made.name, "invitation": made.code, "expires_at": made.expires_at}
