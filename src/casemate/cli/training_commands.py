"""`casemate train`, and `casemate model training`: a run that is followed as it goes, and what is known of it afterwards."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import click

from casemate.cli import output
from casemate.cli.output import json_option
from casemate.cli.session import Session, pass_session
from casemate.client.files import write_private_file

_file = click.Path(path_type=Path)
_reason = click.option("--reason", default="", help="Why; it goes into the audit log.")


@click.command()
@click.argument("script", type=_file)
@click.option("--dataset", "dataset_ref", required=True, metavar="NAME[@VERSION]", help="What to train on.")
@click.option("--model", required=True, help="The model that gets the new version.")
@click.option("--from", "base", metavar="MODEL[@VERSION]", help="Go on from this version; it lies in CASEMATE_BASE.")
@click.option("--parameters", default="{}", help="A JSON object; the script reads it from CASEMATE_PARAMETERS.")
@click.option("--purpose", help="What it is for; a dataset may be for some purposes only.")
@click.option("--seed", type=click.IntRange(0, (1 << 32) - 1), help="In CASEMATE_SEED.  [default: 0]")
@click.option("--time", metavar="TIME", help="Stop it after so long, as in 2h.  [default: 30m]")
@click.option("--cpu", metavar="TIME", help="Processor time of all its threads.  [default: as --time, at least 30m]")
@click.option("--memory", metavar="SIZE", help="As in 512M or 8G.  [default: 4G]")
@click.option("--allow-host", "hosts", multiple=True, metavar="HOST:PORT", help="Let it out to this host alone.")
@click.option("--gpu", is_flag=True, help="Let it use the machine's graphics processors.")
@_reason
@json_option
@pass_session
def train(session: Session, /, script: Path, dataset_ref: str, model: str, as_json: bool, **asked: Any) -> None:
    """Run SCRIPT in the sandbox and push the model that it writes under CASEMATE_OUTPUT. Ctrl-C stops the run.

    What it prints, and what it writes to CASEMATE_METRICS, is shown as it comes and kept with the version.
    """
    follow = None if as_json else _say
    with session.client() as casemate, output.working(f"training {model} on {dataset_ref}"):
        result = casemate.train(script, dataset=dataset_ref, model=model, follow=follow, **asked)
    if not as_json:
        result = {name: value for name, value in result.items() if name != "log"}  # it was shown
    output.verdict(result, as_json, f"{result['name']}@{result['version']}  {result['digest']}")


@click.command("training")
@click.argument("ref")
@click.option("--log", is_flag=True, help="Print what the script printed. A script can print rows: this is recorded.")
@click.option("--metrics", is_flag=True, help="Print every line of its metrics, in the same way.")
@click.option("--provenance", "to", type=_file, help="Write what is signed of it, SLSA provenance, to this new file.")
@_reason
@json_option
@pass_session
def show_training(
    session: Session, ref: str, log: bool, metrics: bool, to: Path | None, reason: str, as_json: bool
) -> None:
    """The run that made a version: from what, by whom, when, under which limits. REF is NAME[@VERSION]."""
    with session.client() as casemate:
        if to is not None:
            told = casemate.trainings.provenance(ref)
            write_private_file(to, [told["envelope"].encode()])
            output.show({**told, "path": str(to)}, as_json, lambda _: output.say(f"{to} written: {told['type']}."))
            return
        if not (log or metrics):
            output.show(casemate.trainings.show(ref), as_json, _told)
            return
        found = casemate.trainings.output(ref, reason=reason)
    if as_json:
        output.show(found, as_json, output.facts)
        return
    if log:
        output.say(found["log"].rstrip("\n"))
    if metrics:
        for point in found["metrics"]:
            output.say(_point(point))


COMMANDS = (show_training,)


def _say(news: dict[str, Any]) -> None:
    text = str(news["log"]) if "log" in news else _point(news.get("metrics", {}))
    output.people.print(output.visible(f"  | {text}"), markup=False, soft_wrap=True, style="dim")


def _point(point: dict[str, Any]) -> str:
    step = [f"step {point['step']}"] if "step" in point else []
    return "  ".join([*step, *(f"{name} {value:g}" for name, value in point.items() if name != "step")])


def _told(found: dict[str, Any]) -> None:
    run = found.pop("run", {})
    metrics = run.pop("metrics", {})
    origins = {name: f"{one['name']}@{one['number']}" for name in ("dataset", "base") if (one := found.get(name))}
    output.facts({**found, **origins, **run})
    for name, value in metrics.items():
        output.line("metric", f"{name} {value:g}")
