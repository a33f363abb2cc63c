"""Rules of retention that an owner keeps for a dataset, and what the home deletes by them, by itself."""

from __future__ import annotations

from datetime import timedelta
from typing import Any, Literal

import msgspec

from casemate.core import AssetKind, InputError, NotFoundError, Principal, Ref, rfc3339
from casemate.registry.dataset_versions import retain_versions
from casemate.registry.datasets import writable
from casemate.registry.stores import Pen, Stores, unreadable
from casemate.registry.versions import find_version
from casemate.storage import LedgerEntry

KIND = "retention-rule"
STANDS = (
    7 * 86400.0
)  # seconds that a version is there before it counts as a newer one, or as long as the rule keeps for, if that is less
_MOST_KEPT = 10_000


class RetentionRule(msgspec.Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """Args: keep: so many of the newest stay; 0: not asked. life: seconds in which what was pushed stays; 0: not asked."""

    keep: int = 0
    life: float = 0.0

    @property
    def stands(self) -> float:
        """Seconds for which a version was there before it takes another's place: whoever may push alone ends nothing at once."""
        return min(STANDS, self.life or STANDS)


class RuleRecord(msgspec.Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """A ledger body: from here on, the home deletes of this dataset by this rule; None: by none."""

    project: str
    name: str
    rule: RetentionRule | None
    by: str
    reason: str
    at: str
    schema: Literal[1] = 1


_Rules = dict[tuple[str, str], RuleRecord]


def checked_rule(keep: int, life: float) -> RetentionRule:
    """Raises: InputError `bad-retention`."""
    if not 0 <= keep <= _MOST_KEPT or (not keep and not life):
        raise InputError(
            f"Say how many versions to keep, up to {_MOST_KEPT}, or for how long: --keep N, --for TIME.",
            code="bad-retention",
        )
    return RetentionRule(keep=keep, life=life)


class Retention:
    """The rules of one project's datasets."""

    def __init__(self, stores: Stores, pen: Pen) -> None:
        self._stores, self._pen = stores, writable(pen)

    def show(self, name: str) -> dict[str, Any]:
        """The rule of a dataset, and what it would delete now. Raises: NotFoundError; VerificationError."""
        find_version(self._stores, AssetKind.DATASET, Ref(name))
        record = self.rules().get(name)
        if record is None:
            return {"name": name, "rule": None}
        due = self._applied(record, trial=True, intent="")
        return {**_told(record), "due": _ended(due), "kept": due["kept"]}

    def keep(
        self, name: str, rule: RetentionRule | None, *, reason: str, actor: Principal, intent: str
    ) -> dict[str, Any]:
        """Delete by this rule from now on; None: by none. What is due, `show` says: nothing that may fail follows the commit.

        Raises: NotFoundError: there is no such dataset, or it has no rule.
        """
        if rule is not None:
            find_version(self._stores, AssetKind.DATASET, Ref(name))
        elif name not in self.rules():
            raise NotFoundError(f"{name} has no rule of retention.", code="not-found")
        at = rfc3339(self._stores.clock.now())
        record = RuleRecord(project=self._stores.project, name=name, rule=rule, by=actor.id, reason=reason, at=at)
        self._pen.commit([(KIND, msgspec.to_builtins(record))], intent)
        return _told(record)

    def rules(self) -> dict[str, RuleRecord]:
        """By name: those that are kept. Raises: VerificationError."""
        found: _Rules = self._stores.folded(KIND, {}, _fold)
        return {
            name: one for (project, name), one in sorted(found.items()) if project == self._stores.project and one.rule
        }

    def due(self, record: RuleRecord) -> list[int]:
        """The versions that a rule ends now, with those whose end was recorded and not finished. Raises: as `retain_versions`."""
        try:
            return _ended(self._applied(record, trial=True, intent=""))
        except NotFoundError:  # all its versions were deleted
            return []

    def apply(self, record: RuleRecord, *, intent: str) -> dict[str, Any]:
        """Delete what this very rule ends, as `retain_versions`; nothing where it was ended meanwhile, or another is kept.

        Raises: as `retain_versions`.
        """
        if self.rules().get(record.name) != record:
            return {"name": record.name, "deleted": [], "finished": []}
        return self._applied(record, trial=False, intent=intent)

    def _applied(self, record: RuleRecord, *, trial: bool, intent: str) -> dict[str, Any]:
        now, rule = self._stores.clock.now(), record.rule
        assert rule is not None, "a record that ends a rule is none to go by"
        return retain_versions(
            self._stores,
            self._pen,
            record.name,
            keep=rule.keep,
            since=now - timedelta(seconds=rule.life) if rule.life else None,
            stood=now - timedelta(seconds=rule.stands),
            trial=trial,
            intent=intent,
        )


def _told(record: RuleRecord) -> dict[str, Any]:
    if record.rule is None:
        return {"name": record.name, "rule": None}
    rule = {**msgspec.to_builtins(record.rule), "stands": record.rule.stands}
    return {"name": record.name, "rule": rule, "by": record.by, "reason": record.reason, "at": record.at}


def _ended(answer: dict[str, Any]) -> list[int]:
    return sorted([*answer["finished"], *answer["deleted"]])


def _fold(last: _Rules, entries: list[LedgerEntry]) -> _Rules:
    found = dict(last)
    for entry in entries:
        try:
            record = msgspec.convert(entry.body, RuleRecord)
        except msgspec.ValidationError as error:
            raise unreadable(entry.kind, entry.number) from error
        found[record.project, record.name] = record
    return found
