"""The signed state: who may do what, as one encrypted, hash-chained record whose number only grows (ADR 3).

The keeper alone appends. Everybody else reads, and believes nothing that the chain and the head's signature do not carry.
"""

from __future__ import annotations

import threading
from collections.abc import Callable, Sequence
from typing import Any

import msgspec
from cryptography.exceptions import InvalidSignature
from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PublicKey
from sqlalchemy import Connection, Engine, Row, insert, select

from casemate.core import Digest, InputError, StorageError, VerificationError, canonical, digest_of
from casemate.keys import Head, Keeper, Purpose
from casemate.storage.database import ledger, reading
from casemate.storage.rows import RowCipher

FIRST = Digest("sha256:" + "0" * 64)  # what the first entry names as its previous one


class LedgerEntry(msgspec.Struct, frozen=True, kw_only=True):
    number: int
    at: str
    kind: str
    body: Any
    previous: Digest
    digest: Digest
    intent: str


class Ledger:
    """Reads the ledger. What was checked once is kept; each `entries` call checks what came since, to the signed end."""

    def __init__(
        self,
        engine: Engine,
        *,
        home_id: str,
        key: bytes,
        public: Ed25519PublicKey,
        head: Callable[[], Head] | None = None,
    ) -> None:
        """Args: public: of the keeper itself, never from the home. head: the kept head; each reading must reach it."""
        self._engine, self._home_id, self._cipher, self._public = engine, home_id, RowCipher(key), public
        self._kept = head
        self._read: list[LedgerEntry] = []  # whose chain and signature were checked here
        self._lock = threading.Lock()

    def entries(self, after: int = 0) -> list[LedgerEntry]:
        """All entries whose number is over `after`, oldest first.

        Raises: VerificationError `state-altered`: an entry was altered, dropped, added or moved; `state-rolled-back`:
            the ledger is shorter than it was.
        """
        kept = self._kept() if self._kept else Head(0, "")  # asked first: what is read next can only be newer
        with self._lock:
            self._read_on()
            found = self._read
            if after > len(found):
                raise _shortened()
            if kept.number > len(found) or (kept.number and found[kept.number - 1].digest != kept.digest):
                raise _rolled_back(len(found), kept)
            return found[after:]

    def _read_on(self) -> None:
        """Read what came since, from a row that must still be what it was."""
        known = len(self._read)
        previous = self._read[-1].digest if known else FIRST
        with reading(self._engine) as connection:
            rows = connection.execute(select(ledger).where(ledger.c.number >= known).order_by(ledger.c.number)).all()
        if known and (not rows or (rows[0].number, rows[0].digest) != (known, previous)):
            raise _shortened()
        news = []
        for number, row in enumerate(rows[1:] if known else rows, known + 1):
            news.append(self._opened(row, number, previous))
            previous = Digest(row.digest)
        if news:
            self._check_signature(rows[-1])
        self._read += news

    def check_head(self, head: Head) -> Head:
        """Compare with the head that was kept beside the keys; returns the ledger's own head, which may be ahead.

        Raises: VerificationError `state-rolled-back`, `state-altered`.
        """
        entries = self.entries()
        number = entries[-1].number if entries else 0
        if number < head.number or (head.number and entries[head.number - 1].digest != head.digest):
            raise _rolled_back(number, head)
        return Head(number, entries[-1].digest) if entries else head

    def _opened(self, row: Row[Any], number: int, previous: Digest) -> LedgerEntry:
        body = bytes(row.body)
        digest = _digest(self._home_id, (number, row.at, row.kind, body, previous, row.intent))
        if (row.number, row.previous, row.digest) != (number, previous, digest):
            raise VerificationError(f"Entry {number} of the signed state was altered or dropped.", code="state-altered")
        try:
            plain = self._cipher.open(body, _body_context(self._home_id, number))
        except VerificationError as error:
            raise VerificationError(
                f"Entry {number} of the signed state cannot be read.", code="state-altered"
            ) from error
        return LedgerEntry(
            number=number,
            at=row.at,
            kind=row.kind,
            body=msgspec.json.decode(plain),
            previous=previous,
            digest=digest,
            intent=row.intent,
        )

    def _check_signature(self, row: Row[Any]) -> None:
        try:
            self._public.verify(bytes(row.signature), _signed(self._home_id, row.number, row.digest))
        except InvalidSignature as error:
            raise VerificationError("The signed state's last signature does not fit.", code="state-altered") from error


