"""Tags: names for versions of a dataset, as the ledger tells them; a tag moves, and every move is signed and on record."""

from __future__ import annotations

import re
from typing import Any, Literal

import msgspec

from casemate.core import AssetKind, InputError, rfc3339
from casemate.registry.stores import Stores, unreadable
from casemate.signing import VersionIdentity
from casemate.storage import LedgerEntry

KIND = "dataset-tag"
MOST_TAGS = 100  # of one dataset
_TAG = re.compile(r"[a-z][a-z0-9._-]{0,62}\Z")  # what `parse_ref` takes for one
_Tags = dict[tuple[str, str], VersionIdentity]  # by name of the dataset and tag


class TagRecord(msgspec.Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """A ledger body: from here on the tag names this version; `version` None: it names none."""

    project: str
    name: str
    tag: str
    version: VersionIdentity | None
    by: str
    at: str
    schema: Literal[1] = 1


def checked_tag(tag: str) -> str:
    """Raises: InputError `bad-tag`."""
    if tag == "latest" or _TAG.match(tag) is None:
        raise InputError(
            f"{tag[:80]!r} is no tag: a letter, then up to 62 of a-z, 0-9, '.', '_' and '-'; 'latest' is the newest version.",
            code="bad-tag",
        )
    return tag


def tagging(
    stores: Stores, name: str, tag: str, version: VersionIdentity | None, *, by: str
) -> tuple[str, dict[str, Any]]:
    """The ledger entry that moves a tag, or takes it away."""
    at = rfc3339(stores.clock.now())
    record = TagRecord(project=stores.project, name=name, tag=tag, version=version, by=by, at=at)
    return KIND, msgspec.to_builtins(record)


def find_tagged(stores: Stores, name: str, tag: str) -> VersionIdentity | None:
    """The version that a tag names; None where there is no such tag. Raises: VerificationError."""
    return _tags(stores).get((name, tag))


def tags_of(stores: Stores, name: str) -> dict[str, VersionIdentity]:
    """All tags of one dataset. Raises: VerificationError."""
    return {tag: version for (dataset, tag), version in sorted(_tags(stores).items()) if dataset == name}


def _tags(stores: Stores) -> _Tags:
    def fold(last: _Tags, entries: list[LedgerEntry]) -> _Tags:
        found = dict(last)
        for entry in entries:
            record = _read(entry)
            if record.project != stores.project:
                continue
            if record.version is None:
                found.pop((record.name, record.tag), None)
            else:
                found[record.name, record.tag] = record.version
        return found

    return stores.folded(KIND, {}, fold)


def _read(entry: LedgerEntry) -> TagRecord:
    try:
        record = msgspec.convert(entry.body, TagRecord)
    except msgspec.ValidationError as error:
        raise unreadable(entry.kind, entry.number) from error
    about = record.version
    if about is not None and (about.kind, about.name) != (AssetKind.DATASET, record.name):
        raise unreadable(entry.kind, entry.number)
    return record
