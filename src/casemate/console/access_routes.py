"""Who may do what, and why: one question explained, and a report of all access."""

import inspect
import re
from dataclasses import replace
from datetime import UTC, datetime
from typing import Any

import msgspec

from casemate.auditlog import networks_seen
from casemate.console.asset_routes import plain
from casemate.console.callers import Call, Caller
from casemate.console.door import Door, Question, UndecidedError
from casemate.core import (
    Action,
    AssetKind,
    Environment,
    InputError,
    Principal,
    Profile,
    Resource,
    checked_data_class,
    checked_name,
    parse_ref,
    without_secrets,
)
from casemate.iam import access_report, explain, find_principal, opened_by, plain_address
from casemate.iam.sessions import as_session

_PART = re.compile(r"\{(\w+)\}")
# Of what would be made, where it is not said.
_FACTS = {"name": "example", "provider": "file", "role": "caller", "on": "*", "life": "1h"}
_REASON = "asked of access explain"  # where the route wants one before it asks the gate

_NETWORKS = 8  # that a row of the report names
_LOOKED_AT = 500  # newest entries of each principal that the report looks for them in


def declare(door: Door) -> None:
    """The routes under /access."""

    @door.read("/access/explain", Action.ACCESS_READ, about=_asked)
    def explained(
        call: Caller,
        principal: str,
        action: str,
        resource: str,
        environment: Environment | None = None,
        profile: Profile | None = None,
        role: str = "",
        deployment: str = "",
        expires: str = "",
        dataset: str = "",
        data_class: str = "",
        purpose: str = "",
        address: str = "",
        at: str = "",
    ) -> dict[str, Any]:
        """What the gate would decide now, or `at` a time and from an `address`, by which policy and grant, and what is missing. Asks, and does nothing."""
        services = call.services
        if without_secrets(resource) != resource:
            raise InputError("This is a secret itself: name what it is of by its id.", code="bad-id")
        who = find_principal(services.access, principal, now=services.clock.now())
        who = _in_session(call, who)
        facts = {
            "environment": environment,
            "profile": profile,
            "role": role,
            "deployment": deployment,
            "expires": expires,
            "data_class": checked_data_class(data_class) if data_class else "",
            "dataset": dataset,
            "purpose": purpose,
        }
        if address and not plain_address(address):
            raise InputError(f"{address[:40]!r} is no IP address.", code="bad-address")
        supposed = _instant(at) if at else None
        stated = {name: value for name, value in facts.items() if value}
        asking = replace(call, principal=who, reason=_REASON)
        what = _asked_of_the_gate(door, asking, _action(action), resource, stated)
        said = [
            explain(services.authorizer, who, _action(action), one, address=address, supposed=supposed)
            for one in (_supposed(what, data_class), *_opened(call, action, what))
        ]
        return plain(next((one for one in said if not one.allowed), said[0]))

    @door.read("/access/report", Action.ACCESS_READ)
    def report(call: Caller) -> dict[str, Any]:
        """Who has access to what, since when, until when, granted by whom, why, and when it was last used."""
        services = call.services

        def networks(actor: str, credential: str) -> tuple[str, ...]:
            seen = networks_seen(services.log.engine, actor, credential, newest=_LOOKED_AT)
            return tuple(one.network for one in seen)[:_NETWORKS]

        rows = access_report(
            services.access,
            now=services.clock.now(),
            last_use=services.log.last_use,
            networks=networks,
            sessions=lambda person: services.sessions.of(person, now=services.clock.now()),
        )
        return plain({"at": services.clock.now(), "items": list(rows), "next": None})


def _in_session(call: Call, who: Principal) -> Principal:
    """A person with the roles that their groups at a provider brought to their newest session, though without its freshness."""
    services = call.services
    live = services.sessions.of(who.id, now=services.clock.now()) if who.id in services.access.snapshot.people else []
    brought = [one for one in live if one.brought]
    return msgspec.structs.replace(as_session(who, brought[-1]), verified_at=None) if brought else who


def _asked(_: Call, arguments: dict[str, Any]) -> Resource:
    """The record says what was asked, as it was typed: whether it exists is only for those who may ask."""
    asked = {f"asked_{name}": arguments[name][:80] for name in ("principal", "action", "resource")}
    return Resource("access", attributes=asked)


