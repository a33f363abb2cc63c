"""A model's card as Markdown, and as a page to print or to keep."""

from __future__ import annotations

from html import escape
from typing import Any

from casemate.cli import output
from casemate.cli.access_sheets import STYLE, minute

_SAID = (
    ("intended_use", "What it is for"),
    ("out_of_scope", "What it is not for"),
    ("users", "Who works with its answers"),
    ("limits", "Where it ends"),
    ("ethics", "Whom it may harm"),
)
_MEASURED = ("Metric", "Value", "On", "For")


def as_markdown(card: dict[str, Any]) -> str:
    """CommonMark with tables; what people wrote cannot end a cell or begin markup of its own."""
    lines = [f"# {as_cell(card['name'])}, version {card['version']}", ""]
    if card["revoked"]:
        lines += ["**Revoked: it must not be used.**", ""]
    if card["missing"]:
        lines += [f"**Not said yet: {', '.join(card['missing'])}.**", ""]
    for title, rows in _tables(card):
        lines += [f"## {title}", "", *markdown_table(rows), ""]
    for field, title in _SAID:
        lines += [f"## {title}", "", _prose(card["described"].get(field) or "Not said."), ""]
    return "\n".join(lines)


def as_html(card: dict[str, Any]) -> str:
    """One page without scripts or anything from elsewhere; every text is escaped."""
    title = f"{card['name']}, version {card['version']}"
    warnings = ["Revoked: it must not be used."] if card["revoked"] else []
    warnings += [f"Not said yet: {', '.join(card['missing'])}."] if card["missing"] else []
    notes = "".join(f'<p class="never"><b>{as_text(one)}</b></p>' for one in warnings)
    said = "".join(
        f"<h2>{head}</h2><p class=said>{as_text(card['described'].get(field) or 'Not said.')}</p>"
        for field, head in _SAID
    )
    tables = "".join(f"<h2>{name}</h2>{html_table(rows)}" for name, rows in _tables(card))
    return f"""<!doctype html>
<html lang=en><head><meta charset=utf-8><meta name=viewport content="width=device-width,initial-scale=1">
<meta http-equiv=Content-Security-Policy content="default-src 'none'; style-src 'unsafe-inline'">
<title>{as_text(title)}</title><style>{STYLE}
body{{max-width:60rem}}h2{{font-size:1.1rem;margin:1.6rem 0 .4rem}}.said{{white-space:pre-wrap;color:inherit}}
</style></head><body>
<h1>{as_text(title)}</h1>{notes}{said}{tables}
</body></html>
"""


Rows = list[tuple[str, ...]]  # the first is the heading


def _tables(card: dict[str, Any]) -> list[tuple[str, Rows]]:
    said = card["described"]
    evaluation = card["evaluation"]
    measured = [
        (name, f"{value:g}", evaluation["on"], "evaluated, signed")
        for name, value in evaluation.get("figures", {}).items()
    ]
    metrics = [
        (one["name"], f"{one['value']:g}", one.get("on", ""), one.get("slice", "")) for one in said.get("metrics", [])
    ]
    tensors = [
        (kind, one["name"], f"{one['datatype']} {one['shape']}")
        for kind, named in (("input", card["inputs"]), ("output", card["outputs"]))
        for one in named
    ]
    approvals = [(one["environment"], one["approver"], minute(one["at"]), one["reason"]) for one in card["approvals"]]
    found: list[tuple[str, Rows]] = [
        ("What it is", _facts(card)),
        ("How well it does", [_MEASURED, *measured, *metrics]),
        ("Measured by its training script", [_MEASURED[:2], *_run_metrics(card)]),
        ("What goes in and comes out", [("", "Name", "Type and shape"), *tensors]),
        ("What it was made from", [("Kind", "Name", "Digest"), *map(_origin, card["made_from"])]),
        ("Who approved it", [("For", "By", "At", "Why"), *approvals]),
    ]
    return [(title, rows) for title, rows in found if len(rows) > 1]


def _run_metrics(card: dict[str, Any]) -> list[tuple[str, ...]]:
    metrics = (card.get("run") or {}).get("metrics", {})
    return [(name, f"{value:g}") for name, value in metrics.items()]


