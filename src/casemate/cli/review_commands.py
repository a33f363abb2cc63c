"""`casemate review ...`."""

from __future__ import annotations

import json
from typing import Any

import click

from casemate.cli import output, review_sheets
from casemate.cli.output import json_option
from casemate.cli.session import Session, pass_session
from casemate.core import Role

_id = click.argument("review_id", metavar="ID")
_reason = click.option("--reason", required=True, help="Why; it goes into the audit log.")
_assign = click.option("--assign", multiple=True, metavar="NAME", help="Who answers, beside owners; repeat for more.")
_unanswered = click.option(
    "--unanswered",
    type=click.Choice(("revoke", "keep")),
    default="revoke",
    show_default=True,
    help="What becomes of a grant that nobody has answered for by the due date.",
)
_due = click.option("--due", default="14d", show_default=True, help="Until when it can be answered.")
_STEPS = "casemate review show {id}, then review keep, revoke or accept-proposals"


@click.group()
def review() -> None:
    """Access reviews: is each grant still needed? Answered by a date, on record."""


@review.command("open")
@click.option("--title", default="Access review", show_default=True)
@click.option("--role", type=click.Choice([one.value for one in Role]), help="Grants of this role only.")
@click.option("--on", metavar="WHAT", help="Grants on just this: deployment:NAME, model:NAME, dataset:NAME, or '*'.")
@_due
@_assign
@_unanswered
@click.option("--reason", default="", help="Why; it goes into the audit log.")
@json_option
@pass_session
def open_(
    session: Session,
    title: str,
    role: str | None,
    on: str | None,
    due: str,
    assign: tuple[str, ...],
    unanswered: str,
    reason: str,
    as_json: bool,
) -> None:
    """Open a review of every grant that lives now."""
    with session.client() as casemate:
        made = casemate.reviews.open(
            title, role=role, on=on, due=due, assign=assign, unanswered=unanswered, reason=reason
        )
    output.show(made, as_json, _opened)


@review.command("list")
@json_option
@pass_session
def list_reviews(session: Session, as_json: bool) -> None:
    """The reviews that are yours to answer, and those that your roles let you see."""
    with session.client() as casemate:
        rows = casemate.reviews.all()
    columns = {name: name for name in ("id", "title", "state", "due_at", "items", "kept", "revoked", "ended", "open")}
    empty = "None: casemate review open, or casemate review schedule --every 90d"
    output.show(rows, as_json, lambda value: output.table(value, columns, empty=empty))


@review.command("show")
@_id
@click.option("--open", "only_open", is_flag=True, help="Only what nobody has answered for.")
@json_option
@pass_session
def show(session: Session, review_id: str, only_open: bool, as_json: bool) -> None:
    """Every grant in a review: who, what, how it was really used, what that proposes, what was answered."""
    with session.client() as casemate, output.working("reading what was really used"):
        found = casemate.reviews.show(review_id)
    if only_open:
        found["grants"] = [row for row in found["grants"] if row["state"] == "open"]
    output.show(found, as_json, _shown)


def _answering(verb: str, said: str) -> None:
    """`casemate review VERB ID GRANT... --reason ...`."""

    @review.command(verb, help=said)
    @_id
    @click.argument("grants", metavar="GRANT...", nargs=-1, required=True)
    @_reason
    @json_option
    @pass_session
    def answer(session: Session, review_id: str, grants: tuple[str, ...], reason: str, as_json: bool) -> None:
        answers = {"keep": grants} if verb == "keep" else {"revoke": grants}
        with session.client() as casemate:
            result = casemate.reviews.answer(review_id, reason=reason, **answers)
        output.show(result, as_json, _progress)


_answering("keep", "Say that these grants are still needed. Never one's own.")
_answering("revoke", "End these grants now, at every gateway.")


@review.command("accept-proposals")
@_id
@_reason
@click.option("--yes", is_flag=True, help="Do not ask.")
@json_option
@pass_session
def accept_proposals(session: Session, review_id: str, reason: str, yes: bool, as_json: bool) -> None:
    """Revoke every open grant that its use proposes to end. What could be narrower is left for you."""
    with session.client() as casemate:
        with output.working("reading what was really used"):
            found = casemate.reviews.show(review_id)
        rows = [row for row in found["grants"] if row["state"] == "open" and row["proposal"] == "revoke"]
        if not rows:
            output.show(found, as_json, lambda _: output.people.print("Nothing is proposed to be revoked."))
            return
        if not yes:
            review_sheets.table(rows)
            click.confirm(f"Revoke these {len(rows)} grants now?", abort=True, err=True)
        result = casemate.reviews.answer(review_id, revoke=[row["grant"] for row in rows], reason=reason)
    output.show(result, as_json, _progress)


