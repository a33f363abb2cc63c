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
    lines = [f"# {_cell(card['name'])}, version {card['version']}", ""]
    if card["revoked"]:
        lines += ["**Revoked: it must not be used.**", ""]
    if card["missing"]:
        lines += [f"**Not said yet: {', '.join(card['missing'])}.**", ""]
    for title, rows in _tables(card):
        lines += [f"## {title}", "", *_markdown_table(rows), ""]
    for field, title in _SAID:
        lines += [f"## {title}", "", _prose(card["described"].get(field) or "Not said."), ""]
    return "\n".join(lines)


def as_html(card: dict[str, Any]) -> str:
    """One page without scripts or anything from elsewhere; every text is escaped."""
    title = f"{card['name']}, version {card['version']}"
    warnings = ["Revoked: it must not be used."] if card["revoked"] else []
    warnings += [f"Not said yet: {', '.join(card['missing'])}."] if card["missing"] else []
    notes = "".join(f'<p class="never"><b>{_text(one)}</b></p>' for one in warnings)
    said = "".join(
        f"<h2>{head}</h2><p class=said>{_text(card['described'].get(field) or 'Not said.')}</p>"
        for field, head in _SAID
    )
    tables = "".join(f"<h2>{name}</h2>{_html_table(rows)}" for name, rows in _tables(card))
    return f"""<!doctype html>
<html lang=en><head><meta charset=utf-8><meta name=viewport content="width=device-width,initial-scale=1">
<meta http-equiv=Content-Security-Policy content="default-src 'none'; style-src 'unsafe-inline'">
<title>{_text(title)}</title><style>{STYLE}
body{{max-width:60rem}}h2{{font-size:1.1rem;margin:1.6rem 0 .4rem}}.said{{white-space:pre-wrap;color:inherit}}
</style></head><body>
<h1>{_text(title)}</h1>{notes}{said}{tables}
</body></html>
"""


Rows = list[tuple[str, ...]]  # the first is the heading


def _tables(card: dict[str, Any]) -> list[tuple[str, Rows]]:
    said = card["described"]
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
        ("How well it does", [_MEASURED, *metrics]),
        ("What goes in and comes out", [("", "Name", "Type and shape"), *tensors]),
        ("What it was made from", [("Kind", "Name", "Digest"), *map(_origin, card["made_from"])]),
        ("Who approved it", [("For", "By", "At", "Why"), *approvals]),
    ]
    return [(title, rows) for title, rows in found if len(rows) > 1]


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
        ("Scan", found),
        ("Described by", by),
        *((f"File {path}", f"{entry['size']} bytes, {entry['digest']}") for path, entry in card["files"].items()),
    ]
    return [("", ""), *((name, value) for name, value in rows if value)]


def _origin(origin: dict[str, Any]) -> tuple[str, ...]:
    name = origin.get("name", origin.get("signer", ""))
    name += f"@{origin['version']}" if origin["kind"] in ("dataset", "model") else ""
    state = f", {origin['state']}" if origin.get("state", "live") != "live" else ""
    return origin["kind"], name + state, origin["digest"]


def _markdown_table(rows: Rows) -> list[str]:
    heading, *body = rows
    lines = [heading, ("---",) * len(heading), *body]
    return ["| " + " | ".join(_cell(cell) if line is not lines[1] else cell for cell in line) + " |" for line in lines]


def _html_table(rows: Rows) -> str:
    heading, *body = rows
    head = "".join(f"<th scope=col>{_text(cell)}</th>" for cell in heading)
    lines = "".join("<tr>" + "".join(f"<td>{_text(cell)}</td>" for cell in line) + "</tr>" for line in body)
    return f"<table><thead><tr>{head}</tr></thead><tbody>{lines}</tbody></table>"


def _cell(text: str) -> str:
    return _prose(text).replace("\n", " ").replace("|", "\\|")


def _prose(text: str) -> str:
    """What people wrote, with nothing that Markdown or HTML in it would take for markup."""
    plain = output.visible(str(text), keep="\n").replace("\\", "\\\\")
    for character in "`*_[]<>#":
        plain = plain.replace(character, "\\" + character)
    return plain


def _text(value: Any) -> str:
    return escape(output.visible(str(value), keep="\n"))
