"""Deployments: deploy, roll back, pause, resume, show."""

from typing import Any

import msgspec

from casemate.console.asset_routes import plain
from casemate.console.callers import Call, Caller
from casemate.console.data_asked import class_of_model, is_described, is_evaluated
from casemate.console.door import Door
from casemate.console.places import Long
from casemate.core import Action, Environment, Profile, Ref, Resource, checked_digest, parse_ref


def declare(door: Door) -> None:
    """The routes under /deployments."""

    @door.read("/deployments", Action.DEPLOYMENT_READ)
    def deployments(call: Caller) -> dict[str, Any]:
        """All deployments."""
        return plain({"items": call.services.observed(call.services.deployments.newest()), "next": None})

    @door.read("/deployments/{name}", Action.DEPLOYMENT_READ)
    def show(call: Caller, name: str) -> dict[str, Any]:
        """One deployment with its history."""
        return plain(call.services.observed([call.services.deployments.show(name)])[0])

    @door.change("PUT", "/deployments/{name}", Action.DEPLOYMENT_DEPLOY, about=_wanted, long=Long.SWITCH)
    def deploy(
        call: Caller, name: str, model: str, profile: Profile | None = None, environment: Environment | None = None
    ) -> dict[str, Any]:
        """Serve a model version; answers when it serves."""
        return plain(
            call.services.deployments.deploy(
                name,
                _decided_on(call, parse_ref(model)),
                actor=call.principal,
                intent=call.intent,
                profile=profile,
                environment=environment,
                decided=_decided(call),
                reason=call.reason,
            )
        )

    @door.change(
        "POST", "/deployments/{name}/rollback", Action.DEPLOYMENT_ROLLBACK, about=_returning, long=Long.ROLLBACK
    )
    def rollback(call: Caller, name: str) -> dict[str, Any]:
        """Serve the version before this one again."""
        digest = call.decided.attributes.get("digest")
        only = checked_digest(str(digest)) if digest else None
        return plain(call.services.deployments.rollback(name, only=only, **_told(call)))

    @door.change("POST", "/deployments/{name}/pause", Action.DEPLOYMENT_PAUSE, about=_standing, urgent=True)
    def pause(call: Caller, name: str) -> dict[str, Any]:
        """Answer no request until it is resumed."""
        return plain(call.services.deployments.pause(name, **_told(call)))

    @door.change("POST", "/deployments/{name}/resume", Action.DEPLOYMENT_PAUSE, about=_standing, long=Long.SWITCH)
    def resume(call: Caller, name: str) -> dict[str, Any]:
        """Answer requests again."""
        return plain(call.services.deployments.resume(name, **_told(call)))


def _told(call: Call) -> dict[str, Any]:
    return {"actor": call.principal, "intent": call.intent, "decided": _decided(call), "reason": call.reason}


def _decided(call: Call) -> tuple[Environment, Profile]:
    """What the gate decided on. A change may wait for another one of the same name, and finds it otherwise then."""
    environment = call.decided.environment
    assert environment is not None, "both questions below state one"
    return environment, Profile(str(call.decided.attributes["profile"]))


def _standing(call: Call, arguments: dict[str, Any]) -> Resource:
    """A deployment as it stands; what does not exist yet would be `standard` in `dev`."""
    name = arguments["name"]
    known = call.services.deployments.all().get(name)
    environment = known.environment if known else Environment.DEV
    profile = known.profile if known else Profile.STANDARD
    return Resource("deployment", name, environment=environment, attributes={"profile": profile.value})


def _wanted(call: Call, arguments: dict[str, Any]) -> Resource:
    """A deployment as it would be."""
    standing = _standing(call, arguments)
    environment = arguments["environment"] or standing.environment or Environment.DEV
    profile = arguments["profile"] or standing.attributes["profile"]
    approved = _approval(call, arguments["model"], environment) if arguments["model"] else {}
    attributes: dict[str, str | int | bool] = {"profile": str(profile), **approved}
    if arguments["model"]:
        ref = parse_ref(arguments["model"])
        attributes |= _told_of(call, ref)
    return Resource("deployment", standing.name, environment=environment, attributes=attributes)


def _returning(call: Call, arguments: dict[str, Any]) -> Resource:
    """A deployment as a rollback would leave it."""
    standing = _standing(call, arguments)
    known = call.services.deployments.all().get(standing.name)
    if known is None or not known.earlier or standing.environment is None:
        return standing
    target = known.earlier[0]
    ref = Ref(target.name, target.digest, target.project)
    approved = _approval(call, str(ref), standing.environment)
    told = {**standing.attributes, **approved, **_told_of(call, ref)}
    return msgspec.structs.replace(standing, attributes=told)


def _told_of(call: Call, ref: Ref) -> dict[str, str | int | bool]:
    """What is known of a version that would serve."""
    return {
        "data_class": class_of_model(call, ref),
        "card_complete": is_described(call, ref),
        "evaluated": is_evaluated(call, ref),
    }


def _approval(call: Call, model: str, environment: Environment) -> dict[str, str | int | bool]:
    """Exactly which version it is, and whether a person approved it: what is decided on is what is done."""
    deployments, access = call.services.deployments, call.services.access
    digest, approved = deployments.human_approval(parse_ref(model), environment, access.is_person)
    return {"digest": digest, "human_approved": approved} if digest else {"human_approved": False}


def _decided_on(call: Call, ref: Ref) -> Ref:
    """The version that the gate decided on, by its digest, whatever a tag means by now."""
    digest = call.decided.attributes.get("digest")
    return msgspec.structs.replace(ref, version=checked_digest(str(digest))) if digest else ref
