"""`casemate demo`: the whole way, on real data, as a user would walk it."""

from __future__ import annotations

import json
import shutil
import signal
import sys
import tempfile
from pathlib import Path

import click

from casemate.cli.demo.stage import Stage
from casemate.cli.demo.walk import Step, walk
from casemate.cli.output import json_option, people
from casemate.cli.session import Session, pass_session


@click.command()
@click.option("--once", is_flag=True, help="End after the walk instead of leaving the server up.")
@json_option
@pass_session
def demo(session: Session, once: bool, as_json: bool) -> None:
    """Take a diagnosis model from data to production behind walls, and watch the walls hold."""
    temporary = session.settings().home if session.home else Path(tempfile.mkdtemp(prefix="casemate-demo-"))
    settings = session.settings() if session.home else Session.settings(_at(session, temporary))
    signal.signal(signal.SIGTERM, lambda *_: sys.exit(143))
    steps: list[Step] = []
    with Stage(settings) as stage:
        try:
            for step in walk(stage):
                steps.append(step)
                _tell(step)
            passed = all(step.ok for step in steps)
            if as_json:
                print(json.dumps([step.row() for step in steps]), flush=True)
            if not passed:
                people.print(
                    f"\nThe walk ended at {steps[-1].name!r}; the server is stopped.", style="bold", markup=False
                )
            elif not once:
                _stay(stage)
        finally:
            stage.stop()
            if once and not session.home:
                _remove(stage)
    sys.exit(0 if passed else 1)


def _at(session: Session, home: Path) -> Session:
    return Session(home=home, server="", ca="", insecure_no_sandbox=session.insecure_no_sandbox)


def _tell(step: Step) -> None:
    mark = "[green]ok[/]    " if step.ok else "[bold red]FAILED[/]"
    people.print(f" {mark} [bold]{step.name:<26}[/] [dim]{step.seconds:5.2f} s[/]  ", end="")
    people.print(step.detail, markup=False, soft_wrap=True)


def _stay(stage: Stage) -> None:
    people.print("\nThe server stays up; Ctrl-C ends it. In another terminal:\n", style="bold")
    for line in stage.next_lines():
        people.print(line, markup=False, soft_wrap=True)
    try:
        stage.wait()
    except KeyboardInterrupt:
        people.print("\nStopping.")


def _remove(stage: Stage) -> None:
    shutil.rmtree(stage.settings.home, ignore_errors=True)
    shutil.rmtree(stage.keys, ignore_errors=True)
