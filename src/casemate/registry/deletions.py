"""Deletions as the ledger tells them: what was deleted stays so, whatever rows and files are put back into the home."""

from __future__ import annotations

from typing import Any, Literal

import msgspec

from casemate.core import AssetKind, rfc3339
from casemate.registry.stores import Stores, unreadable
from casemate.signing import VersionIdentity
from casemate.storage import LedgerEntry

DELETION = "deletion"
_Key = tuple[str, AssetKind, str, int]  # project, kind, name and number; a number is never given again


class Deletion(msgspec.Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """A ledger body: this version is gone for good. Args: blobs: ids of those whose keys go with it."""

    about: VersionIdentity
    blobs: tuple[str, ...]
    at: str
    schema: Literal[1] = 1


class Deleted(msgspec.Struct, frozen=True):
    """All that was deleted. Committed before any row goes, so that no row put back afterwards counts."""

    versions: frozenset[_Key] = frozenset()
    blobs: frozenset[str] = frozenset()

    def holds(self, project: str, kind: AssetKind, name: str, number: int) -> bool:
        return (project, kind, name, number) in self.versions

    def last_number(self, project: str, kind: AssetKind, name: str) -> int:
        """The highest number that was deleted under this name; 0: none."""
        return max((key[3] for key in self.versions if key[:3] == (project, kind, name)), default=0)


def deletion(stores: Stores, about: VersionIdentity, lost: set[str]) -> tuple[str, dict[str, Any]]:
    """The ledger entry that ends a version and the keys of its blobs `lost`."""
    body = Deletion(about=about, blobs=tuple(sorted(lost)), at=rfc3339(stores.clock.now()))
    return DELETION, msgspec.to_builtins(body)


def deleted_of(stores: Stores) -> Deleted:
    """What the newest signed state says was deleted. Raises: VerificationError."""
    return stores.folded(DELETION, Deleted(), _fold)


def read_deletion(entry: LedgerEntry) -> Deletion:
    """Raises: VerificationError `state-unreadable`."""
    try:
        return msgspec.convert(entry.body, Deletion)
    except msgspec.ValidationError as error:
        raise unreadable(entry.kind, entry.number) from error


def _fold(last: Deleted, entries: list[LedgerEntry]) -> Deleted:
    bodies = [read_deletion(entry) for entry in entries]
    about = {(body.about.project, body.about.kind, body.about.name, body.about.number) for body in bodies}
    return Deleted(last.versions | about, last.blobs | {blob for body in bodies for blob in body.blobs})
