"""Keys of a dataset's pseudonyms: made here, told to nobody, kept beside its versions as their rows are (ADR 31).

A key is a file of its own, one encrypted blob that all versions of a dataset share whose pseudonyms it made. So its data key
comes under a new key-encryption key as every other does, and dies with the last version that holds it.
"""

from __future__ import annotations

import os
from collections.abc import Collection, Mapping
from dataclasses import dataclass

from casemate.core import AssetKind, ConflictError, InputError, VerificationError
from casemate.registry.stores import Stores
from casemate.registry.verification import signed_manifest
from casemate.registry.versions import KEPT, FileEntry, Manifest, Version, kept_blobs_of, list_versions
from casemate.storage import BlobRecord, Push

PSEUDONYM, REVERSIBLE = "pseudonym.key", "reversible.key"  # names of the files; one use each
MADE_FROM = "made_from"  # the fact that names what the rows of a version were made from
_BYTES = 32


@dataclass(frozen=True, slots=True, kw_only=True, repr=False)  # shown in no traceback
class HeldKey:
    """Args: held: the blob that versions of the dataset hold it in; None: it was made just now."""

    secret: bytes
    held: BlobRecord | None = None


HeldKeys = Mapping[str, HeldKey]  # by the name of the file


def keys_for(stores: Stores, name: str, needed: Collection[str], *, source: str) -> dict[str, HeldKey]:
    """The keys that a new version of `name`, made of the dataset `source`, takes: those of its versions, so that equal values
    stay equal; else new ones.

    Keys that were made for another dataset's rows are for nobody else's: whose rows meet a key chooses what it hides, and learns
    the pseudonym of each guess. Raises: ConflictError `other-source`; VerificationError: what a version holds is not what was signed.
    """
    found: dict[str, HeldKey] = {}
    for file in needed:
        version = _newest_with(stores, name, file)
        if version is not None and made_from(signed_manifest(stores, version)) != source:
            raise ConflictError(
                f"The pseudonyms of {name} have keys that were made for another dataset: make these rows a dataset of their own, "
                "with --as NAME.",
                code="other-source",
            )
        found[file] = _opened(stores, version, file) if version else HeldKey(secret=os.urandom(_BYTES))
    return found


def open_key(stores: Stores, version: Version, file: str) -> bytes:
    """A key that this version holds. Raises: InputError `no-pseudonym-key`; VerificationError."""
    if file not in signed_manifest(stores, version).kept:
        raise InputError(
            f"{version.about.name}@{version.number} holds no key to turn pseudonyms back with.", code="no-pseudonym-key"
        )
    return _opened(stores, version, file).secret


def keep_keys(push: Push, keys: HeldKeys) -> tuple[dict[str, FileEntry], dict[str, list[BlobRecord]]]:
    """Encrypt those that are new. Returns: what the manifest says of all, and the stored files of those that are there."""
    records = {file: key.held or push.add(KEPT + file, [key.secret]) for file, key in keys.items()}
    entries = {file: FileEntry(digest=record.digest, size=record.size) for file, record in records.items()}
    return entries, {KEPT + file: [key.held] for file, key in keys.items() if key.held}


def check_current(stores: Stores, name: str, keys: HeldKeys) -> None:
    """Return while these are still the keys of the dataset; to be called before they are committed.

    Raises: ConflictError `pseudonym-keys`: others came meanwhile, or these went; equal values would not stay equal.
    """
    for file, key in keys.items():
        version = _newest_with(stores, name, file)
        there = kept_blobs_of(stores, version).get(file, []) if version else []
        if [record.id for record in there] != ([key.held.id] if key.held else []):
            raise ConflictError(
                f"The keys of {name} have changed meanwhile: make it anonymous again.", code="pseudonym-keys"
            )


def carried(stores: Stores, version: Version) -> dict[str, list[BlobRecord]]:
    """The stored keys of a version, for one that is made of its rows to hold, too."""
    return {KEPT + file: pieces for file, pieces in kept_blobs_of(stores, version).items()}


def made_from(manifest: Manifest) -> str | None:
    """Name of the dataset that the rows were made anonymous of; what is restored or parted of them keeps it. None: it says none."""
    fact = manifest.facts.get(MADE_FROM)
    return str(fact["name"]) if isinstance(fact, dict) and "name" in fact else None


def _newest_with(stores: Stores, name: str, file: str) -> Version | None:
    versions = reversed(list_versions(stores, AssetKind.DATASET, name))
    return next((one for one in versions if file in one.read_manifest().kept), None)


def _opened(stores: Stores, version: Version, file: str) -> HeldKey:
    entry, pieces = signed_manifest(stores, version).kept.get(file), kept_blobs_of(stores, version).get(file, [])
    if entry is None or len(pieces) != 1 or (pieces[0].digest, pieces[0].size) != (entry.digest, _BYTES):
        raise VerificationError(
            f"The key of the pseudonyms of {version.about} is not what was signed, or is missing.", code="file-changed"
        )
    with stores.blobs.seal(pieces[0]) as sealed:
        return HeldKey(secret=sealed.read(), held=pieces[0])
