"""Writes docs/access.md from the routes, the commands and the policies. Run it after a change: python docs/access.py"""

from __future__ import annotations

import inspect
import re
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from functools import cache
from itertools import product
from pathlib import Path

import click
import httpx
from click.testing import CliRunner

from casemate.cli import cli
from casemate.cli.session import Session
from casemate.client import Casemate
from casemate.console import build_door
from casemate.core import Action, Environment, Principal, PrincipalKind, Profile, Resource, Role
from casemate.gateway import ROUTES, Access
from casemate.iam import FRESH, Policies

PAGE = Path(__file__).with_name("access.md")
SOMEBODY = Principal(id="svc_somebody", kind=PrincipalKind.SERVICE, name="somebody")
POLICIES = Policies()
DOOR = build_door()

OTHER = "svc_other"

PLAIN = {
    "ci": False,
    "data_class": "internal",
    "lowers_class": False,
    "purpose_allowed": True,
    "local": True,
    "card_complete": True,
    "evaluated": True,
}

# Every value of every fact that a policy may look at; that somebody is `authenticated` is so wherever they have a role.
FACTS = (
    *(
        (
            environment,
            {"pushed_by": whose, "holder": whose, "reviewed": whose, "profile": profile.value, "role": "caller"}
            | PLAIN,
        )
        for environment, whose, profile in product(Environment, (OTHER, SOMEBODY.id), Profile)
    ),
    *(  # a key or a grant of another role than a caller's
        (
            Environment.DEV,
            {"pushed_by": OTHER, "holder": OTHER, "reviewed": OTHER, "profile": "standard", "role": role.value} | PLAIN,
        )
        for role in Role
    ),
    *(  # a CI job, where nothing else stands against it
        (
            Environment.DEV,
            {"pushed_by": OTHER, "holder": OTHER, "reviewed": OTHER, "profile": "standard", "role": "caller"}
            | PLAIN
            | robot,
        )
        for robot in ({"ci": True}, {"ci": True, "human_approved": True})
    ),
    *(  # data that not everybody may do everything with, and who does not sit at the home's own machine
        (
            Environment.DEV,
            {"pushed_by": OTHER, "holder": OTHER, "profile": "standard", "role": "caller"} | PLAIN | other,
        )
        for other in (
            {"data_class": "health"},
            {"lowers_class": True},
            {"purpose_allowed": False},
            {"local": False},
            {"local": False, "pushed_by": SOMEBODY.id},
        )
    ),
)


@dataclass(frozen=True)
class Cell:
    """What a role may do: `may` always or never, or, where `policies` are named, on their condition."""

    may: bool
    policies: tuple[str, ...] = ()

    def __str__(self) -> str:
        if self.policies:
            return "if " + ", ".join(f"[{name}](#{name})" for name in self.policies)
        return "yes" if self.may else "-"


@cache
def cell(role: Role, action: Action) -> Cell:
    """The policies' answer for `role`, asked with every combination of facts."""
    kind = action.partition(":")[0]
    answers = [
        POLICIES.decide(
            SOMEBODY,
            action,
            Resource(kind, "example", environment=environment, attributes=facts),
            roles=frozenset({role}),
            context={"authenticated": True, "fresh": True},
        )
        for environment, facts in FACTS
    ]
    allowed = {name for answer in answers if answer.allowed for name in answer.policies}
    by_role = any(answer.allowed for answer, (_, facts) in zip(answers, FACTS, strict=True) if facts["holder"] == OTHER)
    assert by_role == (role in POLICIES.roles_for(action)), "the two ways to ask agree"
    if not allowed:
        return Cell(may=False)
    forbids = {name for answer in answers if not answer.allowed for name in answer.policies}
    partly = not all(answer.allowed or answer.policies for answer in answers)
    return Cell(may=True, policies=tuple(sorted(forbids | (allowed if partly else set()))))


# Commands --------------------------------------------------------------------------------------------------------

_HOME = {"model convert": ("--push", "thing")}  # what has a command ask the home that does without one, too
_WORDS = ("thing@1", "thing", "key_" + "0" * 32, "deployment:read")


