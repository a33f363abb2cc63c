"""Every wrapped data key of a home, and how all of them come under a new key-encryption key (KEK) while the home serves.

At any moment, each wrapped key is under a KEK that the keyring holds: a new KEK is on disk before anything is wrapped under
it, each key is replaced in one commit, and older KEKs go only when nothing bears them (ADR 11).
"""

from __future__ import annotations

import threading
from collections.abc import Iterator, Sequence
from contextlib import contextmanager, suppress
from typing import Any

import msgspec
from sqlalchemy import ColumnElement, Connection, Engine, LargeBinary, Row, bindparam, exists, func, select, update

from casemate.core import ConflictError, StorageError, VerificationError
from casemate.keys import HEADER, Keyring, write_private
from casemate.storage.database import blobs, reading, shred, version_blobs, versions
from casemate.storage.home import Home
from casemate.storage.home_keys import HOME_KEYS, key_context
from casemate.storage.pending import blob_context

_BATCH = 200  # keys in one commit: what a kill may cost, and how long other writers wait (a few ms)
_NAMED = 20  # failures that an answer names

_LIVE = exists().where(
    version_blobs.c.blob_id == blobs.c.id, versions.c.id == version_blobs.c.version_id, versions.c.state == "live"
)
_header = func.substr(blobs.c.wrapped_key, 1, HEADER, type_=LargeBinary)


def newest_key(engine: Engine, blob_id: str) -> bytes | None:
    """A blob's wrapped key as it stands now; None of one that is gone."""
    with reading(engine) as connection:
        found = connection.execute(select(blobs.c.wrapped_key).where(blobs.c.id == blob_id)).scalar()
    return None if found is None else bytes(found)


class Rewrapped(msgspec.Struct, frozen=True, kw_only=True):
    """What a rotation did.

    Args: new: whether it made the KEK `kek`. failed: blobs whose keys cannot be unwrapped, as they were before; the
        first twenty of them. aside: the same, of blobs that no live version names: they keep no KEK from retiring.
    """

    kek: int
    rewrapped: int
    failed: list[str]
    new: bool = False
    aside: list[str] = []


