"""The command line: `casemate NOUN VERB`. Exit 0 clean, 1 refused or findings, 2 error."""

from __future__ import annotations

import sys
import warnings
from getpass import GetPassWarning
from pathlib import Path

import click

from casemate import __version__
from casemate.cli.access_commands import access
from casemate.cli.approver_commands import approver
from casemate.cli.asset_commands import dataset, model
from casemate.cli.audit_commands import audit
from casemate.cli.card_commands import describe, reproduce, show_bom, show_card
from casemate.cli.database_commands import database
from casemate.cli.dataset_commands import DATASET_COMMANDS
from casemate.cli.demo.command import demo
from casemate.cli.deployment_commands import deploy, deployment, rollback
from casemate.cli.evaluation_commands import COMMANDS as EVALUATION_COMMANDS
from casemate.cli.fingerprint_commands import COMMANDS as FINGERPRINT_COMMANDS
from casemate.cli.grant_commands import grant
from casemate.cli.home_commands import doctor, home, init, status, up
from casemate.cli.issuer_commands import issuer
from casemate.cli.key_commands import key
from casemate.cli.keyring_commands import keys
from casemate.cli.mlflow_commands import mlflow
from casemate.cli.output import ERROR, check_streams, fail, flushed, interrupted, people
from casemate.cli.passkey_commands import passkey
from casemate.cli.people_commands import user
from casemate.cli.policy_commands import policy, prediction
from casemate.cli.provider_commands import provider
from casemate.cli.review_commands import review
from casemate.cli.session import Session
from casemate.cli.session_commands import login, logout, sessions, whoami
from casemate.cli.signer_commands import signer
from casemate.cli.suspect_commands import COMMANDS as SCREENING_COMMANDS
from casemate.cli.training_commands import show_training, train
from casemate.cli.version_commands import COMMANDS
from casemate.core import CasemateError, InputError, is_text, refused_by_system


@click.group(context_settings={"help_option_names": ["-h", "--help"], "max_content_width": 110})
@click.option("--home", metavar="PATH", help="The home folder.  [default: ~/.casemate]")
@click.option("--server", envvar="CASEMATE_SERVER", default="", help="https://host:port of a control plane instead.")
@click.option("--ca", envvar="CASEMATE_CA", default="", help="Certificate authority of that server (PEM file).")
@click.option("--insecure-no-sandbox", is_flag=True, help="Run models and scans without walls. For debugging only.")
@click.version_option(__version__, prog_name="casemate")
@click.pass_context
def cli(context: click.Context, home: str | None, server: str, ca: str, insecure_no_sandbox: bool) -> None:
    """Take a model from training data to production behind walls."""
    if home == "":
        raise InputError("--home is empty: name a folder, or leave it out.", code="bad-setting")
    context.obj = Session(
        home=None if home is None else Path(home), server=server, ca=ca, insecure_no_sandbox=insecure_no_sandbox
    )


for command in (
    init, up, status, doctor, home, demo, dataset, train, model, deploy, rollback, deployment, login, logout, whoami,
    user, sessions, key, grant, issuer, signer, mlflow, provider, keys, access, approver, review, policy, prediction, audit, database,
):  # fmt: skip
    cli.add_command(command)
user.add_command(passkey)
for command in (show_card, describe, show_bom, reproduce, show_training, *EVALUATION_COMMANDS, *FINGERPRINT_COMMANDS):
    model.add_command(command)
for command in (*DATASET_COMMANDS, *COMMANDS, *SCREENING_COMMANDS):
    dataset.add_command(command)


def main() -> None:
    """The console script. Exits with 2 when what it had to say could not be written."""
    code: str | int | None = 0
    try:
        check_streams()
        _run()
    except SystemExit as ended:
        code = ended.code
    except OSError:  # what went wrong could not be said
        code = ERROR
    if not flushed(quiet=code == ERROR):
        code = ERROR
    if code:
        sys.exit(code)


def _run() -> None:
    warnings.simplefilter("ignore", GetPassWarning)  # it says besides, in words for people, that it cannot hide them
    arguments = _options_first(sys.argv[1:])
    as_json = "--json" in arguments
    try:
        _check_text(arguments)
        cli.main(args=arguments, prog_name="casemate", standalone_mode=False)
    except CasemateError as error:
        fail(error, as_json=as_json)
    except click.exceptions.NoArgsIsHelpError as error:
        error.show()
        sys.exit(ERROR)
    except click.UsageError as error:
        if error.ctx is not None and not as_json:
            people.print(error.ctx.get_usage(), markup=False, soft_wrap=True)
        fail(InputError(error.format_message(), code="bad-usage"), as_json=as_json)
    except click.ClickException as error:
        fail(InputError(error.format_message(), code="bad-usage"), as_json=as_json)
    except (click.Abort, KeyboardInterrupt) as error:
        interrupted(error, as_json=as_json)
    except BrokenPipeError:
        sys.exit(ERROR)
    except OSError as error:
        fail(refused_by_system(error), as_json=as_json)
    except UnicodeError:
        fail(
            InputError("A value in the environment is not UTF-8: write it as UTF-8.", code="bad-text"), as_json=as_json
        )


def _check_text(arguments: list[str]) -> None:
    """Raises: InputError `bad-text`: one holds bytes that are no text."""
    for argument in arguments:
        if not is_text(argument):
            raise InputError(
                f"The argument {argument[:80]!r} is not UTF-8: rename it, or type it anew.", code="bad-text"
            )


def _options_first(arguments: list[str]) -> list[str]:
    """`--home H` may stand anywhere: `casemate init --home H` is what people type."""
    front: list[str] = []
    rest: list[str] = []
    words = iter(arguments)
    for word in words:
        if word == "--":
            rest += [word, *words]
        elif word in ("--home", "--server", "--ca"):
            front += [word, *([value] if (value := next(words, None)) is not None else [])]
        elif word == "--insecure-no-sandbox" or word.startswith(("--home=", "--server=", "--ca=")):
            front.append(word)
        else:
            rest.append(word)
    return front + rest
