"""`casemate mlflow import`: a model that is registered in MLflow becomes a version here."""

from __future__ import annotations

from typing import Any

import click

from casemate.cli import output
from casemate.cli.output import json_option
from casemate.cli.session import Session, pass_session


@click.group()
def mlflow() -> None:
    """Models of MLflow (docs/mlflow.md). Needs the extra `mlflow`."""


@mlflow.command("import")
@click.argument("model", metavar="MODEL[/VERSION]")
@click.option("--tracking", required=True, metavar="URI", help="MLflow's tracking server or store.")
@click.option("--registry", metavar="URI", help="Its registry.  [default: as --tracking]")
@click.option("--name", help="What it is called here.  [default: as there]")
@click.option("--dataset", metavar="NAME[@VERSION]", help="What it was trained on, for ranges and lineage.")
@click.option("--reason", default="", help="Why; it goes into the audit log.")
@json_option
@pass_session
def import_registered(
    session: Session,
    model: str,
    tracking: str,
    registry: str | None,
    name: str | None,
    dataset: str | None,
    reason: str,
    as_json: bool,
) -> None:
    """Push a registered model with what MLflow claims of its run: scanned as any push; the newest version unless named.

    The version says that its training is claimed, and attested by nobody.
    """
    said = {"tracking": tracking, "registry": registry, "name": name, "dataset": dataset, "reason": reason}
    result = _imported(session, model, said)
    output.verdict(result, as_json, f"{result['name']}@{result['version']}  {result['digest']}")


def _imported(session: Session, model: str, said: dict[str, Any]) -> dict[str, Any]:
    from casemate.client.mlflow_models import import_model

    with session.client() as casemate, output.working(f"importing {model}"):
        return import_model(casemate, model, **said)
