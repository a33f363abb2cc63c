"""JSON with one meaning only: no duplicate keys, no NaN, bounded depth."""

from __future__ import annotations

import json
import re
from typing import Any, NoReturn

_DEPTH = 200
_TOKENS = re.compile(r'"(?:[^"\\]|\\.)*+"|[\[\]{}]', re.DOTALL)  # texts whole, and brackets outside them


def parse_json(data: bytes | memoryview) -> Any:
    """The value. Raises: ValueError, with a sentence fit to be shown."""
    try:
        text = bytes(data).decode("utf-8")
    except UnicodeDecodeError as error:
        raise ValueError(f"not UTF-8 at byte {error.start}") from None
    _check_depth(text)
    try:
        return json.loads(text, object_pairs_hook=_unique, parse_constant=_no_constant)
    except RecursionError:
        raise ValueError("nested too deeply") from None


def _check_depth(text: str) -> None:
    """Raises: ValueError. Brackets inside strings are taken out first."""
    depth = 0
    for match in _TOKENS.finditer(text) if text.count("[") + text.count("{") > _DEPTH else ():
        mark = match[0]
        if mark in "[{":
            depth += 1
            if depth > _DEPTH:
                raise ValueError("nested too deeply")
        elif mark in "]}":
            depth -= 1


def _unique(pairs: list[tuple[str, Any]]) -> dict[str, Any]:
    value = dict(pairs)
    if len(value) != len(pairs):
        seen: set[str] = set()
        twice = next(key for key, _ in pairs if key in seen or seen.add(key))  # type: ignore[func-returns-value]
        raise ValueError(f"the key {twice[:60]!r} stands twice")
    return value


def _no_constant(name: str) -> NoReturn:
    raise ValueError(f"{name} is not JSON")
