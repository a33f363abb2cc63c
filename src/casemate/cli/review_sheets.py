"""An access review as a table, as CSV, and as a page to print or to keep as evidence."""

from __future__ import annotations

import json
from html import escape
from typing import Any

from casemate.cli import access_sheets, output
from casemate.cli.access_sheets import minute, sheet

COLUMNS = (
    "grant", "principal", "name", "role", "scope", "environment", "since", "until", "granted_by", "granted_for",
    "uses", "last_used", "actions", "proposal", "why", "instead", "state", "reason", "answered_by", "answered_at",
)  # fmt: skip
_HEADS = ("Grant", "Who", "May", "Used", "Proposal", "Answer")


def table(rows: list[dict[str, Any]]) -> None:
    """For people, on the screen."""
    cells = [dict(zip(_HEADS, _cells(row), strict=True)) for row in rows]
    output.table([{"id": row["grant"], **cell} for row, cell in zip(rows, cells, strict=True)],
                 {"id": "id"} | {head: head.lower() for head in _HEADS[1:]}, empty="No grant.")  # fmt: skip


def _cells(row: dict[str, Any]) -> tuple[str, ...]:
    where = f" in {row['environment']}" if row["environment"] else ""
    proposal = f"{row['proposal']}: {row['why']}" + (f" -> {row['instead']}" if row["instead"] else "")
    answer = row["state"] + (f" by {row['answered_by']}: {row['reason']}" if row["answered_by"] else "")
    used = f"{row['uses']}x, last {minute(row['last_used'])}" if row["uses"] else "never"
    return row["grant"], row["name"], f"{row['role']} on {row['scope']}{where}", used, proposal, answer


def as_csv(rows: list[dict[str, Any]]) -> str:
    """RFC 4180, safe to open in a spreadsheet."""
    return sheet([{**row, "actions": json.dumps(row["actions"])} for row in rows], COLUMNS)


def as_html(found: dict[str, Any]) -> str:
    """One page without scripts or anything from elsewhere; every text is escaped."""
    body = "\n".join(_line(_cells(row)) for row in found["grants"])
    record = "\n".join(
        _line([str(one["seq"]), one["at"], one["kind"], one["action"], one["actor"], one["outcome"], one["reason"]])
        for one in found.get("record", [])
    )
    due = f"opened {minute(found['opened_at'])}, due {minute(found['due_at'])}, {found['state']}"
    counts = ", ".join(f"{found[name]} {name}" for name in ("kept", "revoked", "ended", "open"))
    return f"""<!doctype html>
<html lang=en><head><meta charset=utf-8><meta name=viewport content="width=device-width,initial-scale=1">
<meta http-equiv=Content-Security-Policy content="default-src 'none'; style-src 'unsafe-inline'">
<title>{_text(found["title"])}</title><style>{access_sheets.STYLE}</style></head><body>
<h1>{_text(found["title"])}</h1>
<p>{_text(found["id"])}: {due}. {counts} of {found["items"]} grants. For {_text(", ".join(found["reviewers"]) or "owners")}.</p>
<table><thead><tr>{_heads(_HEADS)}</tr></thead><tbody>
{body}
</tbody></table>
<h1>Entries of the audit log</h1>
<p>Each is proved by: casemate audit prove ENTRY.</p>
<table><thead><tr>{_heads(("Entry", "At", "Kind", "Action", "Actor", "Outcome", "Reason"))}</tr></thead><tbody>
{record}
</tbody></table>
</body></html>
"""


def _heads(names: tuple[str, ...]) -> str:
    return "".join(f"<th scope=col>{name}</th>" for name in names)


def _line(cells: Any) -> str:
    return "<tr>" + "".join(f"<td>{_text(cell)}</td>" for cell in cells) + "</tr>"


def _text(value: Any) -> str:
    return escape(output.visible(str(value)))
