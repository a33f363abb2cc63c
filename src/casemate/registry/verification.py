"""Reads every stored byte of a version and compares it with what was signed."""

from __future__ import annotations

import hashlib
from collections.abc import Iterable, Iterator, Mapping
from typing import Any

from casemate.core import AssetKind, CasemateError, Digest, Event, Finding, Severity, VerificationError, digest_of
from casemate.registry.deletions import deleted_of
from casemate.registry.evaluation_records import evaluation_of, open_evaluation
from casemate.registry.screening_records import standing_of
from casemate.registry.screening_statements import open_statement
from casemate.registry.stores import Stores
from casemate.registry.versions import (
    Manifest,
    Version,
    blobs_of,
    is_deleted,
    kept_blobs_of,
    latest_versions,
    signed_version,
    stored_versions,
)
from casemate.signing import Predicate, Statement, verify_statement, verify_version
from casemate.storage import BlobRecord

Released = frozenset[tuple[AssetKind, str, int]]  # kind, name and number of versions

# What ends in or ends one.
RELEASING = (
    "dataset:push", "dataset:anonymize", "dataset:restore", "dataset:quarantine", "dataset:delete",
    "model:push", "model:train", "model:convert", "model:delete",
)  # fmt: skip


def verify_stored(stores: Stores, version: Version, files: Mapping[str, list[BlobRecord]] | None = None) -> None:
    """Return when every byte of `version` is what trusted signers signed. Holds no file in memory.

    Args: files: its blobs, as `blobs_of` gave them to a caller that goes on with these very ones.
    Raises: VerificationError with the codes of `signing.verify_version`, and `file-unreadable`, naming the file.
    """
    found = {path: _digest(stores, path, pieces) for path, pieces in (files or blobs_of(stores, version)).items()}
    said = verify_version(signed_version(stores, version), found, stores.trust(), at=stores.clock.now())
    _check_row(version, said[Predicate.RELEASE])
    check_kept(version, {path: _digest(stores, path, kept) for path, kept in kept_blobs_of(stores, version).items()})
    screening = standing_of(stores, version).screening
    if screening is not None and screening.about == version.about:
        open_statement(stores, version, screening)
    evaluation = evaluation_of(stores, version)
    if evaluation is not None:
        open_evaluation(stores, version, evaluation)


def check_kept(version: Version, found: Mapping[str, Digest]) -> None:
    """Return when what is kept beside a model, or the keys beside a dataset, are what its manifest, which the caller verified, names.

    Raises: VerificationError `file-changed`.
    """
    if dict(found) != {path: entry.digest for path, entry in version.read_manifest().kept.items()}:
        raise VerificationError(f"What is kept beside {version.about} is not what was signed.", code="file-changed")


def verified_pusher(stores: Stores, version: Version) -> str:
    """Id of the principal who pushed `version`, as its release statement says, signed.

    Raises: VerificationError with the codes of `signing.verify_statement`, `signature-missing`, `record-altered`.
    """
    envelope = signed_version(stores, version).attestations.get(Predicate.RELEASE)
    if envelope is None:
        raise VerificationError(f"{version.about} has no signed release: push it again.", code="signature-missing")
    release = verify_statement(envelope, Predicate.RELEASE, version.about, trust=stores.trust(), at=stores.clock.now())
    _check_row(version, release)
    return version.created_by


def signed_manifest(stores: Stores, version: Version) -> Manifest:
    """What a trusted signer released. Raises: VerificationError."""
    verified_pusher(stores, version)
    if digest_of(version.manifest) != version.digest:
        raise VerificationError(
            f"The manifest of {version.about} is not the one that was signed.", code="manifest-changed"
        )
    return version.read_manifest()


def newest_of(stores: Stores, kind: AssetKind) -> list[dict[str, Any]]:
    """The rows of a list. `verified`: a trusted signer released this very version, by whom and when the row says.

    What the files hold is not read: `verify_report` does that.
    """
    return [
        {**version.summary(), "versions": count, "verified": is_released(stores, version)}
        for version, count in latest_versions(stores, kind)
    ]


def is_released(stores: Stores, version: Version) -> bool:
    """Whether a trusted signer released this very version, by whom and when its row says. Its files are not read."""
    try:
        verified_pusher(stores, version)
    except CasemateError:
        return False
    return digest_of(version.manifest) == version.digest


