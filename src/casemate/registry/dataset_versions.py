"""What becomes of a dataset's versions: tagged, made the newest again, and ended when nothing needs them."""

from __future__ import annotations

from contextlib import nullcontext
from datetime import datetime
from typing import Any

import msgspec

from casemate.core import AssetKind, ConflictError, InputError, NotFoundError, Principal, Ref, parse_rfc3339
from casemate.registry.data_use import signed_use
from casemate.registry.deletions import deleted_of
from casemate.registry.pseudonym_keys import carried
from casemate.registry.releases import Draft, commit_version, record_deletion, remove_version
from casemate.registry.revocations import check_not_revoked, is_revoked, marks_of, origins_of
from casemate.registry.screening_records import ScreeningState, standing_of
from casemate.registry.stores import Pen, Stores
from casemate.registry.tags import MOST_TAGS, checked_tag, find_tagged, tagging, tags_of
from casemate.registry.verification import is_released, verify_stored
from casemate.registry.versions import Version, blobs_of, find_version, is_deleted, list_versions, stored_versions


def tag_version(stores: Stores, pen: Pen, ref: Ref, tag: str, *, actor: Principal, intent: str) -> dict[str, Any]:
    """Let `tag` name this version from now on, whatever it named before. Raises: NotFoundError; InputError."""
    checked_tag(tag)
    version = find_version(stores, AssetKind.DATASET, ref)
    known = tags_of(stores, ref.name)
    if tag not in known and len(known) >= MOST_TAGS:
        raise InputError(f"{ref.name} has {MOST_TAGS} tags, and no more: untag one.", code="too-many-tags")
    pen.commit([tagging(stores, ref.name, tag, version.about, by=actor.id)], intent)
    before = known.get(tag)
    return {
        "name": ref.name,
        "tag": tag,
        "version": version.number,
        "digest": version.digest,
        "before": before.number if before else None,
    }


def untag(stores: Stores, pen: Pen, name: str, tag: str, *, actor: Principal, intent: str) -> dict[str, Any]:
    """Take a tag away; the version stays. Raises: NotFoundError."""
    before = find_tagged(stores, name, checked_tag(tag))
    if before is None:
        raise NotFoundError(f"{name} has no tag {tag}: casemate dataset show {name} lists them.", code="not-found")
    pen.commit([tagging(stores, name, tag, None, by=actor.id)], intent)
    return {"name": name, "tag": tag, "before": before.number}


def restore_version(
    stores: Stores, pen: Pen, ref: Ref, *, widening: bool, actor: Principal, intent: str
) -> dict[str, Any]:
    """A new newest version of the very files of an older one, which it names, signed. No byte is stored again.

    Args: widening: it may be of a lower class, or for more purposes, than the newest; the gate has decided so.
    Raises: NotFoundError; VerificationError: `revoked`, or what is stored is not what was signed; ConflictError `newest-already`,
        `wider-use`.
    """
    with pen.deciding:  # no deletion takes the blobs between the look at them and the commit
        old, newest = (find_version(stores, AssetKind.DATASET, one) for one in (ref, Ref(ref.name)))
        if old.number == newest.number:
            raise ConflictError(f"{old.about.name}@{old.number} is the newest version already.", code="newest-already")
        check_not_revoked(stores, old)
        verify_stored(stores, old)
        if signed_use(stores, old).is_wider_than(signed_use(stores, newest)) and not widening:
            raise ConflictError(f"The newest version of {ref.name} has changed: restore again.", code="wider-use")
        manifest = old.read_manifest()
        facts = {"restored": {"version": old.number, "digest": old.digest, "after": newest.number}}
        draft = Draft(manifest=msgspec.structs.replace(manifest, facts={**manifest.facts, **facts}))
        with stores.blobs.push(stores.project, f"{AssetKind.DATASET}/{ref.name}") as push:
            files = {**blobs_of(stores, old), **carried(stores, old)}
            version, _ = commit_version(stores, pen, draft, push, actor=actor, intent=intent, shared=files)
    return {"name": ref.name, "version": version.number, "digest": version.digest, "restored": old.number}


