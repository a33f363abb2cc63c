"""What the ledger says about a home's own policies: the bodies of its entries `policy`, folded into which are in force.

Version 0 is none: the packaged policies alone. Each approval, and each return to none, makes the next version.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Annotated, Any

import msgspec

from casemate.core import Digest, VerificationError, digest_of
from casemate.iam.records import Instant, _Record, read_strictly

KIND = "policy"
MAX_TEXT = 64 << 10  # bytes of a home's own policies; the packaged ones have 8 KiB

ProposalId = Annotated[str, msgspec.Meta(pattern=r"^pol_[0-9a-f]{32}\Z")]
_Text = Annotated[str, msgspec.Meta(max_length=MAX_TEXT)]
_Digest = Annotated[str, msgspec.Meta(pattern=r"^sha256:[0-9a-f]{64}\Z")]
_Version = Annotated[int, msgspec.Meta(ge=0)]


class PolicyProposed(_Record, frozen=True, kw_only=True, tag="propose"):
    """The whole text that would be the home's own. Args: base: the version in force then, which it was compared with."""

    id: ProposalId
    text: _Text
    digest: _Digest
    base: _Version
    reason: str
    proposed_by: str
    credential: str
    proposed_at: Instant
    answer_by: Instant


class PolicyApproved(_Record, frozen=True, kw_only=True, tag="approve"):
    """The proposal `id` is in force from here on, as `version`."""

    id: ProposalId
    version: _Version
    reason: str
    approved_by: str
    approved_at: Instant


class PolicyDenied(_Record, frozen=True, kw_only=True, tag="deny"):
    """The answer no to the proposal `id`; of its own author: it is withdrawn."""

    id: ProposalId
    reason: str
    denied_by: str
    denied_at: Instant


class PackagedAlone(_Record, frozen=True, kw_only=True, tag="revert"):
    """From here on the home has no policies of its own, which is `version`."""

    version: _Version
    reason: str
    reverted_by: str
    reverted_at: Instant


PolicyRecord = PolicyProposed | PolicyApproved | PolicyDenied | PackagedAlone
Change = PolicyApproved | PackagedAlone
_NO_TEXT = digest_of(b"")


class HomePolicy(msgspec.Struct, frozen=True, kw_only=True):
    """One version of a home's own policies."""

    version: int = 0
    text: str = ""
    digest: Digest = _NO_TEXT


NO_POLICY = HomePolicy()  # version 0


class PolicyState(msgspec.Struct, frozen=True, kw_only=True):
    """All proposals and versions. Args: versions: from 1 on, with what made each."""

    proposals: Mapping[str, PolicyProposed] = {}
    denied: Mapping[str, PolicyDenied] = {}
    versions: tuple[tuple[HomePolicy, Change], ...] = ()

    @property
    def in_force(self) -> HomePolicy:
        return self.versions[-1][0] if self.versions else NO_POLICY

    def approved(self, proposal: str) -> PolicyApproved | None:
        """The entry that put a proposal in force."""
        made = (change for _, change in self.versions)
        return next((one for one in made if isinstance(one, PolicyApproved) and one.id == proposal), None)

    def after(self, record: PolicyRecord) -> PolicyState:
        """Raises: VerificationError (state-unreadable): it contradicts what came before."""
        if isinstance(record, PolicyProposed):
            _refuse_if(record.id in self.proposals, record.id, "is there already")
            _refuse_if(
                digest_of(record.text.encode()) != record.digest, record.id, "has another text than its digest says"
            )
            return msgspec.structs.replace(self, proposals={**self.proposals, record.id: record})
        if isinstance(record, PolicyDenied):
            self._open(record.id)
            return msgspec.structs.replace(self, denied={**self.denied, record.id: record})
        _refuse_if(record.version != len(self.versions) + 1, f"version {record.version}", "is not the next one")
        if isinstance(record, PackagedAlone):
            made = HomePolicy(version=record.version)
        else:
            proposed = self._open(record.id)
            _refuse_if(record.approved_by == proposed.proposed_by, record.id, "was approved by whoever proposed it")
            _refuse_if(proposed.base != self.in_force.version, record.id, "was compared with policies that ended")
            _refuse_if(record.approved_at >= proposed.answer_by, record.id, "was answered too late")
            made = HomePolicy(version=record.version, text=proposed.text, digest=Digest(proposed.digest))
        return msgspec.structs.replace(self, versions=(*self.versions, (made, record)))

    def _open(self, proposal: str) -> PolicyProposed:
        known = self.proposals.get(proposal)
        if known is None:
            raise _contradiction(proposal, "was answered and never proposed")
        _refuse_if(proposal in self.denied or self.approved(proposal) is not None, proposal, "was answered before")
        return known


def read_policy_record(body: Any) -> PolicyRecord:
    """Read one entry of the ledger. Raises: VerificationError (state-unreadable)."""
    record: PolicyRecord = read_strictly("policy", body, PolicyRecord)
    return record


def _refuse_if(contradiction: bool, what: str, why: str) -> None:  # noqa: FBT001 - reads as a sentence
    if contradiction:
        raise _contradiction(what, why)


def _contradiction(what: str, why: str) -> VerificationError:
    return VerificationError(f"The signed state contradicts itself: the policy {what} {why}.", code="state-unreadable")
