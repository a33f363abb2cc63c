"""An evaluation as Markdown, and as a page with pictures to print or to keep."""

from __future__ import annotations

from typing import Any

from casemate.cli.access_sheets import STYLE
from casemate.cli.card_sheets import Rows, as_cell, as_text, html_table, markdown_table

_WORD = {True: "passed", False: "failed", None: "not measured"}
_WIDE, _HIGH, _EDGE = 360, 260, 40  # of a picture


def as_markdown(result: dict[str, Any]) -> str:
    """CommonMark with tables; no name of a column or class can end a cell or begin markup of its own."""
    lines = [f"# {as_cell(_title(result))}", "", as_cell(_summary(result)), ""]
    for title, rows in _tables(result):
        lines += [f"## {title}", "", *markdown_table(rows), ""]
    for title, texts in _texts(result):
        lines += [f"## {title}", "", *(f"- {as_cell(text)}" for text in texts), ""]
    return "\n".join(lines)


def as_html(result: dict[str, Any]) -> str:
    """One page without scripts or anything from elsewhere; every text is escaped."""
    title, report = _title(result), result["report"]
    tables = "".join(f"<h2>{name}</h2>{html_table(rows)}" for name, rows in _tables(result))
    texts = "".join(
        f"<h2>{name}</h2><ul>{''.join(f'<li>{as_text(one)}</li>' for one in said)}</ul>"
        for name, said in _texts(result)
    )
    pictures = calibration_picture(report["calibration"]) + slices_picture(report["slices"])
    return f"""<!doctype html>
<html lang=en><head><meta charset=utf-8><meta name=viewport content="width=device-width,initial-scale=1">
<meta http-equiv=Content-Security-Policy content="default-src 'none'; style-src 'unsafe-inline'">
<title>{as_text(title)}</title><style>{STYLE}
body{{max-width:60rem}}h2{{font-size:1.1rem;margin:1.6rem 0 .4rem}}svg{{max-width:100%;height:auto;font-size:11px}}
svg text{{fill:currentColor}}
</style></head><body>
<h1>{as_text(title)}</h1><p>{as_text(_summary(result))}</p>{pictures}{tables}{texts}
</body></html>
"""


def calibration_picture(bins: list[dict[str, Any]]) -> str:
    """SVG: how sure the model was, and how often it was right; on the line it can be believed. Empty without bins."""
    if not bins:
        return ""
    points = " ".join(f"{_x(one['said']):.1f},{_y(one['right']):.1f}" for one in bins)
    dots = "".join(
        f'<circle cx="{_x(one["said"]):.1f}" cy="{_y(one["right"]):.1f}" r="3.5" fill="currentColor"><title>'
        f"said {one['said']:.3f}, right {one['right']:.3f}, {one['rows']} rows</title></circle>"
        for one in bins
    )
    ticks = "".join(
        f'<text x="{_x(at):.0f}" y="{_HIGH - _EDGE + 16}" text-anchor="middle">{at:g}</text>'
        f'<text x="{_EDGE - 6}" y="{_y(at) + 4:.0f}" text-anchor="end">{at:g}</text>'
        for at in (0, 0.5, 1)
    )
    return (
        f'<h2>Calibration</h2><svg role="img" aria-label="calibration curve" viewBox="0 0 {_WIDE} {_HIGH}" width="{_WIDE}">'
        f'<path d="M{_x(0)} {_y(1)}V{_y(0)}H{_x(1)}" fill="none" stroke="currentColor"/>'
        f'<path d="M{_x(0)} {_y(0)}L{_x(1)} {_y(1)}" stroke="currentColor" stroke-dasharray="4 4" opacity=".5"/>'
        f'<polyline points="{points}" fill="none" stroke="currentColor" stroke-width="1.5"/>{dots}{ticks}'
        f'<text x="{_WIDE / 2:.0f}" y="{_HIGH - 6}" text-anchor="middle">confidence said</text>'
        f'<text x="12" y="{_HIGH / 2:.0f}" text-anchor="middle" transform="rotate(-90 12 {_HIGH / 2:.0f})">share right</text></svg>'
    )


