"""A command line that is signed in from a browser: the person hands over in the browser, the command fetches its session."""

from typing import Annotated, Any

import msgspec
from fastapi import Response
from pydantic import BaseModel, ConfigDict, StringConstraints

from casemate.console.callers import Anybody, Call, Caller
from casemate.console.door import Door
from casemate.console.session_routes import started
from casemate.core import Action, InputError, Resource
from casemate.iam import CommandLine, hand_over, redeem_command

Secret = Annotated[str, StringConstraints(max_length=512)]


class _Body(BaseModel):
    model_config = ConfigDict(extra="forbid", strict=True, hide_input_in_errors=True)


class WaitingCommand(_Body):
    """`challenge`: S256 of what the command alone has. `port`: where it waits, on the person's own machine."""

    challenge: Secret
    port: int


class CommandTicket(_Body):
    """`verifier`: what the command alone has."""

    ticket: Secret
    verifier: Secret
    device: Secret = ""


def declare(door: Door) -> None:
    """The routes under /session/command."""

    @door.change("POST", "/session/command", Action.USER_UPDATE, about=_myself)
    def hand(call: Caller, body: WaitingCommand) -> dict[str, Any]:
        """Let a command line act as you: where the browser must bring its ticket. From a page of ours alone."""
        if not call.by_cookie:
            raise InputError("A browser in which you are signed in lets a command line in.", code="no-browser")
        command = CommandLine(challenge=body.challenge, port=body.port)
        ticket = hand_over(call.services.sign_in, call.principal, command)
        return {"url": command.address(ticket)}

    @door.public("/session/command-ticket", "POST")
    def redeem(stranger: Anybody, body: CommandTicket, response: Response) -> dict[str, Any]:
        """The session of a command line, for the ticket that the browser brought it and its verifier."""
        visitor = msgspec.structs.replace(stranger.visitor, device=body.device or stranger.visitor.device)
        made = redeem_command(stranger.services.sign_in, body.ticket, body.verifier, visitor)
        return started(stranger.services, made.started, response, cookie=False, device=made.device)


def _myself(call: Call, _: dict[str, Any]) -> Resource:
    return Resource("user", call.principal.id, attributes={"holder": call.principal.id})
