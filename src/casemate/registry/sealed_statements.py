"""Signed statements that lie sealed beside a version's others, since they name what not everybody may read.

Each is replaced by the next of its kind, and counts once the ledger names its digest: so one that is put back does not count.
"""

from __future__ import annotations

from typing import Any

import msgspec
from sqlalchemy import delete, insert, select

from casemate.core import Digest, NotFoundError, VerificationError, canonical, digest_of, new_id, rfc3339
from casemate.registry.stores import Stores
from casemate.registry.versions import Version, signed_version
from casemate.signing import Predicate, VersionIdentity, verify_statement
from casemate.storage.database import attestations, versions


def keep_sealed(stores: Stores, version: Version, predicate: Predicate, envelope: bytes) -> None:
    """Store a signed envelope, sealed, in the place of an earlier one of its kind. It goes with the version when that is deleted.

    Raises: NotFoundError: the version was deleted meanwhile.
    """
    about = version.about
    sealed = stores.cipher.seal(envelope, _context(predicate, about))
    row = (attestations.c.version_digest == about.digest, attestations.c.project == about.project)
    with stores.engine.begin() as connection:
        intent = connection.execute(
            select(versions.c.intent).where(versions.c.id == version.id, versions.c.state == "live")
        ).scalar()
        if intent is None:
            raise NotFoundError(f"{about} was deleted meanwhile.", code="not-found")
        connection.execute(delete(attestations).where(*row, attestations.c.predicate_type == predicate.value))
        connection.execute(
            insert(attestations).values(
                id=new_id("att"),
                project=about.project,
                version_digest=about.digest,
                predicate_type=predicate.value,
                envelope=sealed,
                created_at=rfc3339(stores.clock.now()),
                intent=intent,  # of the push, so that both go together
            )
        )


def open_sealed(
    stores: Stores, version: Version, predicate: Predicate, recorded: Digest, *, what: str, again: str
) -> dict[str, Any]:
    """What was said last of a version. Args: recorded: the digest that the ledger has. what: `screening` or the like, in the
    codes; again: the command that makes another.

    Raises: VerificationError `WHAT-missing`, `WHAT-altered`, and as `verify_statement`.
    """
    sealed = signed_version(stores, version).attestations.get(predicate)
    if sealed is None:
        raise _problem(what, "is gone", again, code=f"{what}-missing")
    envelope = stores.cipher.open(sealed, _context(predicate, version.about))
    if digest_of(envelope) != recorded:
        raise _problem(what, "is not the one on record", again, code=f"{what}-altered")
    trust, at = stores.trust(), stores.clock.now()
    return verify_statement(envelope, predicate, version.about, trust=trust, at=at).facts


def _problem(what: str, how: str, again: str, *, code: str) -> VerificationError:
    return VerificationError(f"What the {what} said {how}: {again}, and find out who wrote to the home.", code=code)


def _context(predicate: Predicate, about: VersionIdentity) -> bytes:
    """What binds a sealed statement to its version."""
    return canonical({predicate.name.lower(): msgspec.to_builtins(about)})