def retain_versions(
    stores: Stores,
    pen: Pen,
    name: str,
    *,
    keep: int,
    since: datetime | None,
    stood: datetime | None = None,
    trial: bool,
    intent: str,
) -> dict[str, Any]:
    """Delete the versions of a dataset that nothing needs: not the newest, none with a tag, none that a model was made from.

    One that was revoked, stands suspect, or is not as it was signed takes no other's place, and stays as long as one in its place
    would. Versions whose deletion was recorded and never finished are removed first, whatever else stays.
    Args: keep: so many of the newest stay; 0: not asked. since: what was pushed after stays; None: not asked. stood: what was
        pushed after stays, and is no newer version than another yet; nor is one whose time is not as it was signed. trial: say
        what would be deleted, and delete nothing.
    Returns: `{"name", "trial", "deleted", "finished", "kept": [{"version", "why"}]}`.
    Raises: NotFoundError; InputError `bad-retention`. StorageError `deletion-unfinished`: do it again.
    """
    if keep < 1 and since is None:
        raise InputError("Say how many versions to keep, or for how long.", code="bad-retention")
    with nullcontext() if trial else pen.deciding:
        finished, warnings = _unfinished(stores, name), dict[str, str]()
        for version in [] if trial else finished:
            warnings |= remove_version(stores, version, intent=intent)
        versions = list_versions(stores, AssetKind.DATASET, name)[::-1]
        if not versions and not finished:
            raise NotFoundError(f"There is no dataset {name}: see casemate dataset list.", code="not-found")
        why = _needed(stores, name, versions) if versions else {}
        standing = versions if stood is None else _standing(stores, versions, stood, why)
        counting = _counting(stores, standing)
        if counting:
            why.setdefault(counting[0], "the newest that takes a place")
        place = 0
        for version in standing:
            if place < keep:
                told = "one of" if version.number in counting else "takes no place, and is no older than"
                why.setdefault(version.number, f"{told} the newest {keep}")
            elif since is not None and parse_rfc3339(version.created_at) >= since:
                why.setdefault(version.number, "young enough")
            place += version.number in counting
        ended = [version for version in versions if version.number not in why]
        for version in [] if trial else ended:
            record_deletion(stores, pen, version, intent=intent)
            warnings |= remove_version(stores, version, intent=intent)
    kept = [{"version": number, "why": reason} for number, reason in sorted(why.items())]
    return {
        "name": name,
        "trial": trial,
        "deleted": _numbers(ended),
        "finished": _numbers(finished),
        "kept": kept,
        **warnings,
    }


def _numbers(versions: list[Version]) -> list[int]:
    return sorted(one.number for one in versions)


def _unfinished(stores: Stores, name: str) -> list[Version]:
    """Those whose deletion is on record, and whose rows are there all the same."""
    gone = deleted_of(stores)
    return [one for one in stored_versions(stores, AssetKind.DATASET, name) if is_deleted(gone, one)]


def _counting(stores: Stores, versions: list[Version]) -> list[int]:
    """Numbers of those that take a place among the newest: nobody pushes good ones out with bad ones."""
    return [
        one.number
        for one in versions
        if not is_revoked(stores, one)
        and is_released(stores, one)
        and standing_of(stores, one).state is not ScreeningState.SUSPECT
    ]


def _standing(stores: Stores, versions: list[Version], stood: datetime, why: dict[int, str]) -> list[Version]:
    """Those that were there by then, newest first; `why` is told what stays without them."""
    found = []
    for version in versions:
        if not is_released(stores, version):
            why.setdefault(version.number, "its record is not what was signed")
        elif parse_rfc3339(version.created_at) > stood:
            why.setdefault(version.number, "it has not stood long enough")
        else:
            found.append(version)
    return found


def _needed(stores: Stores, name: str, versions: list[Version]) -> dict[int, str]:
    """By number: why a version stays whatever its age."""
    why = {versions[0].number: "the newest"}
    for tag, about in tags_of(stores, name).items():
        why.setdefault(about.number, f"tagged {tag}")
    known = {version.number: marks_of(version) for version in versions}
    for model in list_versions(stores, AssetKind.MODEL):  # what is deployed is among them
        origins = origins_of(model.read_manifest())
        for number in [number for number, marks in known.items() if marks & origins]:
            why.setdefault(number, f"{model.about.name}@{model.number} was made from it")
    live = {version.number for version in versions}
    return {number: reason for number, reason in why.items() if number in live}
