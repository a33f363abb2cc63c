"""Chat templates: Jinja that formats messages. What reaches for Python's insides is refused, and so is what is too large.

A template that is not refused here is still to be rendered in a sandboxed environment only. Source: jinja.palletsprojects.com,
"Sandbox"; CVE-2024-34359, CVE-2025-61620.
"""

from __future__ import annotations

import re

from casemate.scanning.format_rules import TEMPLATE_CODE
from casemate.scanning.notes import Notes

_MOST = 1 << 18  # characters
_INSIDES = re.compile(
    r"__|\\x5f|\\u005f|\\137|\|\s*(?:attr|map\s*\(\s*attribute)\b|\b(?:cycler|joiner|lipsum|namespace|self|request|config|url_for)\s*[.\[]"
    r"|\b(?:mro|subclasses|globals|builtins|popen|getattr|eval|exec|import_module|func_globals|gi_frame|f_back|format_map)\b"
    r"|\{%-?\s*(?:include|import|from|extends)\b|range\s*\(\s*\d{6,}",
    re.IGNORECASE,
)
# `namespace(...)` and its fields are what honest templates keep state in; only its insides are not.
_HONEST = re.compile(r"\bnamespace\s*\(|\bselfies\b")


def check_template(text: str, notes: Notes, location: str) -> None:
    """Note what a template does not need."""
    if len(text) > _MOST:
        notes.add(TEMPLATE_CODE, f"{len(text)} characters; at most {_MOST}", location)
        return
    inside = " ".join(re.findall(r"\{[{%].*?[%}]\}", text, re.DOTALL)) or ("" if "{" not in text else text)
    if match := _INSIDES.search(_HONEST.sub("", inside)):
        start = max(0, match.start() - 20)
        notes.add(TEMPLATE_CODE, f"{match[0]!r} in ...{inside[start : match.end() + 30]}", location)
