"""`casemate approver ...`: a signing key of one's own, and on the keeper's machine, whose keys count."""

from __future__ import annotations

from datetime import timedelta
from pathlib import Path
from typing import Any

import click

from casemate.cli import output
from casemate.cli.output import json_option
from casemate.cli.session import Session, pass_session
from casemate.core import ConflictError, InputError, parse_duration

KEY_FILE = Path("~/.config/casemate/approver.pem")
_LIFE = click.option("--for", "life", default="365d", show_default=True, help="How long it counts.")
_COLUMNS = {"name": "name", "person": "person", "kind": "kind", "key": "key", "until": "until"}
passphrase_option = click.option(
    "--passphrase-file", type=click.Path(path_type=Path), help="Holds the passphrase.  [default: you are asked]"
)


@click.group()
def approver() -> None:
    """Keys with which people sign approvals themselves, as the profile strict needs (docs/approvals.md)."""


@approver.command("new")
@click.option("--out", type=click.Path(path_type=Path), help=f"The private key.  [default: {KEY_FILE}]")
@passphrase_option
@json_option
def new(out: Path | None, passphrase_file: Path | None, as_json: bool) -> None:
    """Make a signing key of your own, on your own machine. The public half goes beside it, as FILE.pub."""
    from casemate.client.files import write_private_file
    from casemate.signing import OwnKey

    path = (out or KEY_FILE).expanduser()
    public = path.with_name(path.name + ".pub")
    for there in (path, public):
        if there.exists():
            raise ConflictError(f"{there} is there already: name another file with --out.", code="file-exists")
    key = OwnKey.make()
    sealed = key.sealed_pem(asked_passphrase(passphrase_file, anew=True))
    path.parent.mkdir(mode=0o700, parents=True, exist_ok=True)
    write_private_file(path, [sealed])
    public.write_bytes(key.public_pem)
    made = {"private": str(path), "public": str(public), "key": key.keyid}

    def human(value: dict[str, Any]) -> None:
        output.facts(value)
        output.people.print(
            f"\nNext: hand {public} to whoever holds the home's keys, and read them the key's id in another way: "
            f"casemate approver pin YOU {public.name}",
            markup=False,
        )

    output.show(made, as_json, human)


@approver.command("pin")
@click.argument("person")
@click.argument("public_key", required=False, type=click.Path(exists=True, dir_okay=False, path_type=Path))
@click.option("--passkey", help="A passkey that they have here, by its name or id, instead.")
@click.option("--address", default="", help="Of the pages that ask for the passkey.  [default: control_url]")
@_LIFE
@json_option
@pass_session
def pin(
    session: Session, person: str, public_key: Path | None, passkey: str | None, address: str, life: str, as_json: bool
) -> None:
    """Let a key or passkey of PERSON sign approvals for this home. On the machine that has the home's keys."""
    from casemate.app.approvers import pin_key, pin_passkey

    if (public_key is None) == (passkey is None):
        raise InputError("Name a public key's file, or --passkey.", code="bad-usage")
    settings, span = session.settings(), timedelta(seconds=parse_duration(life))
    if public_key is not None:
        made = pin_key(settings, person, public_key.read_bytes(), life=span)
    else:
        assert passkey is not None
        made = pin_passkey(settings, person, passkey, life=span, address=address)
    output.show(made, as_json, output.facts)


@approver.command("list")
@json_option
@pass_session
def list_pinned(session: Session, as_json: bool) -> None:
    """Whose keys are pinned for this home, and until when. On the machine that has the home's keys."""
    from casemate.app.approvers import list_pins

    def human(value: dict[str, Any]) -> None:
        output.table(value["items"], _COLUMNS, empty="None: casemate approver pin PERSON FILE")
        for name in value["relaxed"]:
            output.line("relaxed", name)

    output.show(list_pins(session.settings()), as_json, human)


@approver.command("unpin")
@click.argument("which")
@json_option
@pass_session
def unpin(session: Session, which: str, as_json: bool) -> None:
    """End a key, by the beginning of its id, or all of a person. What it signed does not count any more."""
    from casemate.app.approvers import unpin as end

    made = end(session.settings(), which)
    output.show(made, as_json, lambda value: output.table(value["unpinned"], _COLUMNS, empty="None."))


@approver.command("relax")
@click.argument("deployment")
@json_option
@pass_session
def relax(session: Session, deployment: str, as_json: bool) -> None:
    """Let DEPLOYMENT leave the profile strict, or its environment. On the machine that has the home's keys."""
    from casemate.app.approvers import relax as let

    output.show(let(session.settings(), deployment), as_json, output.facts)


def asked_passphrase(file: Path | None, *, anew: bool = False) -> str:
    """As it stands in `file`, or as somebody types it. Raises: InputError: the file cannot be read."""
    if file is not None:
        try:
            return file.read_text().removesuffix("\n")
        except (OSError, UnicodeDecodeError) as error:
            raise InputError(f"The passphrase cannot be read from {file}.", code="bad-passphrase-file") from error
    asked = "Passphrase of a new key (12 characters or more)" if anew else "Passphrase of your key"
    return str(click.prompt(asked, hide_input=True, confirmation_prompt=anew, err=True))
