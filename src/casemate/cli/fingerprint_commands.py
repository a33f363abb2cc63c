"""`casemate model fingerprint` and `claim`: whether somebody else's model is a copy of ours."""

from __future__ import annotations

import csv
import os
import sys
from pathlib import Path
from typing import TYPE_CHECKING, Any

import click
import msgspec

from casemate.cli import output
from casemate.cli.output import json_option
from casemate.cli.session import Session, pass_session
from casemate.core import InputError, parse_ref, refused_by_system

if TYPE_CHECKING:
    from casemate.evaluation.claims import Fingerprint

_file = click.Path(path_type=Path)
_KEY = "CASEMATE_SUSPECT_KEY"
_MOST = 64 << 20  # bytes of a file of answers


@click.command("fingerprint")
@click.argument("ref")
@click.option(
    "--on", "dataset", required=True, metavar="DATASET[@VERSION]", help="Labelled rows of the kind that it takes."
)
@click.option("--label", required=True, help="Their column with the truth, which reference models are trained on.")
@click.option(
    "--out", "to", required=True, type=_file, help="A new file for it. It is a secret, and kept nowhere else."
)
@click.option("--questions", type=click.IntRange(50, 2000), default=200, show_default=True)
@click.option("--reason", default="", help="Why; it goes into the audit log.")
@json_option
@pass_session
def make_fingerprint(
    session: Session, ref: str, dataset: str, label: str, to: Path, questions: int, reason: str, as_json: bool
) -> None:
    """Make questions that a copy of a version answers as it does, and other models do not. REF is NAME[@VERSION].

    The file's digest is on record from now on, so that nobody can say that it was made for the dispute.
    """
    try:
        target = os.open(to, os.O_WRONLY | os.O_CREAT | os.O_EXCL | os.O_CLOEXEC, 0o600)
    except OSError as error:
        raise refused_by_system(error) from error
    try:
        with os.fdopen(target, "wb") as file:
            with session.client() as casemate, output.working(f"choosing questions for {ref}"):
                made = casemate.evaluations.fingerprint(
                    ref, on=dataset, label=label, questions=questions, reason=reason
                )
            file.write(made["document"].encode())
    except BaseException:
        to.unlink(missing_ok=True)
        raise
    told = {name: value for name, value in made.items() if name != "document"} | {"path": str(to)}
    output.show(told, as_json, lambda _: output.say(f"{to} written: {made['questions']} questions. Keep it secret."))


@click.command("claim")
@click.argument("file", type=_file)
@click.option(
    "--against", metavar="URL|NAME@VERSION|FILE", help="The suspect: its address, a version here, or its answers."
)
@click.option("--queries", type=_file, help="Write the questions to this CSV file, to ask the suspect yourself.")
@click.option(
    "--at-most",
    type=click.FloatRange(0, 1, min_open=True, max_open=True),
    default=1e-6,
    show_default=True,
    help="Probability of a false claim.",
)
@click.option("--suspect-ca", type=_file, help="Certificate authority of the suspect (PEM file).")
@json_option
@pass_session
def claim_model(
    session: Session,
    file: Path,
    against: str | None,
    queries: Path | None,
    at_most: float,
    suspect_ca: Path | None,
    as_json: bool,
) -> None:
    """Say whether a suspect is a copy of the model that the fingerprint FILE was made of. Exit 1: it is.

    A suspect at a URL speaks the Open Inference Protocol v2 (https://HOST/v2/models/NAME); its key is read from
    CASEMATE_SUSPECT_KEY. A file has one class on each line, in the order of --queries.
    """
    from casemate.evaluation.claims import read_fingerprint

    data = _read(file)
    known = read_fingerprint(data)
    if queries is not None:
        _write_queries(queries, known)
    if against is None:
        if queries is None:
            raise click.UsageError("Name the suspect with --against, or a file for the questions with --queries.")
        told = {"path": str(queries), "questions": len(known.queries)}
        output.show(told, as_json, lambda _: output.say(f"{queries} written: {len(known.queries)} questions."))
        return
    result = _claimed(session, data, known, against, at_most=at_most, ca=suspect_ca)
    output.show(result, as_json, _say)
    if result["copy"]:
        sys.exit(output.REFUSED)


COMMANDS = (make_fingerprint, claim_model)


def _claimed(
    session: Session, data: bytes, known: Fingerprint, against: str, *, at_most: float, ca: Path | None
) -> dict[str, Any]:
    from casemate.client.suspects import ask_suspect
    from casemate.evaluation.claims import claim_of

    if "://" in against:
        with output.working(f"asking {against}"):
            answers = ask_suspect(against, known, key=os.environ.get(_KEY, ""), ca=ca)
    elif Path(against).is_file():
        answers = _answers(_read(Path(against)))
    else:
        parse_ref(against)
        with session.client() as casemate, output.working(f"asking {against}"):
            return casemate.evaluations.claim(against, data, at_most=at_most)
    claim: dict[str, Any] = msgspec.to_builtins(claim_of(known, data, answers, at_most=at_most))
    return {"against": against, **claim}


def _say(result: dict[str, Any]) -> None:
    share = result["agree"] / result["of"]
    output.say(
        f"{result['against']} answers {result['agree']} of {result['of']} questions as {result['model']} did ({share:.0%})."
    )
    output.say(
        f"The closest of {result['references']} models that were trained apart agreed on {result['closest_reference']:.0%}; "
        f"a model that is no copy agrees on as many with probability {result['false_claim']:.2g} at most."
    )
    output.say("It is a copy." if result["copy"] else f"That is no claim: it would need {result['at_most']:g}.")
    if result.get("on_record"):
        output.say(f"The fingerprint is on record since {result['on_record']}.")


def _answers(data: bytes) -> list[str]:
    """One class on each line. Raises: InputError `bad-predictions`."""
    try:
        return [line.strip().strip('"') for line in data.decode().splitlines() if line.strip()]
    except UnicodeDecodeError as error:
        raise InputError("The answers are not UTF-8 text, one class on each line.", code="bad-predictions") from error


def _write_queries(path: Path, known: Fingerprint) -> None:
    names = known.features or tuple(f"x{place}" for place in range(len(known.queries[0])))
    try:
        with path.open("w", newline="", encoding="utf-8") as file:
            writer = csv.writer(file)
            writer.writerow(names)
            writer.writerows(known.queries)
    except OSError as error:
        raise refused_by_system(error) from error


def _read(path: Path) -> bytes:
    """Raises: InputError: no plain file, too large, or it cannot be read."""
    try:
        if not path.is_file() or path.stat().st_size > _MOST:
            raise InputError(f"{path} is no file of at most {_MOST} bytes.", code="no-file")
        return path.read_bytes()
    except OSError as error:
        raise refused_by_system(error) from error
