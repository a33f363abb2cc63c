"""What is on record of the rows of datasets: how they are screened, what a screening found, what people said of it."""

from __future__ import annotations

from enum import StrEnum
from typing import Any, Literal

import msgspec

from casemate.core import Digest, InputError, NotFoundError, Ref, Severity, Verdict
from casemate.registry.stores import Stores, T, unreadable
from casemate.registry.versions import Version, find_version
from casemate.screening import HumanVerdict, Judged, ScreeningReport
from casemate.signing import VersionIdentity
from casemate.storage import LedgerEntry

SETTINGS, SCREENED, JUDGED, ROW_JUDGED = "screen-settings", "screened", "version-verdict", "row-verdict"


class ScreeningState(StrEnum):
    """Of one version."""

    UNSCREENED = "unscreened"
    CLEAN = "clean"  # nothing high was found
    SUSPECT = "suspect"  # something high was found, or a person said poisoned
    APPROVED = "approved"  # a person said fine, after the last screening


class ScreeningSettings(msgspec.Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """Args: label, contributor, time: columns; the last two may be empty. limit: share of the rows that one contributor may give.
    feedback: rows that one contributor may give, where users give the labels; 0: they do not."""

    label: str
    contributor: str = ""
    time: str = ""
    limit: float = 0.5
    feedback: int = 0

    def __post_init__(self) -> None:
        if not 0 <= self.limit <= 1 or self.feedback < 0:
            raise ValueError("a limit is a share, from 0 to 1, and feedback a number of rows")


class SettingsRecord(msgspec.Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """A ledger body: from here on, pushes to this dataset are screened so; `settings` None: they are not."""

    project: str
    name: str
    settings: ScreeningSettings | None
    by: str
    at: str
    schema: Literal[1] = 1


class ScreeningRecord(msgspec.Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """A ledger body: what a screening found in a version, without its rows.

    Args: statement: digest of the signed statement that names them. rules: how many rows each rule named. high: rules that
        make it suspect. against: number of the version whose labels were believed.
    """

    about: VersionIdentity
    verdict: Verdict
    statement: Digest
    settings: ScreeningSettings
    rows: int
    rules: dict[str, int]
    high: tuple[str, ...]
    against: int | None
    by: str
    at: str
    schema: Literal[1] = 1


class VersionVerdict(msgspec.Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """A ledger body: what a person said of a version as a whole. Args: self_judged: they count as who pushed it."""

    about: VersionIdentity
    judged: Judged
    by: str
    self_judged: bool
    reason: str
    at: str
    schema: Literal[1] = 1


class RowVerdict(msgspec.Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """A ledger body: what a person said of one row that a rule had named. Args: score: as the rule gave it then."""

    about: VersionIdentity
    rule: str
    row: Digest
    score: float
    judged: Judged
    by: str
    reason: str
    at: str
    schema: Literal[1] = 1


class Standing(msgspec.Struct, frozen=True, kw_only=True):
    """How a version stands. Args: screening: the last; None: none. verdict: the last of a person; None: none."""

    state: ScreeningState
    screening: ScreeningRecord | None = None
    verdict: VersionVerdict | None = None

    def summary(self) -> dict[str, Any]:
        """What `dataset show` tells: no row, and no name of a class or contributor."""
        told: dict[str, Any] = {"state": self.state.value}
        if self.screening is not None:
            one = self.screening
            told |= {"rows": one.rows, "rules": dict(one.rules), "high": list(one.high), "against": one.against}
            told |= {"settings": msgspec.to_builtins(one.settings), "by": one.by, "at": one.at}
        if self.verdict is not None:
            said = self.verdict
            told["judged"] = {"judged": said.judged.value, "by": said.by, "self_judged": said.self_judged}
            told["judged"] |= {"reason": said.reason, "at": said.at}
        return told


_Numbered = tuple[int, T]  # the number of the ledger's entry, and what it says
_Settings = dict[tuple[str, str], ScreeningSettings]
_Screened = dict[VersionIdentity, _Numbered[ScreeningRecord]]
_Judged = dict[VersionIdentity, _Numbered[VersionVerdict]]
_Rows = dict[tuple[str, str], dict[tuple[str, Digest], RowVerdict]]  # by project and name, then by rule and row


def checked_settings(
    label: str, contributor: str = "", time: str = "", limit: float = 0.5, feedback: int = 0
) -> ScreeningSettings:
    """Raises: InputError `bad-screening`."""
    named = [one for one in (label, contributor, time) if one]
    if not label or len(set(named)) < len(named) or any(len(one) > 1000 for one in named):
        raise InputError(
            "A screening needs a column for the label, and others for contributor and time.", code="bad-screening"
        )
    if not 0 <= limit <= 1:
        raise InputError("The limit of a contributor is a share of the rows, from 0 to 1.", code="bad-screening")
    if feedback < 0 or (feedback and not contributor):
        raise InputError(
            "Feedback is a number of rows, at least 1, that one contributor may give: name their column, too.",
            code="bad-screening",
        )
    return ScreeningSettings(label=label, contributor=contributor, time=time, limit=limit, feedback=feedback)


def settings_of(stores: Stores, name: str) -> ScreeningSettings | None:
    """How pushes to a dataset are screened; None: not at all. Raises: VerificationError."""
    found: _Settings = stores.folded(SETTINGS, {}, _fold_settings)
    return found.get((stores.project, name))


def standing_of(stores: Stores, version: Version) -> Standing:
    """How a version stands; one that was restored, and not screened since, stands as what it came from.

    Raises: VerificationError.
    """
    about: VersionIdentity | None = version.about
    known: Version | None = version
    screened: _Screened = stores.folded(SCREENED, {}, _fold_screened)
    judged: _Judged = stores.folded(JUDGED, {}, _fold_judged)
    while about is not None:
        if about in screened or about in judged:
            return _standing(screened.get(about), judged.get(about))
        about, known = _origin(stores, known) if known is not None else (None, None)
    return Standing(state=ScreeningState.UNSCREENED)


def verdicts_on_rows(stores: Stores, name: str) -> tuple[HumanVerdict, ...]:
    """The newest that people said of each row of a dataset, rule by rule, oldest first. Raises: VerificationError."""
    found: _Rows = stores.folded(ROW_JUDGED, {}, _fold_rows)
    return tuple(
        HumanVerdict(rule=one.rule, row=one.row, score=one.score, judged=one.judged, by=one.by)
        for one in found.get((stores.project, name), {}).values()
    )


def record_of(
    report: ScreeningReport,
    about: VersionIdentity,
    settings: ScreeningSettings,
    *,
    statement: Digest,
    against: int | None,
    by: str,
    at: str,
) -> ScreeningRecord:
    """What the ledger keeps of a report."""
    rules: dict[str, int] = {}
    for one in report.suspicions:
        rules[one.finding.id] = rules.get(one.finding.id, 0) + one.count
    high = {one.finding.id for one in report.suspicions if one.finding.severity in (Severity.HIGH, Severity.CRITICAL)}
    return ScreeningRecord(
        about=about,
        verdict=report.verdict,
        statement=statement,
        settings=settings,
        rows=report.rows,
        rules=rules,
        high=tuple(sorted(high)),
        against=against,
        by=by,
        at=at,
    )


def _standing(screened: _Numbered[ScreeningRecord] | None, judged: _Numbered[VersionVerdict] | None) -> Standing:
    screening, verdict = screened and screened[1], judged and judged[1]
    state = ScreeningState.UNSCREENED
    if verdict is not None and verdict.judged is Judged.POISONED:
        state = ScreeningState.SUSPECT  # until a person says otherwise, whatever a screening finds
    elif screened is not None and judged is not None and judged[0] > screened[0]:
        state = ScreeningState.APPROVED
    elif screening is not None:
        state = ScreeningState.CLEAN if screening.verdict is Verdict.CLEAN else ScreeningState.SUSPECT
    return Standing(state=state, screening=screening, verdict=verdict)


def _origin(stores: Stores, version: Version) -> tuple[VersionIdentity | None, Version | None]:
    """What a version was restored from, and that version where it still is."""
    restored = version.read_manifest().facts.get("restored")
    if not restored:
        return None, None
    about = msgspec.structs.replace(version.about, number=restored["version"], digest=restored["digest"])
    try:
        found = find_version(stores, about.kind, Ref(about.name, about.number, about.project))
    except NotFoundError:
        return about, None
    return about, found if found.about == about else None


def _fold_settings(last: _Settings, entries: list[LedgerEntry]) -> _Settings:
    found = dict(last)
    for entry in entries:
        record = _read(entry, SettingsRecord)
        if record.settings is None:
            found.pop((record.project, record.name), None)
        else:
            found[record.project, record.name] = record.settings
    return found


def _fold_screened(last: _Screened, entries: list[LedgerEntry]) -> _Screened:
    news = [(entry, _read(entry, ScreeningRecord)) for entry in entries]
    return last | {one.about: (entry.number, msgspec.structs.replace(one, at=entry.at)) for entry, one in news}


def _fold_judged(last: _Judged, entries: list[LedgerEntry]) -> _Judged:
    news = [(entry, _read(entry, VersionVerdict)) for entry in entries]
    return last | {one.about: (entry.number, msgspec.structs.replace(one, at=entry.at)) for entry, one in news}


def _fold_rows(last: _Rows, entries: list[LedgerEntry]) -> _Rows:
    found = {key: dict(rows) for key, rows in last.items()}
    for entry in entries:
        one = _read(entry, RowVerdict)
        rows = found.setdefault((one.about.project, one.about.name), {})
        rows.pop((one.rule, one.row), None)  # the newest stands last
        rows[one.rule, one.row] = one
    return found


def _read(entry: LedgerEntry, shape: type[T]) -> T:
    try:
        return msgspec.convert(entry.body, shape)
    except msgspec.ValidationError as error:
        raise unreadable(entry.kind, entry.number) from error