def slices_picture(slices: list[dict[str, Any]]) -> str:
    """SVG: the worst slices, each with its interval. Empty without slices."""
    shown = slices[:12]
    if not shown:
        return ""
    most = max([1.0, *(one["interval"]["high"] for one in shown)]) if shown[0]["metric"] != "accuracy" else 1.0
    if shown[0]["metric"] != "accuracy":
        most = max(one["interval"]["high"] for one in shown) or 1.0
    lines, start, wide = [], 190, 300
    for place, one in enumerate(shown):
        y = 20 + 22 * place
        low, value, high = (start + wide * max(0.0, min(1.0, at / most)) for at in (one["interval"]["low"], one["value"], one["interval"]["high"]))  # fmt: skip
        name = f"{one['column']} {one['name']}"
        lines.append(
            f'<text x="{start - 8}" y="{y + 4}" text-anchor="end">{as_text(name[:28])}</text>'
            f'<path d="M{low:.1f} {y}H{high:.1f}" stroke="currentColor" opacity=".5" stroke-width="2"/>'
            f'<circle cx="{value:.1f}" cy="{y}" r="4" fill="currentColor"/>'
            f'<text x="{start + wide + 8}" y="{y + 4}">{one["value"]:.3g} of {one["rows"]}</text>'
        )
    high = 30 + 22 * len(shown)
    return (
        f'<h2>Slices: {as_text(shown[0]["metric"])}, 0 to {most:.3g}</h2><svg role="img" aria-label="slices" '
        f'viewBox="0 0 600 {high}" width="600">{"".join(lines)}</svg>'
    )


def _x(share: float) -> float:
    return _EDGE + share * (_WIDE - _EDGE - 12)


def _y(share: float) -> float:
    return 12 + (1 - share) * (_HIGH - _EDGE - 12)


def _title(result: dict[str, Any]) -> str:
    return f"Evaluation of {result['name']}, version {result['version']}"


def _summary(result: dict[str, Any]) -> str:
    found, report = result["evaluation"], result["report"]
    members = f", trained on {found['members']}" if found.get("members") else ""
    return (
        f"{found['state']}. {report['rows']} rows of {found['on']}, column {found['label']}{members}; "
        f"by {found['by']}, {found['at']}. Evaluation number {found['evaluations']} of this version."
    )


def _tables(result: dict[str, Any]) -> list[tuple[str, Rows]]:
    found, report = result["evaluation"], result["report"]
    gates = [(one["gate"], _number(one["found"]), _WORD[one["passed"]], "" if one["stated"] else "default") for one in found["gates"]]  # fmt: skip
    tables: list[tuple[str, Rows]] = [
        ("Gates", [("Gate", "Found", "", ""), *gates]),
        ("Figures", [("Figure", "Value"), *((name, _number(value)) for name, value in report["figures"].items())]),
        ("Slices", [("Column", "Value", "Rows", "Metric", "", "95 % for all together"), *map(_slice, report["slices"])]),
        ("Groups", [("Column", "Value", "Rows", "Selected", "True positive", "False positive", "Accuracy"), *map(_group, report["groups"])]),
    ]  # fmt: skip
    for name in ("leakage", "evasion"):
        facts = [(key, _plain(value)) for key, value in _flat(report[name]).items()]
        tables.append((name.capitalize(), [("", ""), *facts]))
    return [(title, rows) for title, rows in tables if len(rows) > 1]


def _texts(result: dict[str, Any]) -> list[tuple[str, list[str]]]:
    report = result["report"]
    named = [("How to read it", report["notes"]), ("Not looked at", report["skipped"])]
    return [(title, texts) for title, texts in named if texts]


def _slice(one: dict[str, Any]) -> tuple[str, ...]:
    between = f"{one['interval']['low']:.3g} to {one['interval']['high']:.3g}"
    return one["column"], one["name"], str(one["rows"]), one["metric"], _number(one["value"]), between


def _group(one: dict[str, Any]) -> tuple[str, ...]:
    rates = (one["selected"], one["true_positive"], one["false_positive"], one["accuracy"])
    return one["column"], one["name"], str(one["rows"]), *map(_number, rates)


def _flat(value: dict[str, Any], prefix: str = "") -> dict[str, Any]:
    found: dict[str, Any] = {}
    for key, item in value.items():
        name = f"{prefix} {key}".strip().replace("_", " ")
        found |= _flat(item, name) if isinstance(item, dict) else {name: item}
    return found


def _plain(value: Any) -> str:
    if isinstance(value, list):
        return ", ".join(_plain(one) for one in value)
    return _number(value) if isinstance(value, float) else str(value)


def _number(value: float | None) -> str:
    return "-" if value is None else f"{value:.4g}"
