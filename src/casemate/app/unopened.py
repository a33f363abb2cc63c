"""The log of a home that refuses to open since it was altered: read as it lies there, for an auditor."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import msgspec

from casemate.app.ground import checkpoint_key, home_of, keys_folder, origin_of
from casemate.auditlog import LogReader, verify_log
from casemate.client.files import write_private_file
from casemate.keys import Keeper, Purpose
from casemate.settings import Settings


class UnopenedLog:
    """Answers what a `Casemate` answers of its log. Nothing is written to the home, so nothing is recorded.

    Only `audit_verify` checks what it reads, and a proof proves itself; all else is what the rows say.
    """

    def __init__(self, reader: LogReader, kept: str) -> None:
        """Args: kept: the checkpoint beside the keys; empty when it is gone, which is one of the problems then."""
        self._reader, self._kept = reader, kept

    def audit_entries(self, **filters: Any) -> list[dict[str, Any]]:
        """Newest first, as many as `limit` at most."""
        limit = int(filters.pop("limit"))
        page = self._reader.page(limit=limit, **filters)
        found = page.items
        while page.next and len(found) < limit:
            page = self._reader.page(after=page.next, limit=limit - len(found), **filters)
            found += page.items
        return found

    def audit_verify(self, *, against: str | None = None) -> dict[str, Any]:
        given = {} if against is None else {"the checkpoint that you gave": against}
        report = verify_log(self._reader, kept={"the checkpoint beside the keys": self._kept, **given})
        found: dict[str, Any] = msgspec.to_builtins(report)
        return found

    def audit_proof(self, entry: str) -> dict[str, Any]:
        return self._reader.prove(entry)

    def export_audit(self, to: Path) -> Path:
        return write_private_file(to, (body + b"\n" for body in self._reader.bodies()))


@contextmanager
def unopened_log(settings: Settings) -> Iterator[UnopenedLog]:
    """Raises: NotFoundError `no-home`; StorageError, VerificationError: the keys are not those of this home."""
    home = home_of(settings)
    keeper = Keeper(keys_folder(settings, home))
    public = checkpoint_key(keeper.public_pem(Purpose.CHECKPOINT))
    engine = home.open_database(read_only=True)
    try:
        yield UnopenedLog(LogReader(engine, origin=origin_of(home), public=public), keeper.kept_checkpoint() or "")
    finally:
        engine.dispose()
