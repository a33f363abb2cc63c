"""A policy of anonymisation: which column becomes what, and how well rows must hide. Read from TOML, and written as a start."""

from __future__ import annotations

import json
import tomllib
from enum import StrEnum

import msgspec

from casemate.core import InputError
from casemate.privacy.kinds import QUASI, Kind, Treatment
from casemate.privacy.report import ColumnReport, PersonalReport

MAX_BYTES = 1 << 20
_MOST = 1e12  # of a width, a scale or a top
_KEYED = frozenset({Treatment.PSEUDONYM, Treatment.REPLACE})


class Others(StrEnum):
    """What becomes of columns that a policy does not name."""

    REFUSE = "refuse"
    DROP = "drop"
    KEEP = "keep"


class OnFailure(StrEnum):
    REFUSE = "refuse"
    WARN = "warn"


class ColumnRule(msgspec.Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """One column's treatment.

    Args:
        domain: Pseudonyms and replacements are equal within a domain, across columns and tables; by default the column's name.
        because: Why a column with personal data is kept; `keep` needs it there.
        last: Characters that `mask` leaves at the end, at most 4.
        to: `year`, `month` or `decade`, of dates and times. width: of the bands that numbers fall into. top: from which on they are one
            band. first: characters that are left of a text, as of a post code. network: bits that are left of an IPv4 address;
            an IPv6 address keeps twice as many.
        scale: of Laplace noise on numbers, in their unit; of dates, in days.
    """

    treatment: Treatment
    domain: str = ""
    because: str = ""
    last: int = 0
    to: str = ""
    width: float = 0
    top: float | None = None
    first: int = 0
    network: int = 0
    scale: float = 0


class Measured(msgspec.Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """How well rows must hide afterwards.

    Args: quasi: columns that somebody may know of a person. sensitive: that nobody should learn. k: rows of the smallest class. l:
        values of each sensitive column in each class. unique: share of rows that may be alone. suppress: share of rows that
        may be left out to reach k.
    """

    quasi: tuple[str, ...] = ()
    sensitive: tuple[str, ...] = ()
    k: int = 5
    l: int = 1  # noqa: E741 the measure's name
    unique: float = 0.0
    suppress: float = 0.0
    on_failure: OnFailure = OnFailure.REFUSE


class Policy(msgspec.Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """Args: columns: {column: rule}. others: what becomes of the rest."""

    schema: int = 1
    others: Others = Others.REFUSE
    columns: dict[str, ColumnRule] = {}
    measure: Measured = Measured()

    @property
    def needs_key(self) -> bool:
        return any(
            rule.treatment in _KEYED or (rule.treatment is Treatment.SPANS and rule.domain)
            for rule in self.columns.values()
        )

    @property
    def needs_reversible_key(self) -> bool:
        return any(rule.treatment is Treatment.REVERSIBLE for rule in self.columns.values())


def read_policy(text: bytes) -> Policy:
    """Raises: InputError `personal-policy`, saying what is wrong and where."""
    if len(text) > MAX_BYTES:
        raise _wrong(f"it has more than {MAX_BYTES} bytes")
    try:
        policy = msgspec.convert(tomllib.loads(text.decode()), Policy)
    except tomllib.TOMLDecodeError as error:
        raise _wrong(f"it is no TOML ({error})") from None
    except (msgspec.ValidationError, UnicodeDecodeError, RecursionError) as error:
        raise _wrong(str(error)) from None
    _check(policy)
    return policy


def _check(policy: Policy) -> None:
    if policy.schema != 1:
        raise _wrong(f"schema {policy.schema} is not 1, the only one that is known")
    for name, rule in policy.columns.items():
        if problem := _problem_of(rule):
            raise _wrong(f"column {name[:80]!r}: {problem}")
    measured = policy.measure
    if measured.k < 1 or measured.l < 1 or not 0 <= measured.unique <= 1 or not 0 <= measured.suppress <= 1:
        raise _wrong("measure: k and l are at least 1, unique and suppress are shares from 0 to 1")


def _problem_of(rule: ColumnRule) -> str:
    """What is wrong with a rule, or nothing."""
    kind = rule.treatment
    given = [name for name in ("to", "width", "first", "network") if getattr(rule, name)]
    coarse = kind is Treatment.GENERALISE
    domains = (Treatment.PSEUDONYM, Treatment.REPLACE, Treatment.REVERSIBLE, Treatment.SPANS)
    problems = (
        (coarse and len(given) != 1, "generalise wants one of to, width, first and network"),
        (bool(rule.to) and rule.to not in ("year", "month", "decade"), "to is year, month or decade"),
        (
            not 0 <= rule.width < _MOST or rule.first < 0 or not 0 <= rule.network <= 32,
            "width and first are positive, network is 1 to 32",
        ),
        (not coarse and bool(given), f"{kind} takes no {' or '.join(given)}"),
        (
            rule.top is not None and (not rule.width or not abs(rule.top) < _MOST),
            "top is a number, for bands of a width",
        ),
        (kind is Treatment.NOISE and not 0 < rule.scale < _MOST, "noise wants a scale over 0, below 1e12"),
        (kind is not Treatment.NOISE and bool(rule.scale), f"{kind} takes no scale"),
        (bool(rule.last) and (kind is not Treatment.MASK or not 0 < rule.last <= 4), "last is for mask, and 1 to 4"),
        (bool(rule.domain) and kind not in domains, f"{kind} takes no domain"),
    )
    return next((said for wrong, said in problems if wrong), "")


def _wrong(what: str) -> InputError:
    return InputError(
        f"The policy cannot be used: {what[:400]}. docs/personal-data.md shows each treatment; `casemate dataset personal FILE "
        "--proposal policy.toml` writes one to start from.",
        code="personal-policy",
    )


def proposed_policy(report: PersonalReport) -> str:
    """TOML to start from: each column named, with what was found beside it. Holds no value of any cell."""
    sensitive = [c.name for c in report.columns if any(k.kind is Kind.HEALTH for k in c.kinds)]
    lines = [
        "# What becomes of each column; docs/personal-data.md says what each treatment leaves. Read it line by line before you use it.",
        "schema = 1",
        'others = "refuse"',
        "",
        "[measure]",
        f"quasi = {_toml(list(report.quasi))}",
        f"sensitive = {_toml(sensitive)}",
        "k = 5",
        f"l = {2 if sensitive and report.quasi else 1}",
        "unique = 0.0",
        "suppress = 0.05",
        'on_failure = "refuse"',
    ]
    for column in report.columns:
        lines += ["", f"[columns.{_toml(column.name)}]{_said(column)}", *_rule(column)]
    return "\n".join(lines) + "\n"


def _toml(value: object) -> str:
    """A text or a list of texts as TOML has it; names of columns are printable, so no escape differs."""
    return json.dumps(value, ensure_ascii=False)


def _said(column: ColumnReport) -> str:
    found = ", ".join(f"{k.kind} in {k.share:.0%}" for k in column.kinds)
    return f"  # {found}" if found else ""


def _rule(column: ColumnReport) -> list[str]:
    kinds = {one.kind for one in column.kinds}
    treatment = column.treatment
    lines = [f'treatment = "{treatment}"']
    if treatment is Treatment.GENERALISE:
        if column.type in ("date", "timestamp") or Kind.BIRTH_DATE in kinds:
            lines.append('to = "year"' if column.type != "int64" else "width = 10")
        elif Kind.IP in kinds:
            lines.append("network = 24")
        elif column.type in ("int64", "float64"):
            lines.append("width = 10" if Kind.AGE in kinds else "width = 1000")
        else:
            lines.append("first = 3" if Kind.POSTCODE in kinds else "first = 1")
    if treatment is Treatment.KEEP and kinds - {*QUASI, Kind.HEALTH}:
        lines.append('because = ""')
    return lines
