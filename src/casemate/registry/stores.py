"""What the registry stands on; `app` binds it once and hands it to each part."""

from __future__ import annotations

import threading
from collections.abc import Callable, Iterable
from dataclasses import dataclass, field
from typing import Any, Protocol, TypeVar

from sqlalchemy import Engine

from casemate.core import DEFAULT_PROJECT, Clock, Digest, VerificationError
from casemate.registry.approvers import Approvers
from casemate.signing import ReleaseSigner, TrustPolicy
from casemate.storage import BlobStore, LedgerEntry, RowCipher

T = TypeVar("T")


class SignedState(Protocol):
    """`storage.Ledger`: entries whose chain and signature have been checked."""

    def entries(self, after: int = 0) -> Iterable[LedgerEntry]: ...


@dataclass(frozen=True, slots=True)
class _Trust:
    bodies: tuple[Any, ...] = ()
    policy: TrustPolicy = field(default_factory=TrustPolicy)


@dataclass(frozen=True, slots=True, kw_only=True)
class Stores:
    """Enough to read and verify; a gateway has no more than this."""

    engine: Engine
    blobs: BlobStore
    state: SignedState
    clock: Clock
    cipher: RowCipher  # for manifests: they hold the range of each feature, which are values of rows
    approvers: Callable[[], Approvers]  # whose own signatures count, as the keeper has them now
    project: str = DEFAULT_PROJECT
    _folds: dict[str, tuple[int, Any]] = field(default_factory=dict, init=False, repr=False, compare=False)  # by kind
    _folding: threading.Lock = field(default_factory=threading.Lock, init=False, repr=False, compare=False)

    def folded(self, kind: str, start: T, fold: Callable[[T, list[LedgerEntry]], T]) -> T:
        """What the newest signed state says of `kind`: `fold` of the last answer, or `start`, and the entries since.

        The ledger is asked at each call, so an entry that was committed before is always in the answer. A `fold` that
        raises is asked the same again next time. It changes neither argument and asks for no other fold.
        Raises: VerificationError; as `fold`.
        """
        with self._folding:
            number: int
            answer: T
            number, answer = self._folds.get(kind, (0, start))
            news = list(self.state.entries(after=number))
            if news:
                mine = [entry for entry in news if entry.kind == kind]
                answer = fold(answer, mine) if mine else answer
                self._folds[kind] = news[-1].number, answer
            return answer

    def trust(self) -> TrustPolicy:
        """Who may sign what, by the newest signed state. Raises: VerificationError."""
        return self.folded("trust", _Trust(), self._fold_trust).policy

    def _fold_trust(self, last: _Trust, entries: list[LedgerEntry]) -> _Trust:
        bodies = (*last.bodies, *(entry.body for entry in entries))
        return _Trust(bodies, TrustPolicy.fold(bodies, project=self.project))


@dataclass(frozen=True, slots=True, kw_only=True)
class Pen:
    """What changes anything: the release key's signature, and the ledger.

    Args:
        commit: (entries, intent) -> number of the last entry, durable when it returns.
        deciding: held from a look at what is deployed to the commit that rests on it, and never while a model loads.
        switching: deployment -> digests of what it returns to if the switch under way fails. Read and written under
            `deciding`; a switch that a crash cut short needs none, since nothing undoes it.
    """

    signer: ReleaseSigner
    commit: Callable[[list[tuple[str, dict[str, Any]]], str], int]
    deciding: threading.Lock = field(default_factory=threading.Lock)
    switching: dict[str, frozenset[Digest]] = field(default_factory=dict)


def unreadable(kind: str, number: int) -> VerificationError:
    return VerificationError(
        f"Entry {number} of the signed state ({kind}) cannot be read: it was written by another version of Casemate.",
        code="state-unreadable",
    )
