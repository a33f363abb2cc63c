"""`casemate deploy`, `casemate rollback`, `casemate deployment ...`."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import click

from casemate.cli import output
from casemate.cli.output import json_option
from casemate.cli.session import Session, pass_session
from casemate.core import Environment, Profile

_reason = click.option("--reason", default="", help="Why; it goes into the audit log.")


@click.command()
@click.argument("name", metavar="DEPLOYMENT")
@click.argument("model", metavar="MODEL[@VERSION]")
@click.option(
    "--profile",
    type=click.Choice([one.value for one in Profile]),
    help="How strictly it is guarded.  [default: as before, or standard]",
)
@click.option(
    "--environment", "--env", type=click.Choice([one.value for one in Environment]), help="[default: as before, or dev]"
)
@_reason
@json_option
@pass_session
def deploy(
    session: Session, name: str, model: str, profile: str | None, environment: str | None, reason: str, as_json: bool
) -> None:
    """Serve an approved model version under DEPLOYMENT, without losing a request."""
    with session.client() as casemate, output.working(f"deploying {model} as {name}"):
        result = casemate.deploy(name, model, profile=profile, environment=environment, reason=reason)
    output.show(result, as_json, lambda value: _switched(value, served=session.served()))


@click.command()
@click.argument("name", metavar="DEPLOYMENT")
@_reason
@json_option
@pass_session
def rollback(session: Session, name: str, reason: str, as_json: bool) -> None:
    """Serve the version before this one again, once it has been verified again."""
    with session.client() as casemate, output.working(f"rolling {name} back"):
        result = casemate.rollback(name, reason=reason)
    output.show(result, as_json, lambda value: _switched(value, served=session.served()))


@click.group()
def deployment() -> None:
    """What is served, and its history."""


@deployment.command("list")
@json_option
@pass_session
def list_deployments(session: Session, as_json: bool) -> None:
    """All deployments."""
    with session.client() as casemate:
        rows = casemate.deployments()
    columns = {key: key for key in ("name", "model", "version", "profile", "environment", "state", "since")}
    columns |= {"why": "why"} if any("why" in row for row in rows) else {}
    empty = "Nothing is deployed: casemate deploy DEPLOYMENT MODEL@VERSION"
    output.show(rows, as_json, lambda value: output.table(value, columns, empty=empty))


@deployment.command("show")
@click.argument("name", metavar="DEPLOYMENT")
@json_option
@pass_session
def show_deployment(session: Session, name: str, as_json: bool) -> None:
    """One deployment with its history, which is the list that rollback walks."""
    with session.client() as casemate:
        output.show(casemate.deployment(name), as_json, output.facts)


@deployment.command("pause")
@click.argument("name", metavar="DEPLOYMENT")
@_reason
@json_option
@pass_session
def pause(session: Session, name: str, reason: str, as_json: bool) -> None:
    """Answer no request until it is resumed."""
    with session.client() as casemate:
        output.show(casemate.pause(name, reason=reason), as_json, _paused)


@deployment.command("resume")
@click.argument("name", metavar="DEPLOYMENT")
@_reason
@json_option
@pass_session
def resume(session: Session, name: str, reason: str, as_json: bool) -> None:
    """Answer requests again."""
    with session.client() as casemate:
        output.show(casemate.resume(name, reason=reason), as_json, _now("resumed"))


def _switched(result: dict[str, Any], *, served: bool) -> None:
    before = f" (before: {result['previous']})" if result["previous"] else ""
    when = "serves" if served else "is verified, and will serve when `casemate up` runs:"
    output.say(f"{result['name']} {when} version {result['version']}{before}.")


def _paused(result: dict[str, Any]) -> None:
    _now("paused")(result)
    if not result["confirmed"]:
        output.say("The gateway has not confirmed it yet: it stops as soon as it reads the record.")


def _now(verb: str) -> Callable[[dict[str, Any]], None]:
    return lambda result: output.say(f"{result['name']} is {verb}, at version {result['version']}.")