def _facts(card: dict[str, Any]) -> Rows:
    said, scan = card["described"], card["scan"]
    found = f"{scan['verdict']}, {len(scan['findings'] or [])} finding(s), {minute(scan['scanned_at'])}"
    by = f"{card['described_by']}, {minute(card['described_at'])}" if card["described_by"] else ""
    rows = [
        ("Digest", card["digest"]),
        ("Format", card["format"]),
        ("Owner", said.get("owner", "")),
        ("Licence", said.get("licence", "")),
        ("Data class", card["data_class"]),
        ("Pushed by", f"{card['pushed_by']}, {minute(card['pushed_at'])}"),
        ("Training", card["provenance"]["text"]),
        ("Converted", converted(card.get("conversion"))),
        ("Scan", found),
        ("Evaluation", evaluated(card["evaluation"])),
        ("Described by", by),
        *_run_facts(card),
        *((f"File {path}", f"{entry['size']} bytes, {entry['digest']}") for path, entry in card["files"].items()),
    ]
    return [("", ""), *((name, value) for name, value in rows if value)]


def converted(conversion: dict[str, Any] | None) -> str:
    """What this home did, in one line; empty: nothing."""
    if not conversion:
        return ""
    source, compared = conversion["source"], conversion["compared"]
    held = f", despite {', '.join(source['findings'])}" if conversion.get("despite_findings") else ""
    return (
        f"here, from {source['name']} ({source['digest']}), {minute(conversion['ended'])}, by {conversion['by']}{held}; differs by "
        f"at most {compared['max_difference']:g} on {conversion['sample']['rows']} rows ({conversion['sample']['origin']})"
    )


def evaluated(evaluation: dict[str, Any]) -> str:
    """How a version stands by its gates, in one line."""
    if "on" not in evaluation:
        excepted = evaluation.get("exception")
        return f"{evaluation['state']}: {excepted['reason']}" if excepted else ""
    return f"{evaluation['state']}, {evaluation['rows']} rows of {evaluation['on']}, {minute(evaluation['at'])}"


def _run_facts(card: dict[str, Any]) -> Rows:
    run = card.get("run")
    if not run:
        return []
    source = run.get("repository", {})
    changed = ", with changes" if source.get("dirty") else ""
    return [
        ("Trained", f"{minute(run['began'])} to {minute(run['ended'])}, by {run['by']}"),
        ("Commit", f"{source['commit']}{changed}" if source else ""),
    ]


def _origin(origin: dict[str, Any]) -> tuple[str, ...]:
    name = origin.get("name", origin.get("signer", ""))
    name += f"@{origin['version']}" if origin["kind"] in ("dataset", "model") else ""
    state = f", {origin['state']}" if origin.get("state", "live") != "live" else ""
    return origin["kind"], name + state, origin["digest"]


def markdown_table(rows: Rows) -> list[str]:
    """The lines of a table. Args: rows: the first is the heading."""
    heading, *body = rows
    lines = [heading, ("---",) * len(heading), *body]
    return [
        "| " + " | ".join(as_cell(cell) if line is not lines[1] else cell for cell in line) + " |" for line in lines
    ]


def html_table(rows: Rows) -> str:
    """The same as HTML, escaped."""
    heading, *body = rows
    head = "".join(f"<th scope=col>{as_text(cell)}</th>" for cell in heading)
    lines = "".join("<tr>" + "".join(f"<td>{as_text(cell)}</td>" for cell in line) + "</tr>" for line in body)
    return f"<table><thead><tr>{head}</tr></thead><tbody>{lines}</tbody></table>"


def as_cell(text: str) -> str:
    """Foreign text on one line of Markdown."""
    return _prose(text).replace("\n", " ").replace("|", "\\|")


def _prose(text: str) -> str:
    """What people wrote, with nothing that Markdown or HTML in it would take for markup."""
    plain = output.visible(str(text), keep="\n").replace("\\", "\\\\")
    for character in "`*_[]<>#":
        plain = plain.replace(character, "\\" + character)
    return plain


def as_text(value: Any) -> str:
    """Foreign text in HTML."""
    return escape(output.visible(str(value), keep="\n"))
