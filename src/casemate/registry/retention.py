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
        record = self._rules().get((self._stores.project, name))
        if record is None or record.rule is None:
            return {"name": name, "rule": None}
        rule = {**msgspec.to_builtins(record.rule), "stands": record.rule.stands}
        told = {"rule": rule, "by": record.by, "reason": record.reason, "at": record.at}
        due = self._applied(name, record.rule, trial=True, intent="")
        return {"name": name, **told, "due": due["deleted"], "kept": due["kept"]}

    def keep(
        self, name: str, rule: RetentionRule | None, *, reason: str, actor: Principal, intent: str
    ) -> dict[str, Any]:
        """Delete by this rule from now on; None: by none. Raises: NotFoundError: there is no such dataset, or it has no rule."""
        known = self._rules().get((self._stores.project, name))
        if rule is not None:
            find_version(self._stores, AssetKind.DATASET, Ref(name))
        elif known is None or known.rule is None:
            raise NotFoundError(f"{name} has no rule of retention.", code="not-found")
        at = rfc3339(self._stores.clock.now())
        record = RuleRecord(project=self._stores.project, name=name, rule=rule, by=actor.id, reason=reason, at=at)
        self._pen.commit([(KIND, msgspec.to_builtins(record))], intent)
        return {"name": name, "rule": None} if rule is None else self.show(name)

    def due(self) -> dict[str, RuleRecord]:
        """By name: the datasets of which something is to be deleted now. Raises: VerificationError."""
        found = {}
        for (project, name), record in sorted(self._rules().items()):
            if project == self._stores.project and record.rule and self._ends(name, record.rule):
                found[name] = record
        return found

    def apply(self, name: str, *, intent: str) -> dict[str, Any]:
        """Delete what the rule ends, as `retain_versions`; nothing where the rule was ended meanwhile. Raises: as `retain_versions`."""
        record = self._rules().get((self._stores.project, name))
        if record is None or record.rule is None:
            return {"name": name, "deleted": []}
        return self._applied(name, record.rule, trial=False, intent=intent)

    def _ends(self, name: str, rule: RetentionRule) -> bool:
        try:
            return bool(self._applied(name, rule, trial=True, intent="")["deleted"])
        except NotFoundError:  # all its versions were deleted
            return False

    def _applied(self, name: str, rule: RetentionRule, *, trial: bool, intent: str) -> dict[str, Any]:
        now = self._stores.clock.now()
        return retain_versions(
            self._stores,
            self._pen,
            name,
            keep=rule.keep,
            since=now - timedelta(seconds=rule.life) if rule.life else None,
            stood=now - timedelta(seconds=rule.stands),
            trial=trial,
            intent=intent,
        )

    def _rules(self) -> _Rules:
        return self._stores.folded(KIND, {}, _fold)


def _fold(last: _Rules, entries: list[LedgerEntry]) -> _Rules:
    found = dict(last)
    for entry in entries:
        try:
            record = msgspec.convert(entry.body, RuleRecord)
        except msgspec.ValidationError as error:
            raise unreadable(entry.kind, entry.number) from error
        found[record.project, record.name] = record
    return found
