"""The guards of each deployment, prepared once per version instead of once per request."""

from __future__ import annotations

from dataclasses import dataclass, replace

from casemate.core import Environment, Profile, Resource
from casemate.gateway.interface import Deployments, ServedModel
from casemate.gateway.limits import Slots
from casemate.gateway.profiles import ProfileRules, rules_of
from casemate.guardrails import InputReader, OutputHardener, RangeScreen


@dataclass(frozen=True, slots=True, kw_only=True)
class Deployed:
    """What is served, and the guards fitted to that version."""

    served: ServedModel
    rules: ProfileRules
    reader: InputReader
    ranges: RangeScreen
    hardener: OutputHardener
    slots: Slots
    resource: Resource
    resource_text: str


class DeployedModels:
    """What is served, with its guards. As many entries as there are deployments."""

    def __init__(self, deployments: Deployments) -> None:
        self._source = deployments
        self._prepared: dict[str, Deployed] = {}

    def recorded(self, name: str) -> Resource | None:
        """What is on record under `name`, served or not."""
        return self._source.recorded(name)

    def current(self, name: str) -> Deployed | None:
        """What deployment `name` serves now; None when there is none.

        Raises: StorageError, VerificationError: its record is not one that may be served.
        """
        served = self._source.current(name)
        if served is None:
            self._prepared.pop(name, None)
            return None
        prepared = self._prepared.get(name)
        if prepared is None or not _same(prepared.served, served):
            prepared = self._prepared[name] = _prepared(served)
        elif prepared.served is not served:  # paused or resumed, say: the guards stay, and what they count
            prepared = self._prepared[name] = replace(prepared, served=served)
        return prepared


def deployment_resource(name: str, project: str, environment: Environment, profile: Profile) -> Resource:
    """A deployment as policies see it."""
    return Resource("deployment", name, project, environment, {"profile": profile.value})


def _same(one: ServedModel, other: ServedModel) -> bool:
    """Whether the guards of one fit the other."""
    return one is other or (
        one.digest == other.digest
        and one.version == other.version
        and one.profile is other.profile
        and one.environment is other.environment
        and one.project == other.project
        and one.signature == other.signature
    )


def _prepared(served: ServedModel) -> Deployed:
    rules = rules_of(served.profile, served.environment)
    resource = deployment_resource(served.name, served.project, served.environment, served.profile)
    return Deployed(
        served=served,
        rules=rules,
        reader=InputReader(served.signature, max_rows=rules.max_rows),
        ranges=RangeScreen(served.signature),
        hardener=OutputHardener(served.signature, rules.precision),
        slots=Slots(rules.max_in_flight, f"Deployment {served.name!r}"),
        resource=resource,
        resource_text=str(resource),
    )
