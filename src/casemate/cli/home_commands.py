"""`casemate init`, `up`, `status`, `doctor`: the home itself."""

from __future__ import annotations

import sys
from typing import Any

import click

from casemate.cli import output
from casemate.cli.output import json_option
from casemate.cli.session import Session, pass_session
from casemate.core import InputError
from casemate.keys import PROVIDERS, SIGNERS


@click.command()
@click.option("--keys", type=click.Choice(PROVIDERS), help="Who holds the key-encryption keys.  [default: file]")
@click.option(
    "--keys-setting",
    "key_settings",
    metavar="NAME=VALUE",
    multiple=True,
    help="Of that provider, as in docs/keys.md; secrets stand in files that it names.",
)
@click.option("--signing", type=click.Choice(SIGNERS), help="Who holds the key that signs models.  [default: file]")
@click.option(
    "--signing-setting",
    "signing_settings",
    metavar="NAME=VALUE",
    multiple=True,
    help="Of that provider, as in docs/keys.md.",
)
@click.option(
    "--database", metavar="URL", help="postgresql://USER@HOST/NAME, without a password.  [default: SQLite in the home]"
)
@json_option
@pass_session
def init(
    session: Session,
    keys: str | None,
    key_settings: tuple[str, ...],
    signing: str | None,
    signing_settings: tuple[str, ...],
    database: str | None,
    as_json: bool,
) -> None:
    """Make a home and its keys. Running it again changes nothing."""
    from casemate.app.local import init_home

    if key_settings and keys is None:
        raise InputError("--keys-setting needs --keys PROVIDER.", code="bad-key-settings")
    if signing_settings and signing is None:
        raise InputError("--signing-setting needs --signing PROVIDER.", code="bad-key-settings")
    signs = (signing, dict(map(setting_pair, signing_settings))) if signing else None
    settings = session.settings(database=database)
    made = init_home(settings, keys, dict(map(setting_pair, key_settings)), signing=signs)

    def human(value: dict[str, Any]) -> None:
        output.facts(value)
        output.people.print("\nNext: [bold]casemate dataset push NAME FILE[/], or see it all: [bold]casemate demo[/]")

    output.show(made, as_json, human)


def setting_pair(text: str) -> tuple[str, str]:
    """A provider's setting as it was typed. Raises: InputError `bad-key-settings`."""
    name, equals, value = text.partition("=")
    if not equals:
        raise InputError(f"The setting {name[:40]!r}: write NAME=VALUE.", code="bad-key-settings")
    return name, value


@click.command()
@click.option("--data-port", type=click.IntRange(0, 65535), help="Predictions; 0 picks a free one.  [default: 8443]")
@click.option(
    "--control-port", type=click.IntRange(0, 65535), help="Control plane; 0 picks a free one.  [default: 8444]"
)
@click.option("--host", help="Address to listen on.  [default: 127.0.0.1]")
@pass_session
def up(session: Session, data_port: int | None, control_port: int | None, host: str | None) -> None:
    """Serve the home in the foreground, until SIGTERM or Ctrl-C."""
    from casemate.app.up import serve_home

    settings = session.settings(data_port=data_port, control_port=control_port, host=host)
    if settings.insecure_no_sandbox:
        output.people.print("[bold white on red] WITHOUT SANDBOX [/] models run with your own rights.")
    sys.exit(serve_home(settings, ready=lambda line: print(line, flush=True)))


@click.group()
def home() -> None:
    """Where the home lies."""


@home.command()
@json_option
@pass_session
def adopt(session: Session, as_json: bool) -> None:
    """Go on with this copy of a home for good, instead of the one that it is a copy of."""
    from casemate.app.local import adopt_home

    output.show(adopt_home(session.settings()), as_json, output.facts)


@click.command()
@json_option
@pass_session
def status(session: Session, as_json: bool) -> None:
    """What this home holds and serves."""
    with session.client() as casemate:
        output.show(casemate.status(), as_json, output.facts)


@click.command()
@json_option
@pass_session
def doctor(session: Session, as_json: bool) -> None:
    """Each wall of the sandbox, and the home: present or missing, and how to mend it."""
    from casemate.app.doctor import examine

    rows = examine(session.settings())

    def human(value: list[dict[str, Any]]) -> None:
        marks = {"present": "[green]present[/]", "missing": "[bold red]missing[/]", "optional": "[yellow]absent[/] "}
        for row in value:
            output.people.print(f"{marks[row['state']]}  [bold]{row['name']}[/]  ", end="")
            output.people.print(row["detail"], markup=False, soft_wrap=True)
            if row["mend"]:
                output.people.print(f"         -> {row['mend']}", markup=False, soft_wrap=True, style="dim")

    output.show(rows, as_json, human)
    if any(row["state"] == "missing" for row in rows):
        sys.exit(output.REFUSED)
