"""A table is looked at for personal data: a report for each column, and what the columns say together."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import msgspec

from casemate.core import DataClass, Finding, SealedFile, Severity, verdict_of
from casemate.privacy.cells import Opinion, is_quasi, look_at_column, recognition_for
from casemate.privacy.kinds import Kind
from casemate.privacy.measures import measure
from casemate.privacy.report import (
    COVERED,
    NO_PURPOSE,
    NOT_COVERED,
    QUASI_ALONE,
    QUASI_UNIQUE,
    ColumnReport,
    PersonalConfig,
    PersonalReport,
)

# (Parquet, the class that it is to have, whether its purposes are stated)
Look = Callable[[SealedFile, DataClass, bool], PersonalReport]
_TYPES = {
    "date32[day]": "date",
    "timestamp[us]": "timestamp",
    "double": "float64",
}  # Arrow's names to those of schema.json


def look_at_table(
    table: Any,
    *,
    declared: DataClass = DataClass.INTERNAL,
    config: PersonalConfig | None = None,
    opinion: Opinion | None = None,
) -> PersonalReport:
    """What of people an Arrow table of plain columns holds, and whether its declared class covers that.

    Deterministic. Args: declared: the data class that the table is to be pushed under. opinion: a second recogniser of texts.
    """
    config = config or PersonalConfig()
    recognition = recognition_for(table, config)
    columns = tuple(
        look_at_column(
            name, column, _TYPES.get(str(column.type), str(column.type)), config=config, recognition=recognition, opinion=opinion
        )
        for name, column in zip(table.column_names, table.columns, strict=True)
    )  # fmt: skip
    quasi = tuple(one.name for one in columns if is_quasi(one))
    unique = measure(table, quasi=quasi).unique if quasi else 0.0
    columns = tuple(_weighed(one, columns) for one in columns)
    found, proposed = _findings(columns, quasi, unique, declared, config)
    return PersonalReport(
        verdict=verdict_of(found),
        rows=table.num_rows,
        declared=declared,
        proposed=proposed,
        columns=columns,
        quasi=quasi,
        unique=unique,
        findings=tuple(found),
        skipped=() if opinion else ("second opinion: Presidio was not asked (--second-opinion, casemate[presidio])",),
    )


def _weighed(column: ColumnReport, columns: tuple[ColumnReport, ...]) -> ColumnReport:
    """The same report; a column about health alone, in a table about nobody, is of no class."""
    kinds = {one.kind for one in column.kinds}
    if kinds == {Kind.HEALTH} and not any(k.kind is not Kind.HEALTH for c in columns for k in c.kinds):
        return msgspec.structs.replace(column, data_class=None)
    return column


def _findings(
    columns: tuple[ColumnReport, ...],
    quasi: tuple[str, ...],
    unique: float,
    declared: DataClass,
    config: PersonalConfig,
) -> tuple[list[Finding], DataClass]:
    found: list[Finding] = []
    proposed = DataClass.PUBLIC
    alone = unique <= config.unique
    for column in columns:
        if column.data_class is None or (column.name in quasi and alone):
            continue
        if column.name not in quasi:
            proposed = max(proposed, column.data_class, key=lambda one: one.rank)
            first = column.kinds[0]
            said = (
                f"{column.name[:60]!r} holds {first.kind} in {first.count} of {column.values} values, as in {first.example!r}"
                + "".join(f"; {k.kind} in {k.count}" for k in column.kinds[1:4])
            )
            rule = COVERED if declared.rank >= column.data_class.rank else NOT_COVERED
            found.append(rule.found(said, location=column.name, confidence=first.confidence))
    if quasi:
        said = f"{', '.join(quasi)[:120]}: {unique:.1%} of the rows are alone with theirs"
        if not alone:
            proposed = max(proposed, DataClass.PERSONAL, key=lambda one: one.rank)
        rule = QUASI_ALONE if alone or declared.rank >= DataClass.PERSONAL.rank else QUASI_UNIQUE
        one = rule.found(said, location=quasi[0])
        found.append(one if rule is QUASI_UNIQUE or alone else _told(one))
    return found, max(proposed, DataClass.INTERNAL, key=lambda one: one.rank)


def _told(finding: Finding) -> Finding:
    return msgspec.structs.replace(finding, severity=Severity.LOW)


def without_purpose(report: PersonalReport) -> PersonalReport:
    """The same report, which refuses personal data: nobody says what models may be trained for on it."""
    if report.proposed.rank < DataClass.PERSONAL.rank:
        return report
    found = (*report.findings, NO_PURPOSE.found(f"the class {report.proposed} is proposed"))
    return msgspec.structs.replace(report, findings=found, verdict=verdict_of(list(found)))


def facts_of(report: PersonalReport) -> dict[str, Any]:
    """What a record keeps of a report: the kinds in each column, as plain JSON. Holds neither a value nor its form."""
    return {
        "proposed": report.proposed.value,
        "unique": report.unique,
        "columns": {one.name: sorted(kind.kind.value for kind in one.kinds) for one in report.columns if one.kinds},
    }
