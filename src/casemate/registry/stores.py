"""What the registry stands on; `app` binds it once and hands it to each part."""

from __future__ import annotations

from collections.abc import Callable, Iterable
from dataclasses import dataclass
from typing import Any, Protocol

from sqlalchemy import Engine

from casemate.core import DEFAULT_PROJECT, Clock, VerificationError
from casemate.signing import ReleaseSigner, TrustPolicy
from casemate.storage import BlobStore, LedgerEntry, RowCipher


class SignedState(Protocol):
    """`storage.Ledger`: entries whose chain and signature have been checked."""

    def entries(self, after: int = 0) -> Iterable[LedgerEntry]: ...


@dataclass(frozen=True, slots=True, kw_only=True)
class Stores:
    """Enough to read and verify; a gateway has no more than this."""

    engine: Engine
    blobs: BlobStore
    state: SignedState
    clock: Clock
    cipher: RowCipher  # for manifests: they hold the range of each feature, which are values of rows
    project: str = DEFAULT_PROJECT

    def entries(self, *kinds: str) -> list[LedgerEntry]:
        """The ledger's entries of these kinds, oldest first. Raises: VerificationError."""
        return [entry for entry in self.state.entries() if entry.kind in kinds]

    def trust(self) -> TrustPolicy:
        """Who may sign what, by the newest signed state. Raises: VerificationError."""
        return TrustPolicy.fold((entry.body for entry in self.entries("trust")), project=self.project)


@dataclass(frozen=True, slots=True, kw_only=True)
class Pen:
    """What changes anything: the release key's signature, and the ledger.

    Args: commit: (entries, intent) -> number of the last entry, durable when it returns.
    """

    signer: ReleaseSigner
    commit: Callable[[list[tuple[str, dict[str, Any]]], str], int]


def unreadable(kind: str, number: int) -> VerificationError:
    return VerificationError(
        f"Entry {number} of the signed state ({kind}) cannot be read: it was written by another version of Casemate.",
        code="state-unreadable",
    )
