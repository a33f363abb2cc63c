"""A table is made anonymous as a policy says, looked at again, and measured. Runs in the sandbox on foreign rows."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import msgspec
import numpy as np

from casemate.core import Finding, InputError, Severity, Verdict, verdict_of
from casemate.privacy.cells import Opinion, look_at_column, recognition_for
from casemate.privacy.kinds import QUASI, Kind, Treatment
from casemate.privacy.measures import Hidden, measure, too_small
from casemate.privacy.policy import ColumnRule, OnFailure, Others, Policy
from casemate.privacy.report import ColumnReport, PersonalConfig
from casemate.privacy.treatments import Keys, treated
from casemate.scanning.rules import Rule

_PRIVACY = ("NIST-AI-RMF:MEASURE-2.10", "OWASP-LLM:LLM02")
LEFT = Rule(
    id="personal-data-left",
    title="Personal data is left",
    severity=Severity.HIGH,
    remediation='Give the column a treatment, or keep it with a reason: because = "...".',
    references=_PRIVACY,
)  # fmt: skip
TOO_VISIBLE = Rule(
    id="rows-stand-out",
    title="Rows do not hide well enough among each other",
    severity=Severity.HIGH,
    remediation="Generalise a quasi-identifier further, allow more rows to be left out (suppress), or drop a column.",
    references=_PRIVACY,
)
NOT_MEASURED = Rule(
    id="quasi-not-measured",
    title="Columns that name people together are not in the measure",
    severity=Severity.HIGH,
    remediation="Name them under [measure] quasi, or drop them.",
    references=_PRIVACY,
)
UNREADABLE = Rule(
    id="values-lost",
    title="Values that a treatment could not read became missing ones",
    severity=Severity.LOW,
    remediation="Mend the values, or take another treatment.",
    references=_PRIVACY,
)


class TreatedColumn(msgspec.Struct, frozen=True, kw_only=True):
    """Args: lost: values that became missing ones. distinct: before and after."""

    name: str
    treatment: Treatment
    lost: int
    distinct: tuple[int, int]


class AnonymisationReport(msgspec.Struct, frozen=True, kw_only=True):
    """Holds no value of any cell. Args: verdict: REFUSED when what is left is more than the policy allows; then there is no result.
    suppressed: rows that were left out to reach k. before, after: None where the policy names no quasi-identifiers."""

    verdict: Verdict
    rows: int
    suppressed: int
    columns: tuple[TreatedColumn, ...]
    before: Hidden | None
    after: Hidden | None
    findings: tuple[Finding, ...]


def anonymise_table(
    table: Any,
    policy: Policy,
    *,
    keys: Keys | None = None,
    config: PersonalConfig | None = None,
    opinion: Opinion | None = None,
) -> tuple[AnonymisationReport, Any]:
    """(report, the new table). The table is whole even where the verdict is REFUSED: the caller must not give it away then.

    Raises: InputError `personal-policy`: it names columns that are not there; and as `treated`.
    """
    import pyarrow as pa

    config, keys = config or PersonalConfig(), keys or Keys()
    recognition = recognition_for(table, config)

    def look(name: str, column: Any) -> ColumnReport:
        return look_at_column(name, column, "", config=config, recognition=recognition, opinion=opinion)

    rules = _rules(table, policy)
    before = _measured(table, policy)
    names, arrays, told, found = [], [], [], []
    for name in table.column_names:
        rule, column = rules[name], table.column(name)
        new = treated(name, column, rule, keys=keys, recognition=recognition, opinion=opinion)
        if new is not None:
            names.append(name)
            arrays.append(new)
        told.append(_told(name, rule, column, new))
        found += _left(name, new, rule, policy, look)
    if not names:
        raise InputError("The policy drops every column: nothing would be left.", code="personal-policy")
    result = pa.table(arrays, names=names)
    found += [UNREADABLE.found(f"{one.lost} values", location=one.name) for one in told if one.lost]
    result, suppressed = _suppressed(result, policy)
    after = _measured(result, policy)
    if after is not None:
        found += _too_visible(after, policy)
    report = AnonymisationReport(
        verdict=verdict_of(found),
        rows=result.num_rows,
        suppressed=suppressed,
        columns=tuple(told),
        before=before,
        after=after,
        findings=tuple(found),
    )
    return report, result


def _rules(table: Any, policy: Policy) -> dict[str, ColumnRule]:
    measured = {*policy.measure.quasi, *policy.measure.sensitive}
    missing = sorted(({*policy.columns} | measured) - set(table.column_names))
    if missing:
        raise InputError(
            f"The policy names column {missing[0][:80]!r}, which the table does not have.", code="personal-policy"
        )
    others = sorted(set(table.column_names) - set(policy.columns))
    if others and policy.others is Others.REFUSE:
        raise InputError(
            f"The policy says nothing of column {others[0][:80]!r}: name it, or set others to drop or keep.",
            code="personal-policy",
        )
    rest = ColumnRule(treatment=Treatment.DROP if policy.others is Others.DROP else Treatment.KEEP)
    rules = {name: policy.columns.get(name, rest) for name in table.column_names}
    gone = sorted(name for name in measured if rules[name].treatment is Treatment.DROP)
    if gone:
        raise InputError(f"The policy drops column {gone[0][:80]!r} and measures it, too.", code="personal-policy")
    return rules


def _left(
    name: str, new: Any, rule: ColumnRule, policy: Policy, look: Callable[[str, Any], ColumnReport]
) -> list[Finding]:
    """What a column that is kept, or whose text was cleaned, still tells."""
    if new is None or rule.treatment not in (Treatment.KEEP, Treatment.SPANS) or rule.because:
        return []
    report = look(name, new)
    kinds = [one for one in report.kinds if one.kind not in QUASI and one.kind is not Kind.HEALTH]
    if rule.treatment is Treatment.SPANS:
        kinds = [one for one in kinds if one.by != ("column-name",)]
    if kinds:
        first = kinds[0]
        return [
            LEFT.found(
                f"{first.kind} in {first.count} of {report.values} values", location=name, confidence=first.confidence
            )
        ]
    if any(one.kind in QUASI for one in report.kinds) and name not in policy.measure.quasi:
        return [NOT_MEASURED.found(", ".join(one.kind for one in report.kinds), location=name)]
    return []


def _told(name: str, rule: ColumnRule, column: Any, new: Any) -> TreatedColumn:
    import pyarrow.compute as pc

    lost = 0 if new is None else max(0, new.null_count - column.null_count)
    counts = (int(pc.count_distinct(column).as_py()), 0 if new is None else int(pc.count_distinct(new).as_py()))
    return TreatedColumn(name=name, treatment=rule.treatment, lost=lost, distinct=counts)


def _measured(table: Any, policy: Policy) -> Hidden | None:
    wanted = policy.measure
    return measure(table, quasi=wanted.quasi, sensitive=wanted.sensitive, k=wanted.k) if wanted.quasi else None


def _suppressed(table: Any, policy: Policy) -> tuple[Any, int]:
    """Without the rows in too small classes, where the policy allows so many to be left out."""
    import pyarrow as pa

    wanted = policy.measure
    if not wanted.quasi or not wanted.suppress:
        return table, 0
    out = too_small(table, wanted.quasi, wanted.k)
    if not 0 < out.sum() <= wanted.suppress * table.num_rows:
        return table, 0
    return table.filter(pa.array(np.logical_not(out))), int(out.sum())


def _too_visible(after: Hidden, policy: Policy) -> list[Finding]:
    wanted, said = policy.measure, []
    if after.k < wanted.k:
        said.append(f"k is {after.k}, {wanted.k} was asked for; {after.below:.1%} of the rows are in smaller classes")
    if after.unique > wanted.unique:
        said.append(f"{after.unique:.1%} of the rows are alone, {wanted.unique:.1%} may be")
    said += [
        f"l is {values} for {name[:80]!r}, {wanted.l} was asked for"
        for name, values in after.diversity.items()
        if values < wanted.l
    ]
    found = [TOO_VISIBLE.found(one) for one in said]
    if wanted.on_failure is OnFailure.WARN:
        return [msgspec.structs.replace(one, severity=Severity.MEDIUM) for one in found]
    return found
