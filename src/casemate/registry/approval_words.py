"""What an approver is shown and asked to sign."""

from __future__ import annotations

import base64

import msgspec

from casemate.core import Digest, Environment
from casemate.registry.admission import people_who_signed
from casemate.registry.approvers import PASSKEY
from casemate.registry.ended import ended_of
from casemate.registry.own_approvals import words
from casemate.registry.revocations import check_not_revoked
from casemate.registry.stores import Stores
from casemate.registry.versions import Version


class ApprovalWords(msgspec.Struct, frozen=True, kw_only=True):
    """Args: payload: base64 of what is signed. keys: ids of the approver's own pinned keys that count now, passkeys
    among them. signed_by: ids of the people whose own signatures count now."""

    name: str
    version: int
    digest: Digest
    environment: Environment
    home: str
    approver: str
    payload: str
    keys: tuple[str, ...]
    signed_by: tuple[str, ...]

    @property
    def passkeys(self) -> tuple[str, ...]:
        """Credential ids among `keys`."""
        return tuple(key.removeprefix(PASSKEY) for key in self.keys if key.startswith(PASSKEY))


def approval_words(stores: Stores, version: Version, environment: Environment, approver: str) -> ApprovalWords:
    """Raises: VerificationError `revoked`, or the version's release does not verify."""
    check_not_revoked(stores, version)
    now, approvers, ended = stores.clock.now(), stores.approvers(), ended_of(stores)
    payload = words(approvers.home, version.about, environment, approver, at=now)
    return ApprovalWords(
        name=version.about.name,
        version=version.number,
        digest=version.digest,
        environment=environment,
        home=approvers.home,
        approver=approver,
        payload=base64.b64encode(payload).decode(),
        keys=tuple(one.keyid for one in approvers.of(approver, now=now) if not ended.holds(one, now)),
        signed_by=tuple(sorted(people_who_signed(stores, version, environment))),
    )
