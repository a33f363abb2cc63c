"""Whose own signatures count in `strict`: keys and passkeys pinned beside the keeper's, where no control plane writes."""

from __future__ import annotations

from datetime import datetime, timedelta
from typing import Annotated, Literal

import msgspec

from casemate.core import ConflictError, InputError, NotFoundError, Profile
from casemate.iam import PasskeyAdded
from casemate.signing import keyid_of, load_public_key

APPROVALS: dict[Profile, int] = {Profile.OPEN: 1, Profile.STANDARD: 1, Profile.STRICT: 2}
"""How many approvals a deployment needs; in `strict` each signed by its approver's own key or passkey, and by two people."""

MAX_LIFE = timedelta(days=366)
PASSKEY = "passkey:"  # before the credential's id, in the name of the key that signed

_Instant = Annotated[datetime, msgspec.Meta(tz=True)]


class Approver(msgspec.Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """One pinned key of one person.

    Args: person: the principal's id, and name: what they were called then. key: PEM, ECDSA P-256; or else passkey, with
        the origin of the pages that may ask for it.
    """

    person: str
    name: str
    pinned_at: _Instant
    until: _Instant
    key: str = ""
    passkey: PasskeyAdded | None = None
    origin: str = ""

    @property
    def keyid(self) -> str:
        """What an envelope names it by."""
        return PASSKEY + self.passkey.credential if self.passkey else keyid_of(load_public_key(self.key.encode()))


class Approvers(msgspec.Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """All that are pinned for one home.

    Args: home: its id, which each approval names. relaxed: deployment -> number of the last ledger entry that made it
        strict, which no longer holds it there.
    """

    home: str
    pinned: tuple[Approver, ...] = ()
    relaxed: dict[str, int] = {}
    schema: Literal[1] = 1

    def find(self, keyid: str) -> Approver | None:
        return next((one for one in self.pinned if one.keyid == keyid), None)

    def of(self, person: str, *, now: datetime) -> list[Approver]:
        """Their keys that count now."""
        return [one for one in self.pinned if one.person == person and one.pinned_at <= now < one.until]

    def with_pin(self, pin: Approver) -> Approvers:
        """With this pin; a key that counts until then goes on counting from when it did.

        Raises: ConflictError `pinned-for-another`: one key is one person's. InputError `bad-expiry`.
        """
        before = self.find(pin.keyid)
        if before is not None and before.person != pin.person:
            raise ConflictError(
                f"This key is pinned for {before.name} ({before.person}): one key is one person's.",
                code="pinned-for-another",
            )
        if not timedelta(0) < pin.until - pin.pinned_at <= MAX_LIFE:
            raise InputError("A key is pinned for at most 366 days: --for 365d.", code="bad-expiry")
        if before is not None and before.pinned_at <= pin.pinned_at < before.until:
            pin = msgspec.structs.replace(pin, pinned_at=before.pinned_at)
        others = tuple(one for one in self.pinned if one.keyid != pin.keyid)
        return msgspec.structs.replace(self, pinned=(*others, pin))

    def without(self, which: str) -> Approvers:
        """Without the key whose id begins with `which`, or all keys of the person with that id or name.

        Raises: NotFoundError `not-pinned`; ConflictError `ambiguous`.
        """
        gone = [one for one in self.pinned if which in (one.person, one.name)]
        if not gone:
            gone = [one for one in self.pinned if which and one.keyid.startswith(which)]
            if len(gone) > 1:
                raise ConflictError(f"{len(gone)} keys begin with {which[:80]!r}: write more of it.", code="ambiguous")
        if not gone:
            raise NotFoundError(
                f"No key is pinned under {which[:80]!r}: see casemate approver list.", code="not-pinned"
            )
        return msgspec.structs.replace(self, pinned=tuple(one for one in self.pinned if one not in gone))