def _instant(text: str) -> datetime:
    try:
        found = datetime.fromisoformat(text)
    except ValueError as error:
        raise InputError(
            f"at {text[:40]!r} is no time: write it as in 2026-01-31T00:00:00Z.", code="bad-time"
        ) from error
    return (found if found.tzinfo else found.replace(tzinfo=UTC)).astimezone(UTC)


def _supposed(resource: Resource, data_class: str) -> Resource:
    """The resource as if its data were of another class."""
    if not data_class:
        return resource
    return msgspec.structs.replace(resource, attributes={**resource.attributes, "data_class": data_class})


def _action(text: str) -> Action:
    if text not in set(Action):
        kind = text.partition(":")[0]
        like = [one.value for one in Action if one.startswith(f"{kind}:")] or [one.value for one in Action]
        raise InputError(f"action {text[:40]!r} is not one of {', '.join(like)}.", code="bad-action")
    return Action(text)


def _asked_of_the_gate(door: Door, call: Call, action: Action, text: str, facts: dict[str, Any]) -> Resource:
    """The resource that the route of `action` would put before the gate, made by that route's own function."""
    kind, _, name = text.partition(":")
    if kind != action.partition(":")[0]:
        wanted = action.partition(":")[0]
        raise InputError(f"{action} acts on a {wanted}: write {wanted} or {wanted}:NAME.", code="bad-resource")
    name, version = _named(kind, name)
    if action is Action.DEPLOYMENT_PREDICT:
        return _served(call, name)
    question = _question(door.questions[action], action, kind, name)
    given = {**facts, **({"name": name} if name else {}), "version": version, **_lent(facts)}
    parts = dict.fromkeys(_PART.findall(question.path), name)
    try:
        return question.about(call, _arguments(question, {**given, **parts, "version": version}))
    except UndecidedError as undecided:
        raise undecided.error from undecided


def _opened(call: Call, action: str, decided: Resource) -> list[Resource]:
    """What the route puts before the gate after that: a rotation must be allowed for all that the new secret opens."""
    if action != Action.KEY_ROTATE or "expires_at" not in decided.attributes:
        return []
    services = call.services
    return opened_by(services.access, decided.name, decided=decided, now=services.clock.now())


def _named(kind: str, name: str) -> tuple[str, str]:
    """Name and version, checked as the routes check them."""
    if not name:
        return "", ""
    if kind in set(AssetKind):
        ref = parse_ref(name)
        return ref.name, str(ref.version or "latest")
    return (checked_name(name), "") if kind == "deployment" else (name[:80], "")


def _question(routes: list[Question], action: Action, kind: str, name: str) -> Question:
    """The route that a request about this would take. One that names nothing is about the whole kind."""
    for question in routes:
        if bool(name) == bool(_PART.search(question.path)):
            return question
    if not name:
        raise InputError(f"{action} acts on one {kind}: write {kind}:NAME.", code="bad-resource")
    return routes[0]


def _lent(facts: dict[str, Any]) -> dict[str, str]:
    """A grant that is asked for, in the words of its own route."""
    lent = {"on": f"deployment:{facts['deployment']}"} if "deployment" in facts else {}
    return lent | ({"life": facts["expires"]} if "expires" in facts else {})


def _arguments(question: Question, given: dict[str, Any]) -> dict[str, Any]:
    """The handler's arguments: what is given, else its own default, else an example."""
    names = inspect.signature(question.handler).parameters
    known = {name: part.default for name, part in names.items() if part.default is not part.empty}
    return {name: given.get(name, known.get(name, _FACTS.get(name, ""))) for name in names}


def _served(call: Call, name: str) -> Resource:
    """What the gateway asks about for a prediction: the deployment as it stands, or the bare name of an unknown one."""
    if not name:
        raise InputError("deployment:predict acts on one deployment: write deployment:NAME.", code="bad-resource")
    known = call.services.deployments.all().get(name)
    if known is None:
        return Resource("deployment", name)
    return Resource("deployment", name, environment=known.environment, attributes={"profile": known.profile.value})