@review.command("close")
@_id
@_reason
@json_option
@pass_session
def close(session: Session, review_id: str, reason: str, as_json: bool) -> None:
    """Close a review in which everything was answered. The due date closes it anyway."""
    with session.client() as casemate:
        output.show(casemate.reviews.close(review_id, reason=reason), as_json, _progress)


@review.command("export")
@_id
@click.option("--format", "form", type=click.Choice(("table", "csv", "json", "html")), default="table")
@json_option
@pass_session
def export(session: Session, review_id: str, form: str, as_json: bool) -> None:
    """The evidence that a review took place: each grant, answer, reason and time, and the entries of the audit log."""
    with session.client() as casemate, output.working("reading the record"):
        found = casemate.reviews.show(review_id)
        found["record"] = [
            *casemate.audit_entries(resource=f"default/review:{review_id}"),
            *_opening(casemate.audit_entries(action="review:open"), review_id),
        ]
    if as_json or form == "json":
        print(json.dumps(found))
    elif form == "csv":
        print(review_sheets.as_csv(found["grants"]), end="")
    elif form == "html":
        print(review_sheets.as_html(found), end="")
    else:
        _shown(found)
        columns = {name: name for name in ("seq", "at", "kind", "action", "actor", "outcome", "reason")}
        output.table(found["record"], columns, empty="The log has no entry of it yet.")


def _opening(entries: list[dict[str, Any]], review_id: str) -> list[dict[str, Any]]:
    """How it was opened, which is on record before it has an id: the outcome that names it, and that one's intent."""
    outcomes = [
        one
        for one in entries
        if (one["facts"].get("answer") or {}).get("id") == review_id or review_id in one["facts"].get("opened", ())
    ]
    intents = {one["facts"].get("intent") for one in outcomes}
    return [one for one in entries if one in outcomes or one["id"] in intents]


@review.command("schedule")
@click.option("--every", help="Open a review now and every so often, as in 90d.")
@_due
@_assign
@_unanswered
@click.option("--title", default="Access review", show_default=True)
@click.option("--off", is_flag=True, help="No review opens by itself any more.")
@click.option("--reason", default="", help="Why; it goes into the audit log.")
@json_option
@pass_session
def schedule(
    session: Session,
    every: str | None,
    due: str,
    assign: tuple[str, ...],
    unanswered: str,
    title: str,
    off: bool,
    reason: str,
    as_json: bool,
) -> None:
    """When reviews open by themselves: shown, set with --every, ended with --off."""
    if off and every:
        raise click.UsageError("--off and --every exclude each other.")
    with session.client() as casemate:
        if off:
            found = casemate.reviews.end_schedule(reason=reason)
        elif every:
            found = casemate.reviews.set_schedule(
                every=every, due=due, assign=assign, unanswered=unanswered, title=title, reason=reason
            )
        else:
            found = casemate.reviews.schedule()
    output.show(found, as_json, _scheduled)


def _scheduled(found: dict[str, Any]) -> None:
    if not found:
        output.people.print("No reviews are scheduled: casemate review schedule --every 90d", markup=False)
        return
    days = {name: f"{found[name] / 86400:g} days" for name in ("every", "within")}
    output.facts({name: found[name] for name in ("id", "title", "first_at", "unanswered", "reviewers")} | days)


def _opened(made: dict[str, Any]) -> None:
    output.people.print(f"{made['id']}: {made['items']} grants to answer for by {made['due_at']}:", markup=False)
    click.echo(_STEPS.format(id=made["id"]))


def _progress(result: dict[str, Any]) -> None:
    counts = ", ".join(f"{result[name]} {name}" for name in ("kept", "revoked", "ended", "open"))
    output.line(f"[bold]{result['state']}[/]", f"{counts} of {result['items']} grants")
    if result["state"] == "open" and not result["open"]:
        output.people.print(f"All is answered: casemate review close {result['id']} --reason ...", markup=False)


def _shown(found: dict[str, Any]) -> None:
    reviewers = ", ".join(found["reviewers"]) or "owners"
    output.line("[bold]review[/]", f"{found['title']}: for {reviewers}, due {found['due_at']}")
    _progress(found)
    output.line("  then", f"what is unanswered is {'revoked' if found['unanswered'] == 'revoke' else 'kept'}")
    review_sheets.table(found["grants"])
