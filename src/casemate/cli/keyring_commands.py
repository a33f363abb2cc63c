"""`casemate keys ...`: the keys that wrap every data key of the home. API keys are `casemate key`."""

from __future__ import annotations

import sys
from typing import Any

import click

from casemate.cli import output
from casemate.cli.home_commands import setting_pair
from casemate.cli.output import json_option
from casemate.cli.session import Session, pass_session
from casemate.client import Casemate
from casemate.keys import SIGNERS


@click.group()
def keys() -> None:
    """Key-encryption keys (KEKs): what wraps the data key of each blob. API keys: casemate key."""


@keys.command("show")
@json_option
@pass_session
def show(session: Session, as_json: bool) -> None:
    """The KEKs by number, who holds them, and how many data keys each still wraps."""
    with session.client() as casemate:
        output.show(casemate.keyring.show(), as_json, _shown)


@keys.command("rotate")
@click.option(
    "--retire", is_flag=True, help="Make no new KEK: refuse the older ones for good, as those of old backups."
)
@click.option("--reason", default="", help="Why; it goes into the audit log.")
@json_option
@pass_session
def rotate(session: Session, retire: bool, reason: str, as_json: bool) -> None:
    """Wrap every data key under a new KEK, while the home serves; run again, it finishes what was cut short.

    Older KEKs stay, so that older backups can be read, until --retire.
    """
    with session.client() as casemate, output.counting("rewrapping", lambda: _progress(casemate)):
        result = casemate.keyring.retire(reason=reason) if retire else casemate.keyring.rotate(reason=reason)
    output.show(result, as_json, _retired if retire else _rotated)
    if result["failed"]:
        sys.exit(output.REFUSED)


@keys.command("move-signing")
@click.argument("provider", type=click.Choice(SIGNERS))
@click.option(
    "--setting", "settings", metavar="NAME=VALUE", multiple=True, help="Of that provider, as in docs/keys.md."
)
@click.option("--reason", default="", help="Why; it goes into the audit log.")
@json_option
@pass_session
def move_signing(session: Session, provider: str, settings: tuple[str, ...], reason: str, as_json: bool) -> None:
    """Sign models with a new key that PROVIDER holds; what the old key signed stays valid.

    The old key signs that the new one may take its place. One that lay in a file is deleted. Again with the same
    provider, it makes a new key there.
    """
    with session.client() as casemate:
        result = casemate.keyring.move_signing(provider, dict(map(setting_pair, settings)), reason=reason)
    output.show(result, as_json, output.facts)


def _progress(casemate: Casemate) -> tuple[int, int]:
    """How many data keys are under the newest KEK, and how many there are."""
    counts = [kek["data_keys"] for kek in casemate.keyring.show()["keks"]]
    return counts[-1], sum(counts)


def _shown(value: dict[str, Any]) -> None:
    settings = ", ".join(f"{name}={item}" for name, item in value["settings"].items())
    output.people.print(f"Held by {value['provider']}" + (f" ({settings})" if settings else ""), markup=False)
    output.people.print(f"Models are signed by a key in {value['signing']['provider']}", markup=False)
    columns = {"number": "number", "id": "id", "state": "state", "data_keys": "data keys"}
    output.table(value["keks"], columns, empty="")
    if value["unknown"]:
        output.people.print(f"{value['unknown']} data keys are under none of them: restore those blobs from a backup.")


def _rotated(value: dict[str, Any]) -> None:
    what = "the new KEK" if value["new"] else "KEK"
    output.people.print(f"{value['rewrapped']} data keys came under {what} {value['kek']}.")
    if not value["new"]:
        output.people.print("That finished a rotation that was cut short: run it again for a new KEK.")
    _failed(value)
    output.people.print("Next: back up home and keys, then [bold]casemate keys rotate --retire[/] ends the older KEKs.")


def _retired(value: dict[str, Any]) -> None:
    output.people.print(f"Only KEK {value['kek']} is left. Backups from before the rotation cannot be read any more.")
    _failed(value)


def _failed(value: dict[str, Any]) -> None:
    for name in value["failed"]:
        output.people.print(f"[bold red]not rewrapped[/] {name}: its key cannot be unwrapped; restore it or delete it.")
    for name in value["aside"]:
        output.people.print(f"{name} was set aside: its key cannot be unwrapped, and no version names it.")
