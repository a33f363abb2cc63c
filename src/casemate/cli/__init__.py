"""The command line: `casemate NOUN VERB`. Exit 0 clean, 1 refused or findings, 2 error."""

from __future__ import annotations

import sys
from pathlib import Path

import click

from casemate import __version__
from casemate.cli.asset_commands import dataset, model, train
from casemate.cli.audit_commands import audit
from casemate.cli.demo.command import demo
from casemate.cli.deployment_commands import deploy, deployment, rollback
from casemate.cli.home_commands import doctor, init, status, up
from casemate.cli.key_commands import key
from casemate.cli.output import ERROR, fail, people
from casemate.cli.session import Session
from casemate.core import CasemateError, InputError


@click.group(context_settings={"help_option_names": ["-h", "--help"], "max_content_width": 110})
@click.option("--home", type=click.Path(path_type=Path), help="The home folder.  [default: ~/.casemate]")
@click.option("--server", envvar="CASEMATE_SERVER", default="", help="https://host:port of a control plane instead.")
@click.option("--ca", envvar="CASEMATE_CA", default="", help="Certificate authority of that server (PEM file).")
@click.option("--insecure-no-sandbox", is_flag=True, help="Run models and scans without walls. For debugging only.")
@click.version_option(__version__, prog_name="casemate")
@click.pass_context
def cli(context: click.Context, home: Path | None, server: str, ca: str, insecure_no_sandbox: bool) -> None:
    """Take a model from training data to production behind walls."""
    context.obj = Session(home=home, server=server, ca=ca, insecure_no_sandbox=insecure_no_sandbox)


for command in (init, up, status, doctor, demo, dataset, train, model, deploy, rollback, deployment, key, audit):
    cli.add_command(command)


def main() -> None:
    """The console script."""
    arguments = _options_first(sys.argv[1:])
    try:
        cli.main(args=arguments, prog_name="casemate", standalone_mode=False)
    except CasemateError as error:
        fail(error, as_json="--json" in arguments)
    except click.ClickException as error:
        error.show()
        sys.exit(ERROR)
    except (click.Abort, KeyboardInterrupt):
        people.print("Interrupted.")
        sys.exit(130)
    except BrokenPipeError:
        sys.exit(ERROR)
    except OSError as error:  # a file that the person named: what is ours has an error of ours
        if error.filename is None:
            raise
        told = InputError(f"{error.filename}: {error.strerror}.", code="no-file")
        fail(told, as_json="--json" in arguments)


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
