"""What principals are called: a name on record stands for one of them, and ids tell apart what names do not."""

from __future__ import annotations

from datetime import datetime

from casemate.core import ConflictError, PrincipalKind
from casemate.iam.access import Access

OWNER_NAME = "local"  # what people call the home's owner


def name_of(access: Access, principal: str) -> str:
    """A principal's name for people; its id where it has none."""
    if access.owner is not None and principal == access.owner.id:
        return OWNER_NAME
    known = access.snapshot.principals.get(principal)
    return known.name if known else principal


def named_in_evidence(access: Access, principal: str) -> str:
    """A name that tells who: a person's or the owner's alone, and a service's with its id, since those repeat."""
    known = access.snapshot.principals.get(principal)
    is_service = known is not None and known.kind is PrincipalKind.SERVICE
    return f"{known.name} ({principal})" if known and is_service else name_of(access, principal)


def check_service_name(access: Access, name: str) -> None:
    """No service is called as a person is, or as the home's owner. Raises: ConflictError `name-taken`."""
    if name == OWNER_NAME or name in access.snapshot.people_by_name:
        raise ConflictError(f"{name!r} is the name of a person: take another for a service.", code="name-taken")


def check_person_name(access: Access, name: str, *, now: datetime) -> None:
    """No person is called as another, or as a service that lives. Raises: ConflictError `name-taken`."""
    snapshot, now = access.snapshot, access.instant(now)
    if name in snapshot.people_by_name:
        raise ConflictError(f"There is a person {name!r} already: see casemate user list.", code="name-taken")
    living = (one for one in snapshot.credentials.values() if one.id not in snapshot.revoked and now < one.expires_at)
    if any(one.name == name for one in living):
        raise ConflictError(f"{name!r} is the name of a service: take another, or end that first.", code="name-taken")
