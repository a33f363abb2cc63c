"""What `model revoke` and `dataset revoke` have in common."""

from __future__ import annotations

from typing import Any

import click

from casemate.cli import output


def revoking(command: Any) -> Any:
    """The options of both."""
    command = click.option("--cascade", is_flag=True, help="End what was made from it, too.")(command)
    return click.option("--reason", required=True, help="Why; it goes into the audit log.")(command)


def say_revoked(result: dict[str, Any]) -> None:
    """What ended, what was paused, and what is still there that was made from it."""
    made = [f"{one['kind']} {one['name']}@{one['version']}" for one in result["descendants"]]
    output.facts({name: result[name] for name in ("name", "version", "digest", "state") if name in result})
    when = "now" if result["confirmed"] else "as soon as the gateway reads it, which has not confirmed it yet"
    for name in result["paused"]:
        output.people.print(
            f"{name} answers nobody {when}: casemate rollback {name}, or deploy another version.", markup=False
        )
    if made and result["cascade"]:
        output.say(f"Ended with it: {', '.join(made)}")
    elif made:
        output.people.print(
            f"Made from it, and still usable: {', '.join(made)}. To end these, too, do it again with --cascade.",
            markup=False,
        )
    if altered := [f"{one['kind']} {one['name']}@{one['version']}" for one in result["altered"]]:
        output.people.print(
            f"[bold red]not known[/] What {', '.join(altered)} was made from: its row was altered; see verify --all."
        )
