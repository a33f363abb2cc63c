"""A real home with real keys."""

from __future__ import annotations

from datetime import UTC, datetime
from pathlib import Path

from cryptography.hazmat.primitives.serialization import load_pem_public_key

from casemate.keys import Keeper, Purpose, init_keys
from casemate.storage import BlobStore, Ledger, LedgerPen, Quota, create_home, create_state_key, unwrap_state_key

NOW = datetime(2026, 11, 24, 12, tzinfo=UTC)
AT = "2026-11-24T12:00:00.000000Z"


class House:
    def __init__(self, path: Path, quota: Quota | None = None) -> None:
        self.path = path
        self.home = create_home(path / "home", now=NOW)
        init_keys(path / "keys")
        self.keeper = Keeper(path / "keys")
        create_state_key(self.home.path, self.home.id, self.keeper)
        self.key = unwrap_state_key(self.home.path, self.home.id, self.keeper)
        self.public = load_pem_public_key(self.keeper.public_pem(Purpose.CHECKPOINT))
        self.engine = self.home.open_database()
        self.blobs = BlobStore(self.home.blobs, self.home.tmp, self.home.lost, self.keeper, quota)

    def ledger(self, **more) -> Ledger:
        return Ledger(self.engine, home_id=self.home.id, key=self.key, public=self.public, **more)

    def pen(self) -> LedgerPen:
        return LedgerPen(self.engine, self.ledger(), self.keeper, home_id=self.home.id, key=self.key)

    def files(self) -> set[str]:
        return {path.name for path in (*self.home.blobs.glob("*/*"), *self.home.tmp.iterdir())}
