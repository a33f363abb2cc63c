"""Whose session it becomes when a provider vouches for a subject: the person bound to it, or one made there and then.

A person is never found by their name or e-mail: whoever can choose those at a provider would choose whom to be.
"""

from __future__ import annotations

import hashlib
import re
from collections.abc import Callable

from casemate.core import DEFAULT_PROJECT, AuthError, PrincipalKind, new_id
from casemate.iam.access import Access
from casemate.iam.credentials import LedgerItem
from casemate.iam.names import OWNER_NAME
from casemate.iam.person import Person
from casemate.iam.providers.claims import Vouched, refused
from casemate.iam.providers.records import ProviderAdded, SubjectLinked, entry_of
from casemate.iam.records import PrincipalCreated
from casemate.iam.sign_in import SignIn


def arrive(
    sign_in: SignIn,
    provider: ProviderAdded,
    vouched: Vouched,
    *,
    has_role: bool,
    ids: Callable[[str], str] = new_id,
) -> Person:
    """The person behind a subject, made if there is none yet and a group gives a role. On the ledger, and alone.

    Raises: AuthError: no-role: no group of theirs gives one; person-ended: they were revoked, or reset and not bound anew.
    """
    access, key = sign_in.access, (provider.issuer, vouched.subject)
    made: list[str] = []

    def make() -> list[LedgerItem]:
        link = access.snapshot.outside.links.get(key)
        if link is not None or provider.id in access.snapshot.revoked:
            return []
        if not has_role:
            raise no_role(provider)
        now, person = sign_in.now(), ids("usr")
        created = PrincipalCreated(
            id=person,
            kind=PrincipalKind.USER,
            name=_free_name(access, vouched, provider),
            project=DEFAULT_PROJECT,
            created_by=provider.id,
            created_at=now,
        )
        linked = SubjectLinked(
            provider=provider.id,
            issuer=provider.issuer,
            subject=vouched.subject,
            principal=person,
            linked_by="",
            linked_at=now,
        )
        made.append(person)
        return [("principal", created.body()), entry_of(linked)]

    if key not in access.snapshot.outside.links:
        sign_in.settle(make, ids("int"))
    link = access.snapshot.outside.links.get(key)
    person = access.snapshot.people.get(link.principal) if link else None
    if person is None or person.id in access.snapshot.revoked or person.linked_at is None:
        raise AuthError(
            "The person whom this account was has ended here, or was reset: ask an owner for casemate provider bind.",
            code="person-ended",
        )
    return person


def no_role(provider: ProviderAdded) -> AuthError:
    return refused(
        f"You are known to {provider.display}, and none of your groups there gives you a role here: ask an owner for one "
        "(casemate provider map).",
        "no-role",
    )


def _free_name(access: Access, vouched: Vouched, provider: ProviderAdded) -> str:
    """A name that nobody has, made of what the provider calls them; it decides nothing."""
    said = vouched.claims.get("preferred_username")
    plain = re.sub(r"[^a-z0-9-]+", "-", said.lower() if isinstance(said, str) else "").strip("-")[:40]
    tail = hashlib.sha256(f"{provider.issuer}\n{vouched.subject}".encode()).hexdigest()
    taken = access.snapshot.people_by_name
    services = {one.name for one in access.snapshot.credentials.values()}
    for name in (plain, *(f"{plain or 'person'}-{tail[:length]}" for length in (8, 16))):
        if name and name != OWNER_NAME and name not in taken and name not in services:
            return name
    return f"person-{tail[:48]}"
