"""Bytes and rows: encrypted blobs, the signed state, the metadata database, and the home that holds them."""

from casemate.storage.blobs import BlobRecord, BlobStore, PendingBlob, Push, Quota
from casemate.storage.database import METADATA, migrate, open_database, reading, shred
from casemate.storage.home import Home, HomeLock, create_home, open_home, upgrade_home
from casemate.storage.ledger import Ledger, LedgerEntry, LedgerPen, create_state_key, unwrap_state_key
from casemate.storage.rows import RowCipher
from casemate.storage.stream import StreamReader, StreamWriter

__all__ = [
    "METADATA",
    "BlobRecord",
    "BlobStore",
    "Home",
    "HomeLock",
    "Ledger",
    "LedgerEntry",
    "LedgerPen",
    "PendingBlob",
    "Push",
    "Quota",
    "RowCipher",
    "StreamReader",
    "StreamWriter",
    "create_home",
    "create_state_key",
    "migrate",
    "open_database",
    "open_home",
    "reading",
    "shred",
    "unwrap_state_key",
    "upgrade_home",
]
