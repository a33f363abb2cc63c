"""Deployments: deploy, roll back, pause, resume, show."""

from typing import Any

from casemate.console.asset_routes import plain
from casemate.console.door import Call, Caller, Door
from casemate.core import Action, Environment, Profile, Resource, parse_ref


def declare(door: Door) -> None:
    """The routes under /deployments."""

    @door.read("/deployments", Action.DEPLOYMENT_READ)
    def deployments(call: Caller) -> dict[str, Any]:
        """All deployments."""
        return plain({"items": call.services.deployments.newest(), "next": None})

    @door.read("/deployments/{name}", Action.DEPLOYMENT_READ)
    def show(call: Caller, name: str) -> dict[str, Any]:
        """One deployment with its history."""
        return plain(call.services.deployments.show(name))

    @door.change("PUT", "/deployments/{name}", Action.DEPLOYMENT_DEPLOY, about=_wanted)
    def deploy(
        call: Caller, name: str, model: str, profile: Profile | None = None, environment: Environment | None = None
    ) -> dict[str, Any]:
        """Serve a model version; answers when it serves."""
        return plain(
            call.services.deployments.deploy(
                name,
                parse_ref(model),
                actor=call.principal,
                intent=call.intent,
                profile=profile,
                environment=environment,
                reason=call.reason,
            )
        )

    @door.change("POST", "/deployments/{name}/rollback", Action.DEPLOYMENT_ROLLBACK, about=_standing)
    def rollback(call: Caller, name: str) -> dict[str, Any]:
        """Serve the version before this one again."""
        services = call.services
        return plain(services.deployments.rollback(name, actor=call.principal, intent=call.intent, reason=call.reason))

    @door.change("POST", "/deployments/{name}/pause", Action.DEPLOYMENT_PAUSE, about=_standing)
    def pause(call: Caller, name: str) -> dict[str, Any]:
        """Answer no request until it is resumed."""
        services = call.services
        return plain(services.deployments.pause(name, actor=call.principal, intent=call.intent, reason=call.reason))

    @door.change("POST", "/deployments/{name}/resume", Action.DEPLOYMENT_PAUSE, about=_standing)
    def resume(call: Caller, name: str) -> dict[str, Any]:
        """Answer requests again."""
        services = call.services
        return plain(services.deployments.resume(name, actor=call.principal, intent=call.intent, reason=call.reason))


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
    environment = arguments["environment"] or standing.environment
    profile = arguments["profile"] or standing.attributes["profile"]
    return Resource("deployment", standing.name, environment=environment, attributes={"profile": str(profile)})
