"""What schema.json says of each column, gathered batch by batch. Runs in the sandbox."""

from __future__ import annotations

import math
from typing import Any

import pyarrow as pa
import pyarrow.compute as pc
import pyarrow.types as pt

from casemate.core import Finding, InputError, TooLargeError
from casemate.scanning.columns import CLIP, TYPE_NAMES
from casemate.scanning.limits import DatasetLimits
from casemate.scanning.rules import DATASET_EMPTY_COLUMN, DATASET_NOT_FINITE


class TableFacts:
    """The content of schema.json, once all rows have been seen. Holds no more of them than the categories it lists."""

    def __init__(self, schema: pa.Schema, *, target: str | None, filename: str, limits: DatasetLimits) -> None:
        """Raises: InputError `dataset-target`."""
        if target is not None and target not in schema.names:
            known = ", ".join(schema.names[:12])
            raise InputError(
                f"{filename} has no column {target[:CLIP]!r}; it has {known[:400]}.", code="dataset-target"
            )
        self.rows = 0
        self._columns = [
            _ColumnFacts(
                field, role=None if target is None else "target" if field.name == target else "feature", limits=limits
            )
            for field in schema
        ]
        self._filename = filename

    def add(self, batch: pa.RecordBatch) -> None:
        """Raises: TooLargeError: a value is too long."""
        for facts, column in zip(self._columns, batch.columns, strict=True):
            facts.add(column, self._filename)
        self.rows += batch.num_rows

    def described(self) -> dict[str, Any]:
        """Content of schema.json."""
        return {"schema": 1, "rows": self.rows, "columns": [facts.described() for facts in self._columns]}

    def oddities(self) -> list[Finding]:
        """Columns that somebody should look at before training."""
        found = []
        for facts in self._columns:
            if facts.nulls == self.rows:
                found.append(DATASET_EMPTY_COLUMN.found("every value is missing", location=facts.name))
            elif facts.infinite:
                found.append(DATASET_NOT_FINITE.found(f"{facts.infinite} infinite values", location=facts.name))
        return found


class _ColumnFacts:
    def __init__(self, field: pa.Field, *, role: str | None, limits: DatasetLimits) -> None:
        self.name, self._kind, self._role, self._limits = field.name, field.type, role, limits
        self.nulls = self.infinite = 0
        self._low: Any = None
        self._high: Any = None
        lists = pt.is_string(field.type) or (role == "target" and not pt.is_floating(field.type))
        self._categories: set[Any] | None = set() if lists and not pt.is_binary(field.type) else None

    def add(self, column: pa.Array, filename: str) -> None:
        self.nulls += column.null_count
        if pt.is_string(column.type):
            self._check_cells(column, filename)
        elif not pt.is_boolean(column.type) and not pt.is_binary(column.type):
            self._range(column)
        if self._categories is not None:
            self._categories |= set(pc.unique(column.drop_null()).to_pylist())
            if len(self._categories) > self._limits.categories:
                self._categories = None  # too many to be listed, whatever comes

    def described(self) -> dict[str, Any]:
        low, high = (value.isoformat() if hasattr(value, "isoformat") else value for value in (self._low, self._high))
        about: dict[str, Any] = {"name": self.name, "type": TYPE_NAMES[self._kind], "role": self._role}
        about |= {"min": low, "max": high, "nulls": self.nulls}
        if self._categories:
            about["categories"] = sorted(
                value if isinstance(value, str | int) else str(value) for value in self._categories
            )
        return about

    def _range(self, column: pa.Array) -> None:
        """The least and the greatest of the finite values."""
        if pt.is_floating(column.type):
            finite = column.filter(pc.is_finite(column))
            self.infinite += len(column) - column.null_count - len(finite)
            column = finite
        ends = pc.min_max(column).as_py()
        low, high = ends["min"], ends["max"]
        if low is None or (isinstance(low, float) and not math.isfinite(low)):
            return
        self._low = low if self._low is None else min(self._low, low)
        self._high = high if self._high is None else max(self._high, high)

    def _check_cells(self, column: pa.Array, filename: str) -> None:
        longest = pc.max(pc.binary_length(column)).as_py() or 0
        if longest > self._limits.cell_bytes:
            raise TooLargeError(
                f"{filename}: column {self.name[:CLIP]!r} has a value of {longest} bytes; at most"
                f" {self._limits.cell_bytes} are taken.",
                code="dataset-too-large",
            )