class Recording(Session):
    """A session whose control plane notes what it is asked and refuses."""

    asked: tuple[tuple[str, str], ...] = ()

    @contextmanager
    def client(self, *, anonymous: bool = False) -> Iterator[Casemate]:
        del anonymous
        with Casemate(server=self.server, key="cm_example") as casemate:
            transport = httpx.MockTransport(self._note)
            casemate._connection.http = httpx.Client(base_url=self.server, transport=transport)  # noqa: SLF001
            yield casemate

    def _note(self, request: httpx.Request) -> httpx.Response:
        object.__setattr__(self, "asked", (*self.asked, (request.method, request.url.path)))
        problem = {"family": "PolicyError", "code": "forbidden", "detail": "Refused."}
        return httpx.Response(403, json=problem)


def commands(group: click.Group = cli, prefix: str = "") -> Iterator[tuple[str, click.Command]]:
    for name, command in group.commands.items():
        if isinstance(command, click.Group):
            yield from commands(command, f"{prefix}{name} ")
        else:
            yield prefix + name, command


def is_local(command: click.Command) -> bool:
    """Whether it never speaks to a control plane."""
    assert command.callback is not None
    return "client" not in inspect.unwrap(command.callback).__code__.co_names


@cache
def verbs() -> dict[tuple[str, str], tuple[str, ...]]:
    """The commands that ask each route, as they do it when they are run."""
    found: dict[tuple[str, str], tuple[str, ...]] = {}
    for name, command in commands():
        if not is_local(command):
            route = _route_of(name, command)
            found[route] = (*found.get(route, ()), name)
    return found


def _route_of(name: str, command: click.Command) -> tuple[str, str]:
    with tempfile.TemporaryDirectory() as folder:
        file = Path(folder) / "thing.onnx"
        file.write_text("x = 1\n")  # a script, and a settings file
        for words in sorted(product(_WORDS, repeat=4), key=lambda words: len(set(words))):
            session = Recording(home=None, server="https://example", ca="", insecure_no_sandbox=False)
            CliRunner().invoke(
                command, [*_typed(command, Path(folder), words), *_HOME.get(name, ())], obj=session, input="typed\n" * 6
            )
            if session.asked:
                method, path = session.asked[0]
                return next(route for route in DOOR.actions if route[0] == method and _fits(route[1], path))
    raise AssertionError(f"{name} asked for nothing: give this script a word that it takes")


def _typed(command: click.Command, folder: Path, words: tuple[str, ...]) -> Iterator[str]:
    """What a person types: each argument, and each option that must be there."""
    free = iter(words)
    for part in command.params:
        if isinstance(part, click.Option) and not part.required:
            continue
        if isinstance(part, click.Option):
            yield part.opts[0]
        if isinstance(part.type, click.Choice):
            yield str(part.type.choices[0])
        elif isinstance(part.type, click.Path):
            yield str(folder / ("new" if part.name == "to" else "thing.onnx"))
        else:
            yield next(free)


def _fits(template: str, path: str) -> bool:
    return re.fullmatch(re.sub(r"\{\w+\}", r"[^/]+", template), path) is not None


# The page --------------------------------------------------------------------------------------------------------


