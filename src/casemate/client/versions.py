"""Versions of a dataset beside each other, as Python calls: `casemate.versions`."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

from casemate.client.paths import ref_path
from casemate.core import InputError, parse_ref

Send = Callable[..., dict[str, Any]]


class VersionCalls:
    """The calls of one client."""

    def __init__(self, get: Send, change: Send) -> None:
        self._get, self._change = get, change

    def diff(
        self, before: str, after: str, *, key: str | None = None, rows: int = 0, reason: str = ""
    ) -> dict[str, Any]:
        """What differs between two versions of one dataset: `{"schema", "rows", "columns"}`.

        Args: key: the column that names each row; without it, a changed row is one removed and one added. rows: how
            many of each kind to show under `shown`, for a `reason`; 0: no value leaves the walls.
        """
        first, second = parse_ref(before), parse_ref(after)
        if (first.project, first.name) != (second.project, second.name):
            raise InputError("Name two versions of one dataset: NAME@1 NAME@2.", code="other-dataset")
        query: dict[str, Any] = {"to": str(second.version or "latest"), "key": key, "reason": reason}
        path = f"/datasets/{ref_path(before)}/diff"
        return self._get(f"{path}/rows", {**query, "rows": rows}) if rows else self._get(path, query)
