"""The access report as a sheet for people, for a spreadsheet, and as a page of its own."""

from __future__ import annotations

import csv
import io
import re
from datetime import UTC, datetime
from html import escape
from typing import Any

from casemate.cli.output import visible

COLUMNS = (
    "name", "principal", "kind", "credential", "grant", "role", "scope", "environment", "project", "since", "until",
    "granted_by", "granted_by_name", "reason", "last_used", "last_used_from", "networks", "state", "ended",
)  # fmt: skip
# What a spreadsheet takes for the start of a formula: in a cell, or after what it may take for the end of one.
# Source: OWASP, CSV Injection; wide forms too, since East Asian editions read them as the plain ones.
_FORMULA = re.compile(r"(^|[;,|])(\s*)([=+\-@|%\uff1d\uff0b\uff0d\uff20])")
_STATES = ("active", "expired", "revoked")


def as_csv(rows: list[dict[str, Any]]) -> str:
    """The access report as CSV."""
    return sheet(rows, COLUMNS)


def sheet(rows: list[dict[str, Any]], columns: tuple[str, ...]) -> str:
    """RFC 4180, every cell quoted; a cell that a spreadsheet would run starts with an apostrophe instead."""
    text = io.StringIO()
    writer = csv.writer(text, quoting=csv.QUOTE_ALL, lineterminator="\r\n")
    writer.writerow(columns)
    for row in rows:
        writer.writerow([_cell(name, row.get(name)) for name in columns])
    return text.getvalue()


def _cell(name: str, value: Any) -> str:
    """One cell on one line. What never happened and what never ends say so."""
    if value is None:
        return "never" if name in ("last_used", "until") else ""
    return _FORMULA.sub(r"\1\2'\3", visible(_joined(value)))


def minute(at: str | None, *, none: str = "never") -> str:
    """An RFC 3339 time for people: UTC, to the minute."""
    return f"{at[:10]} {at[11:16]}Z" if at else none


def short(row: dict[str, Any]) -> dict[str, str]:
    """One row of the sheet for people."""
    where = f" in {row['environment']}" if row["environment"] else ""
    came = f" from {row['last_used_from']}" if row["last_used_from"] else ""
    if len(row["networks"]) > 1:
        came += f" ({len(row['networks'])} networks)"
    return {
        "who": f"{row['name']} {row['credential']}".strip(),
        "may": f"{row['role']} on {row['scope']}{where}",
        "granted": _granted(row),
        "why": row["reason"],
        "last used": minute(row["last_used"]) + came,
        "state": row["state"] + (f": {row['ended']}" if row["ended"] else ""),
    }


def _granted(row: dict[str, Any]) -> str:
    by = f" by {row['granted_by_name']}" if row["granted_by_name"] else ""
    return f"{minute(row['since'], none='always')}{by}, ends {minute(row['until'])}"


STYLE = """
:root{color-scheme:light dark;--line:#d0d7de;--soft:#57606a;--ok:#1a7f37;--warn:#9a6700;--bad:#cf222e;--head:#f6f8fa}
@media(prefers-color-scheme:dark){:root{--line:#30363d;--soft:#9198a1;--ok:#3fb950;--warn:#d29922;--bad:#f85149;
--head:#161b22}}
body{font:14px/1.45 system-ui,sans-serif;margin:2rem;background:Canvas;color:CanvasText}
h1{font-size:1.4rem;margin:0 0 .25rem}p{color:var(--soft);margin:.2rem 0 1.2rem}
table{border-collapse:collapse;width:100%}
th,td{text-align:left;vertical-align:top;padding:.45rem .6rem;border-bottom:1px solid var(--line);
overflow-wrap:anywhere}
th{position:sticky;top:0;background:var(--head);font-weight:600;white-space:nowrap}
td:nth-child(-n+2){min-width:13rem}td.why{min-width:10rem;max-width:28rem}td.when{white-space:nowrap}
small{display:block;color:var(--soft);font:12px ui-monospace,monospace}
b{font-weight:600}.active{color:var(--ok)}.expired{color:var(--warn)}.revoked{color:var(--bad)}.never{color:var(--warn)}
@media print{th{position:static}body{margin:0}}
"""


def as_html(rows: list[dict[str, Any]], *, now: datetime | None = None) -> str:
    """One page without scripts or anything from elsewhere; every text from the report is escaped."""
    made = minute((now or datetime.now(UTC)).isoformat())
    counts = ", ".join(f"{sum(row['state'] == state for row in rows)} {state}" for state in _STATES)
    unused = sum(row["state"] == "active" and row["last_used"] is None for row in rows)
    heads = "".join(f"<th scope=col>{head}</th>" for head in ("Who", "May", "Since", "Until", "Granted by", "Why",
                                                              "Last used", "State"))  # fmt: skip
    body = "\n".join(_line(row) for row in rows)
    return f"""<!doctype html>
<html lang=en><head><meta charset=utf-8><meta name=viewport content="width=device-width,initial-scale=1">
<meta http-equiv=Content-Security-Policy content="default-src 'none'; style-src 'unsafe-inline'">
<title>Access report, {made}</title><style>{STYLE}</style></head><body>
<h1>Who has access to what</h1>
<p>{made}, times in UTC. {counts}. Active and never used: {unused}.</p>
<table><thead><tr>{heads}</tr></thead><tbody>
{body}
</tbody></table></body></html>
"""


def _line(row: dict[str, Any]) -> str:
    where = f" in <b>{_text(row['environment'])}</b>" if row["environment"] else ""
    used = "" if row["last_used"] else " never"
    state = row["state"] if row["state"] in _STATES else ""
    cells = (
        ("", f"<b>{_text(row['name'])}</b><small>{_text(row['principal'])}</small>{_small(row['credential'])}"),
        ("", f"<b>{_text(row['role'])}</b> on {_text(row['scope'])}{where}{_small(row['grant'])}"),
        ("when", _text(minute(row["since"], none="always"))),
        ("when", _text(minute(row["until"]))),
        ("", f"{_text(row['granted_by_name'])}{_small(row['granted_by'])}"),
        ("why", _text(row["reason"])),
        (
            f"when{used}",
            f"{_text(minute(row['last_used']))}{_small(row['last_used_from'])}{_small(_joined(row['networks']))}",
        ),
        (state, f"{_text(row['state'])}{_small(row['ended'])}"),
    )
    return "<tr>" + "".join(f'<td class="{kind}">{cell}</td>' for kind, cell in cells) + "</tr>"


def _joined(value: Any) -> str:
    return " ".join(map(str, value)) if isinstance(value, list) else str(value)


def _small(text: str) -> str:
    return f"<small>{_text(text)}</small>" if text else ""


def _text(value: Any) -> str:
    return escape(visible(str(value)))
