"""Reads every stored byte of a version and compares it with what was signed."""

from __future__ import annotations

import hashlib
from collections.abc import Iterator
from typing import Any

from casemate.core import AssetKind, CasemateError, Digest, Finding, Severity, VerificationError
from casemate.registry.stores import Stores
from casemate.registry.versions import Version, blobs_of, list_versions, signed_version
from casemate.signing import verify_version
from casemate.storage import BlobRecord

_CHUNK = 1 << 20  # bytes read at a time


def verify_stored(stores: Stores, version: Version) -> None:
    """Return when every byte of `version` is what trusted signers signed. Holds no file in memory.

    Raises: VerificationError with the codes of `signing.verify_version`, and `file-unreadable`, naming the file.
    """
    found = {path: _digest(stores, path, record) for path, record in blobs_of(stores, version).items()}
    verify_version(signed_version(stores, version), found, stores.trust(), at=stores.clock.now())


def verify_all(stores: Stores, kind: AssetKind, name: str | None = None) -> Iterator[tuple[Version, Finding | None]]:
    """Yield each live version with what is wrong with it, or None. One bad version does not hide the next."""
    for version in list_versions(stores, kind, name):
        yield version, problem_of(stores, version)


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


def verify_report(stores: Stores, kind: AssetKind, version: Version | None = None) -> dict[str, Any]:
    """`{"ok", "checked", "problems"}` over one version, or over all of a kind."""
    checked = [(version, problem_of(stores, version))] if version else list(verify_all(stores, kind))
    problems = [problem for _, problem in checked if problem]
    return {"ok": not problems, "checked": len(checked), "problems": problems}


def _digest(stores: Stores, path: str, record: BlobRecord) -> Digest:
    hasher = hashlib.sha256()
    try:
        with stores.blobs.open(record) as reader:
            while piece := reader.read(_CHUNK):
                hasher.update(piece)
    except VerificationError as error:
        raise VerificationError(
            f"The stored file {path!r} was altered or is missing: {error.message}", code="file-unreadable"
        ) from error
    return Digest("sha256:" + hasher.hexdigest())