def page() -> str:
    """The whole of docs/access.md."""
    return f"""# Who may do what

This page is written by `python docs/access.py` from the routes, the commands and the policies; a test fails when it is out of
date, and another tries every cell over HTTP. Where a key is named, a token, a certificate or a client's own key does as well: [services](services.md).

## Ask
```sh
casemate access explain web deployment:predict deployment:diagnosis      # allowed or denied now, and why; exit 1 if denied
casemate access explain ci model:approve model:risk@1 --environment production
casemate access explain ops key:issue key --role owner --expires 30d
casemate access explain ops grant:approve grant:grt_01a20c08c59c7a...     # a grant or request by its id
casemate access explain ada dataset:export dataset:claims@3 --address 10.1.2.3 --at 2026-12-24T20:00:00Z --data-class health
casemate access report --format html > access.html                       # or table, csv, json
```

`explain` takes `local`, the name of a key's service, or the id of a key or service. It gives the decision that the gate would
make (with `--address`, `--at`, `--data-class`, `--purpose`: if it came from there, then, or the data were of that class), on the resource that the route itself would ask about, with the grants and policies behind it; when denied, what is
missing and the next step. For a rotation it covers all that the new secret would open. Asking is an action of its own, `access:read`, and is recorded. What a decision does not cover: an
action that is allowed can still fail, as when a version was never approved.

`report` has a row for each grant and each key that uses it, ended ones included: who, what, since when, until when, granted by
whom, why, last used (the newest event in the audit log with that key, or never), and in which state.

## Roles
A role comes from a grant: principal, role, scope, environment, reason, expiry. It counts where the scope covers the resource.
{_roles()}

## Conditions
{_conditions()}

## A fresh second factor
A person in a session may do these only within {int(FRESH.total_seconds() / 60)} minutes of their last second factor, whatever a cell says
(policy `step-up`; 401 with `insufficient_user_authentication`, RFC 9470): {_stepped_up()}. A key of a service is not asked. More: [people](people.md).

## Control plane
`yes`: always. `-`: never (403). `if`: on the condition of that policy. Without a key: 401. A route that names no single thing needs
a grant on `*`, save for one's own grants. Nobody issues or rotates a key, or lends a role, for longer than their own key and
grants live. Training needs `dataset:export`, since its script can print every row; `explain` tells of each action apart.

{_table(_control())}

These commands act on this machine and ask no route: {", ".join(f"`{name}`" for name, one in commands() if is_local(one))}.
`/api/openapi.json` describes the routes and needs nobody.

## Data plane
{_table(_data())}
"""


def _stepped_up() -> str:
    """The actions that an owner is refused for want of a fresh second factor, and not otherwise."""
    facts = {"pushed_by": OTHER, "holder": OTHER, "profile": "standard", "role": "owner"} | PLAIN

    def refusing(action: Action) -> tuple[str, ...]:
        resource = Resource(action.partition(":")[0], "example", environment=Environment.DEV, attributes=facts)
        return POLICIES.decide(SOMEBODY, action, resource, roles=frozenset({Role.OWNER})).policies

    caller = f"`{Action.KEY_ISSUE}` and `{Action.KEY_ROTATE}` (but of a caller's key)"
    named = [f"`{one}`" for one in Action if refusing(one) == ("step-up",)]
    return (
        ", ".join(one for one in named if one.strip("`") not in (Action.KEY_ISSUE, Action.KEY_ROTATE)) + f", {caller}"
    )


def _roles() -> str:
    """A role's own policy bears its name."""
    return "\n".join(f"- **{role}**: {POLICIES.comment(role)}" for role in Role)


def _conditions() -> str:
    named = sorted({name for role, action in product(Role, Action) for name in cell(role, action).policies})
    return "\n".join(f'- <a id="{name}"></a>**{name}**: {POLICIES.comment(name)}' for name in named)


def _table(rows: Iterator[tuple[str, ...]]) -> str:
    head = ("route", "command", "action", *(role.value for role in Role))
    lines = [head, ("---",) * len(head), *rows]
    return "\n".join("| " + " | ".join(line) + " |" for line in lines)


def _control() -> Iterator[tuple[str, ...]]:
    for (method, path), action in DOOR.actions.items():
        typed = ", ".join(f"`{name}`" for name in verbs().get((method, path), ()))
        asked, *cells = _cells(action)
        also = "".join(map(_also, DOOR.also.get((method, path), ())))
        yield (f"`{method} {path.removeprefix('/api/v1')}`", typed, asked + also, *cells)


def _also(action: Action) -> str:
    what = {
        "dataset:": " on the dataset named",
        "model:ex": " on the model named",
        "model:re": " on the model named",
        "issuer:b": " where keys are given",
    }
    return f", and `{action}`" + what.get(action[:8], "")


def _data() -> Iterator[tuple[str, ...]]:
    for route in ROUTES:
        if isinstance(route.access, Action):
            yield (f"`{route.method} {route.path}`", "", *_cells(route.access))
        elif route.access is Access.PUBLIC:
            yield (f"`{route.method} {route.path}`", "", *_cells(None))
        else:
            needs = "any key" if route.access is Access.KEY else "what proves a service"
            yield (f"`{route.method} {route.path}`", "", needs, *("yes" for _ in Role))


def _cells(action: Action | None) -> tuple[str, ...]:
    if action is None:
        return ("needs nobody", *("yes" for _ in Role))
    return (f"`{action}`", *(str(cell(role, action)) for role in Role))


if __name__ == "__main__":
    PAGE.write_text(page())
