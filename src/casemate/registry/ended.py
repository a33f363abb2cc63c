"""People and passkeys that prove nobody any more, as the ledger tells it: since when what they sign does not count.

The pins lie elsewhere, and whoever leaves or loses a device need not know of them. The ledger only grows, so that nobody
who writes it brings one of these back; what was signed before stays signed.
"""

from __future__ import annotations

from datetime import datetime

import msgspec

from casemate.core import parse_rfc3339
from casemate.iam.records import Invited, PasskeyRemoved, Revoked, read_record
from casemate.registry.approvers import Approver
from casemate.registry.stores import Stores
from casemate.storage import LedgerEntry

_KIND = "principal"


class Ended(msgspec.Struct, frozen=True):
    """Args: since: by the id of a person or passkey. reset: by person: when all passkeys that they had ended."""

    since: dict[str, datetime] = {}
    reset: dict[str, datetime] = {}

    def holds(self, pin: Approver, at: datetime) -> bool:
        """Whether whoever signs with this key at `at` is gone by then, or the passkey is."""
        if _is_over(self.since.get(pin.person), at):
            return True
        if pin.passkey is None:
            return False
        reset = self.reset.get(pin.person)
        before = reset is not None and pin.passkey.added_at < reset
        return _is_over(self.since.get(pin.passkey.id), at) or (before and _is_over(reset, at))


def ended_of(stores: Stores) -> Ended:
    """What the newest signed state says. Raises: VerificationError."""
    return stores.folded(_KIND, Ended(), _fold)


def _is_over(end: datetime | None, at: datetime) -> bool:
    return end is not None and at >= end


def _fold(last: Ended, entries: list[LedgerEntry]) -> Ended:
    since, reset = dict(last.since), dict(last.reset)
    for entry in entries:
        record, at = read_record(entry.kind, entry.body), parse_rfc3339(entry.at)
        if isinstance(record, Revoked | PasskeyRemoved):
            since.setdefault(record.id, at)
        elif isinstance(record, Invited) and record.resets:
            reset[record.principal] = at
    return Ended(since, reset)