def _check_row(version: Version, release: Statement) -> None:
    """What a list shows of a version is what was signed of it. Raises: VerificationError `record-altered`."""
    shown = {"created_by": version.created_by, "created_at": version.created_at, "data_class": version.data_class}
    signed = {
        "created_by": release.facts.get("pushed_by"),
        "created_at": release.at,
        "data_class": version.read_manifest().data_class,
    }
    for name, value in shown.items():
        if value != signed[name]:
            raise VerificationError(
                f"The record of {version.about} says {name} {value!r}, and {signed[name]!r} was signed.",
                code="record-altered",
            )


def verify_all(stores: Stores, kind: AssetKind, name: str | None = None) -> Iterator[tuple[Version, Finding | None]]:
    """Yield each version that is there with what is wrong with it, or None. One bad one does not hide the next."""
    gone = deleted_of(stores)
    for version in stored_versions(stores, kind, name):
        yield version, _returned(version) if is_deleted(gone, version) else problem_of(stores, version)


def problem_of(stores: Stores, version: Version) -> Finding | None:
    """What was altered, as a finding; None when all is as signed. StorageError and the like are findings too."""
    try:
        verify_stored(stores, version)
    except CasemateError as error:
        return Finding(
            id=error.code,
            title=f"{version.about.name}@{version.number} is not what was signed",
            severity=Severity.CRITICAL,
            evidence=error.message,
            remediation="Do not use it. Restore it from a backup, or push it again; find out who wrote to the home.",
            location=f"{version.about.kind}:{version.about.name}@{version.number}",
            references=("ATLAS:AML.T0018", "OWASP-ML:ML10"),
        )
    return None


def verify_report(
    stores: Stores, kind: AssetKind, version: Version | None = None, recorded: Released = frozenset()
) -> dict[str, Any]:
    """`{"ok", "checked", "problems"}` over one version, or over all of a kind. Args: recorded: what must be there."""
    checked = [(version, problem_of(stores, version))] if version else list(verify_all(stores, kind))
    found = {(one.about.kind, one.about.name, one.number) for one, _ in checked}
    deleted = {key[1:] for key in deleted_of(stores).versions if key[0] == stores.project}
    missing = sorted(one for one in recorded - found - deleted if one[0] is kind)
    problems = [problem for _, problem in checked if problem] + [_missing(*one) for one in missing]
    return {"ok": not problems, "checked": len(checked), "problems": problems}


def released_on_record(outcomes: Iterable[Event]) -> Released:
    """The versions that the audit log saw pushed or trained, and not deleted since. Args: outcomes: oldest first."""
    released: set[tuple[AssetKind, str, int]] = set()
    for event in outcomes:
        kind, _, verb = event.action.partition(":")
        answer = event.facts.get("answer")
        if event.outcome != "done" or not isinstance(answer, dict) or not answer.get("version"):
            continue
        change = released.discard if verb == "delete" else released.add
        change((AssetKind(kind), str(answer["name"]), int(answer["version"])))
    return frozenset(released)


def _returned(version: Version) -> Finding:
    about = version.about
    name = f"{about.name}@{about.number}"
    return Finding(
        id="deleted-version-back",
        title=f"{name} was deleted, and is stored again",
        severity=Severity.CRITICAL,
        evidence="The signed state has its deletion; the database has it as live. Nothing loads, serves or hands it on.",
        remediation=f"Remove it: casemate {about.kind} delete {name}. Find out who wrote to the home.",
        location=f"{about.kind}:{name}",
        references=("ATLAS:AML.T0018", "OWASP-ML:ML10"),
    )


def _missing(kind: AssetKind, name: str, number: int) -> Finding:
    return Finding(
        id="version-missing",
        title=f"{name}@{number} is gone, and nobody deleted it",
        severity=Severity.CRITICAL,
        evidence="The audit log has it pushed and not deleted; the database does not have it.",
        remediation="Restore the database from a backup; find out who wrote to the home.",
        location=f"{kind}:{name}@{number}",
        references=("ATLAS:AML.T0018", "OWASP-ML:ML10"),
    )


def _digest(stores: Stores, path: str, pieces: list[BlobRecord]) -> Digest:
    hasher = hashlib.sha256()
    try:
        for chunk in stores.blobs.read_file(pieces):
            hasher.update(chunk)
    except VerificationError as error:
        raise VerificationError(
            f"The stored file {path!r} was altered or is missing: {error.message}", code="file-unreadable"
        ) from error
    return Digest("sha256:" + hasher.hexdigest())
