"""Deployments as the ledger tells them: what each serves, and its history, which is the rollback list."""

from __future__ import annotations

from enum import StrEnum
from functools import partial
from typing import Any, Literal

import msgspec

from casemate.core import AssetKind, Digest, Environment, Principal, Profile
from casemate.registry.stores import Stores, unreadable
from casemate.signing import VersionIdentity
from casemate.storage import LedgerEntry

KIND = "deployment"


class Change(StrEnum):
    DEPLOYED = "deployed"
    ROLLED_BACK = "rolled-back"
    PAUSED = "paused"
    RESUMED = "resumed"
    RESTORED = "restored"  # undoes the entry `undoes`, which could not be carried out; a pause since then stays


class DeploymentRecord(msgspec.Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """A ledger body: the whole state that a deployment is in from here on, and why."""

    name: str
    project: str
    environment: Environment
    profile: Profile
    model: VersionIdentity
    paused: bool
    change: Change
    by: str
    reason: str = ""
    undoes: int = 0  # number of a ledger entry
    schema: Literal[1] = 1


class Deployment(msgspec.Struct, frozen=True, kw_only=True):
    """What a name serves. `number` is of the ledger entry that made it so.

    Args:
        earlier: what `rollback` returns to, the last one first: each differs from the one after it.
        history: every change, oldest first, with the version that it led to; one that undoes another names its entry.
    """

    name: str
    project: str
    environment: Environment
    profile: Profile
    model: VersionIdentity
    number: int
    since: str
    paused: bool
    earlier: tuple[VersionIdentity, ...] = ()
    history: tuple[dict[str, Any], ...] = ()

    @property
    def digest(self) -> Digest:
        return self.model.digest

    def summary(self) -> dict[str, Any]:
        """The row of a list."""
        return {
            "name": self.name,
            "model": self.model.name,
            "version": self.model.number,
            "digest": self.digest,
            "profile": self.profile,
            "environment": self.environment,
            "state": "paused" if self.paused else "serving",
            "since": self.since,
            "number": self.number,
        }


def changed(
    last: Deployment,
    change: Change,
    actor: Principal,
    reason: str,
    *,
    model: VersionIdentity | None = None,
    paused: bool = False,
) -> DeploymentRecord:
    """What `actor` makes of a deployment; the rest of it stays as it is."""
    return DeploymentRecord(
        name=last.name,
        project=last.project,
        environment=last.environment,
        profile=last.profile,
        model=model or last.model,
        paused=paused,
        change=change,
        by=actor.id,
        reason=reason,
    )


def deployments_of(stores: Stores) -> dict[str, Deployment]:
    """name -> deployment, by the newest signed state. Raises: VerificationError."""
    return dict(stores.folded(KIND, _Folded(), partial(_fold, stores.project)).found)


def strict_before(stores: Stores, name: str) -> dict[Environment, int]:
    """Where `name` was ever deployed as `strict`, whatever came of it, and by which ledger entry last.

    Raises: VerificationError.
    """
    return stores.folded(KIND, _Folded(), partial(_fold, stores.project)).strict.get(name, {})


def promoted_as_strict(stores: Stores, name: str) -> frozenset[Digest]:
    """The versions that `name` was ever given as `strict`, whatever came of it. Raises: VerificationError."""
    return stores.folded(KIND, _Folded(), partial(_fold, stores.project)).promoted.get(name, frozenset())


_Before = dict[tuple[str, int], Deployment | None]
"""By deployment and entry: what it was until then, without the history. No entry undoes one of another name."""


class _Folded(msgspec.Struct, frozen=True):
    found: dict[str, Deployment] = {}
    strict: dict[str, dict[Environment, int]] = {}
    before: _Before = {}
    promoted: dict[str, frozenset[Digest]] = {}


def _fold(project: str, last: _Folded, entries: list[LedgerEntry]) -> _Folded:
    found, strict, before = dict(last.found), dict(last.strict), dict(last.before)
    promoted = dict(last.promoted)
    for entry in entries:
        try:
            record = msgspec.convert(entry.body, DeploymentRecord)
        except msgspec.ValidationError as error:
            raise unreadable(KIND, entry.number) from error
        if record.project != project or record.model.kind is not AssetKind.MODEL:
            continue
        if record.profile is Profile.STRICT and record.change is Change.DEPLOYED:
            strict[record.name] = {**strict.get(record.name, {}), record.environment: entry.number}
        if record.profile is Profile.STRICT:
            promoted[record.name] = promoted.get(record.name, frozenset()) | {record.model.digest}
        was = found.get(record.name)
        before[record.name, entry.number] = was and msgspec.structs.replace(was, history=())
        state = _after(was, record, before, number=entry.number, at=entry.at)
        if state is None:
            found.pop(record.name, None)
        else:
            found[record.name] = state
    return _Folded(found, strict, before, promoted)


def is_undoing(entry: LedgerEntry) -> bool:
    """Whether it takes back a change that could not be carried out."""
    return entry.kind == KIND and bool(entry.body["change"] == Change.RESTORED)


def _after(
    last: Deployment | None,
    record: DeploymentRecord,
    before: _Before,
    *,
    number: int,
    at: str,
) -> Deployment | None:
    restored = before.get((record.name, record.undoes)) if record.change is Change.RESTORED else None
    model = restored.model if restored else record.model
    line = {
        "number": number,
        "at": at,
        "change": record.change,
        "model": model.name,
        "version": model.number,
        "digest": model.digest,
        "by": record.by,
        "reason": record.reason,
    }
    if record.change is Change.RESTORED:
        line |= {"undoes": record.undoes}
    history = (*(last.history if last else ()), line)
    if record.change is Change.RESTORED:
        if restored is None:
            return None
        paused_since = last is not None and last.number != record.undoes and last.paused
        paused = restored.paused or paused_since
        return msgspec.structs.replace(restored, number=number, history=history, paused=paused)
    return Deployment(
        name=record.name,
        project=record.project,
        environment=record.environment,
        profile=record.profile,
        model=record.model,
        number=number,
        since=at,
        paused=record.paused,
        earlier=_earlier(last, record),
        history=history,
    )


def _earlier(last: Deployment | None, record: DeploymentRecord) -> tuple[VersionIdentity, ...]:
    if last is None:
        return ()
    if record.change is Change.ROLLED_BACK:
        return last.earlier[last.earlier.index(record.model) + 1 :] if record.model in last.earlier else last.earlier
    if record.model.digest == last.digest:
        return last.earlier
    return (last.model, *last.earlier)
