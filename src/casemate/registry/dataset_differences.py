"""What differs between two versions of a dataset: schema, rows, and how the values of each column moved."""

from __future__ import annotations

from typing import Any, Protocol

import msgspec

from casemate.core import InputError, SealedFile
from casemate.scanning import TableDifference
from casemate.signing import VersionIdentity

MOST_SHOWN = 100  # rows of each kind in one answer


class Compare(Protocol):
    """`scanning.compare_tables`."""

    def __call__(
        self, before: SealedFile, after: SealedFile, columns: list[str], *, key: str | None = None, shown: int = 0
    ) -> TableDifference: ...


class Opened(Protocol):
    """`VerifiedDataset`."""

    about: VersionIdentity
    schema: dict[str, Any]
    parquet: SealedFile


def difference(compare: Compare, before: Opened, after: Opened, *, key: str, shown: int) -> dict[str, Any]:
    """`{"name", "from", "to", "key", "schema", "rows", "columns"}`, and `shown` where rows are asked for.

    Rows are compared over the columns that both have, of one type. Without `key` a row that differs in one value was
    removed, and another added.
    Raises: InputError `dataset-key`, `bad-count`; TooLargeError; SandboxError.
    """
    if not 0 <= shown <= MOST_SHOWN:
        raise InputError(f"At most {MOST_SHOWN} rows of each kind are shown.", code="bad-count")
    kinds, later = _kinds(before.schema), _kinds(after.schema)
    common = [name for name, kind in kinds.items() if later.get(name) == kind]
    if key and key not in common:
        raise InputError(
            f"{key[:80]!r} is no column that both versions have, of one type: name another.", code="dataset-key"
        )
    found = compare(before.parquet, after.parquet, common, key=key or None, shown=shown)
    return {
        "name": before.about.name,
        "from": _version(before.about),
        "to": _version(after.about),
        "key": key or None,
        "schema": schema_changes(before.schema, after.schema),
        **msgspec.to_builtins(found),
    }


def schema_changes(before: dict[str, Any], after: dict[str, Any]) -> dict[str, Any]:
    """Columns `added` and `removed`, those `changed` in type or role, and whether the rest stands in another order."""
    first, second = (
        {column["name"]: {"type": column["type"], "role": column["role"]} for column in schema["columns"]}
        for schema in (before, after)
    )
    return {
        "added": [{"name": name, **facts} for name, facts in second.items() if name not in first],
        "removed": [{"name": name, **facts} for name, facts in first.items() if name not in second],
        "changed": [
            {"name": name, "before": facts, "after": second[name]}
            for name, facts in first.items()
            if name in second and second[name] != facts
        ],
        "reordered": [name for name in first if name in second] != [name for name in second if name in first],
    }


def _kinds(schema: dict[str, Any]) -> dict[str, str]:
    return {column["name"]: column["type"] for column in schema["columns"]}


def _version(about: VersionIdentity) -> dict[str, Any]:
    return {"version": about.number, "digest": about.digest}