class LedgerPen:
    """The keeper's: the only writer. Opens only on a ledger that is at least as new as the kept head."""

    def __init__(self, engine: Engine, reader: Ledger, keeper: Keeper, *, home_id: str, key: bytes) -> None:
        """Raises: VerificationError `state-rolled-back`, `state-altered`."""
        self._engine, self._reader, self._keeper, self._home_id = engine, reader, keeper, home_id
        self._cipher = RowCipher(key)
        self._lock = threading.Lock()
        self._seal_found()

    def _seal_found(self) -> None:
        """Check the whole ledger; keep its head where a crash came between the commit and the kept head."""
        found = self._reader.check_head(self._keeper.head())
        self._keeper.seal_head(found.number, found.digest)

    def append(self, entries: Sequence[tuple[str, Any]], intent: str, at: str) -> int:
        """Commit entries together, then keep the new head beside the keys; returns the last one's number.

        The last entry alone is signed, so that nobody can leave half of what was committed as a whole.
        Raises: VerificationError `state-rolled-back`, `state-altered`: nothing was written. StorageError:
            `head-not-kept`: committed, and it counts; its head is kept before anything else is written.
            `keys-unwritable`: an earlier head can still not be kept, and nothing was written.
        """
        if not entries:
            raise InputError("Nothing was given to append to the signed state.", code="nothing-to-append")
        with self._lock:
            if not self._is_at_head():  # an append whose head was not kept, or another database
                self._catch_up()
            with self._engine.begin() as connection:
                head = self._keeper.head()
                if _last(connection) != head:
                    raise _rolled_back(_last(connection).number, head)
                number, previous = head.number, Digest(head.digest or FIRST)
                for count, (kind, body) in enumerate(entries, 1):
                    number += 1
                    sealed = self._cipher.seal(canonical(body), _body_context(self._home_id, number))
                    digest = _digest(self._home_id, (number, at, kind, sealed, previous, intent))
                    signature = self._sign(number, digest) if count == len(entries) else b""
                    row = {"number": number, "at": at, "kind": kind, "body": sealed, "previous": previous}
                    connection.execute(insert(ledger).values(**row, digest=digest, signature=signature, intent=intent))
                    previous = digest
            self._keep_head(number, previous)
        return number

    def _catch_up(self) -> None:
        try:
            self._seal_found()
        except OSError as error:
            raise StorageError(
                f"The folder of the keys cannot be written ({error.strerror or error}), so nothing is changed: free "
                "space there, then try again.",
                code="keys-unwritable",
            ) from error

    def _keep_head(self, number: int, digest: str) -> None:
        try:
            self._keeper.seal_head(number, digest)
        except OSError as error:
            raise StorageError(
                f"It was done and is signed, but its number {number} could not be kept beside the keys "
                f"({error.strerror or error}): free space there, then look at what stands before you try again.",
                code="head-not-kept",
            ) from error

    def _is_at_head(self) -> bool:
        with reading(self._engine) as connection:
            return _last(connection) == self._keeper.head()

    def _sign(self, number: int, digest: str) -> bytes:
        return self._keeper.sign(Purpose.CHECKPOINT, _signed(self._home_id, number, digest))


def _last(connection: Connection) -> Head:
    """What the last row says; nothing of it is checked."""
    row = connection.execute(select(ledger.c.number, ledger.c.digest).order_by(ledger.c.number.desc()).limit(1)).first()
    return Head(row.number, row.digest) if row else Head(0, "")


def _shortened() -> VerificationError:
    return VerificationError("The signed state is shorter than it was, or another one.", code="state-rolled-back")


def _rolled_back(found: int, kept: Head) -> VerificationError:
    return VerificationError(
        f"The home's signed state ends at {found}, and its keys know {kept.number}: an older copy, or another one, was"
        " put back. Restore the newest one.",
        code="state-rolled-back",
    )


def _digest(home: str, row: tuple[int, str, str, bytes, str, str]) -> Digest:
    """Over number, time, kind, encrypted body, the previous digest and the intent."""
    number, at, kind, sealed, previous, intent = row
    return digest_of(canonical(["casemate ledger 1", home, number, at, kind, digest_of(sealed), previous, intent]))


def _signed(home: str, number: int, digest: str) -> bytes:
    return canonical(["casemate ledger head 1", home, number, digest])


def _body_context(home: str, number: int) -> bytes:
    return canonical({"home": home, "ledger": number})