class DataKeys:
    """The wrapped data keys of one home: the blobs' in the database, the home's own in their files."""

    def __init__(self, home: Home, engine: Engine, keyring: Keyring) -> None:
        self._home, self._engine, self._keyring = home, engine, keyring
        self._busy = threading.Lock()

    def show(self) -> dict[str, Any]:
        """The KEKs, oldest first, with how many data keys each wraps; `unknown`: keys under none of them."""
        with reading(self._engine) as connection:
            counts = self._counts(connection)
        keks = self._keyring.keks
        rows = [
            {
                "number": kek.number,
                "id": kek.id,
                "state": "retired" if kek.retired else "wraps" if kek is keks[-1] else "unwraps",
                "data_keys": counts.pop(kek.header, 0),
            }
            for kek in keks
        ]
        about = {"provider": self._keyring.provider, "settings": self._keyring.settings}
        return {**about, "keks": rows, "unknown": sum(counts.values())}

    def rotate(self) -> Rewrapped:
        """Make a new KEK, unless the last rotation was left open; then wrap every data key under the newest.

        Raises: ConflictError `rotating`. StorageError: the provider or the disk failed; call again to go on.
        """
        with self._alone():
            new = not self._keyring.rotating  # the keyring's word: rows that were put back decide nothing
            if new:
                self._keyring.rotate()
            done = self._rewrap()
            self._keyring.rotated()
            return msgspec.structs.replace(done, new=new)

    def retire(self) -> Rewrapped:
        """Wrap what is left under the newest KEK, then refuse the older ones for good.

        Raises: ConflictError `kek-in-use`: some keys cannot be moved; nothing was retired. StorageError.
        """
        with self._alone():
            done = self._rewrap()
            with self._engine.begin() as connection:  # nothing is committed meanwhile: see `BlobStore.check_keys`
                self._check_unused(connection, done.failed)
                self._keyring.retire()
            self._keyring.enforce()
            return done

    def _check_unused(self, connection: Connection, failed: list[str]) -> None:
        counts = self._counts(connection, _LIVE)
        *older, _ = self._keyring.keks
        left = sum(counts.get(kek.header, 0) for kek in older if not kek.retired)
        if left:
            raise ConflictError(
                f"{left} data keys are still under an older key-encryption key ({', '.join(failed) or 'just pushed'}):"
                " try again; delete or restore the versions whose keys cannot be unwrapped.",
                code="kek-in-use",
            )

    def _rewrap(self) -> Rewrapped:
        moved, failed = self._rewrap_files(), list[str]()
        for rows in self._outdated():
            news = []
            for row in rows:
                try:
                    news.append({"_id": row.id, "_old": row.wrapped_key, "_new": self._renewed(row)})
                except VerificationError:
                    failed.append(row.id)
            moved += self._replace(news)
        if moved:
            with suppress(StorageError):  # a reader keeps it: the next checkpoint overwrites what is left
                shred(self._engine, wait=False)
        live = self._live(failed)
        return Rewrapped(
            kek=self._keyring.keks[-1].number,
            rewrapped=moved,
            failed=[one for one in failed if one in live][:_NAMED],
            aside=[one for one in failed if one not in live][:_NAMED],
        )

    def _live(self, ids: list[str]) -> set[str]:
        """Those that a live version names."""
        with reading(self._engine) as connection:
            return {
                one
                for start in range(0, len(ids), _BATCH)
                for one in connection.execute(
                    select(blobs.c.id).where(_LIVE, blobs.c.id.in_(ids[start : start + _BATCH]))
                ).scalars()
            }

    def _rewrap_files(self) -> int:
        moved = 0
        for name in HOME_KEYS:
            path, context = self._home.path / name, key_context(self._home.id, name)
            wrapped = path.read_bytes() if path.exists() else b""
            if wrapped and wrapped[:HEADER] != self._keyring.keks[-1].header:
                write_private(path, self._keyring.wrap(self._keyring.unwrap(wrapped, context), context))
                moved += 1
        return moved

    def _outdated(self) -> Iterator[Sequence[Any]]:
        """Blobs whose key is not under the newest KEK, in batches."""
        newest, after = self._keyring.keks[-1].header, ""
        query = select(blobs.c.id, blobs.c.project, blobs.c.asset, blobs.c.wrapped_key).order_by(blobs.c.id)
        while True:
            with reading(self._engine) as connection:
                batch = query.where(blobs.c.id > after, _header != newest).limit(_BATCH)
                rows = connection.execute(batch).all()
            if not rows:
                return
            yield rows
            after = rows[-1].id

    def _renewed(self, row: Row[Any]) -> bytes:
        context = blob_context(row.project, row.asset, row.id)
        return self._keyring.wrap(self._keyring.unwrap(bytes(row.wrapped_key), context), context)

    def _replace(self, news: list[dict[str, Any]]) -> int:
        """Commit new wrapped keys, each in place of the very one that it was made from: a deleted key stays deleted."""
        if not news:
            return 0
        change = (
            update(blobs)
            .where(blobs.c.id == bindparam("_id"), blobs.c.wrapped_key == bindparam("_old"))
            .values(wrapped_key=bindparam("_new"))
        )
        with self._engine.begin() as connection:
            return connection.execute(change, news).rowcount

    def _counts(self, connection: Connection, which: ColumnElement[bool] | None = None) -> dict[bytes, int]:
        """How many data keys begin with each header: of all blobs, or of some."""
        query = select(_header.label("header"), func.count()).group_by("header")
        rows = connection.execute(query if which is None else query.where(which))
        counts = {bytes(header): number for header, number in rows}
        for path in (self._home.path / name for name in HOME_KEYS):
            if path.exists():
                header = path.read_bytes()[:HEADER]
                counts[header] = counts.get(header, 0) + 1
        return counts

    @contextmanager
    def _alone(self) -> Iterator[None]:
        if not self._busy.acquire(blocking=False):
            raise ConflictError(
                "The keys are being rotated already: casemate keys show tells how far it is.", code="rotating"
            )
        try:
            yield
        finally:
            self._busy.release()
