"""Bytes and rows: encrypted blobs, the signed state, the metadata database, and the home that holds them."""

from casemate.storage.blobs import BlobStore, PiecedFile, Push
from casemate.storage.data_keys import DataKeys, Rewrapped, newest_key
from casemate.storage.database import METADATA, is_append_only, migrate, open_database, reading, shred
from casemate.storage.home import Home, HomeLock, create_home, migrate_home, open_home, upgrade_home
from casemate.storage.home_keys import (
    create_people_key,
    create_state_key,
    has_state_key,
    unwrap_people_key,
    unwrap_state_key,
)
from casemate.storage.ledger import Ledger, LedgerEntry, LedgerPen
from casemate.storage.pending import BlobRecord, PendingBlob, Quota
from casemate.storage.place import KeptPlace
from casemate.storage.rows import RowCipher
from casemate.storage.sealed_rows import SealedRows
from casemate.storage.stored_file import StoredFile
from casemate.storage.stream import StreamReader, StreamWriter
from casemate.storage.uploads import CUT_OFF, Sending, Upload, Uploads

__all__ = [
    "CUT_OFF",
    "METADATA",
    "BlobRecord",
    "BlobStore",
    "DataKeys",
    "Home",
    "HomeLock",
    "KeptPlace",
    "Ledger",
    "LedgerEntry",
    "LedgerPen",
    "PendingBlob",
    "PiecedFile",
    "Push",
    "Quota",
    "Rewrapped",
    "RowCipher",
    "SealedRows",
    "Sending",
    "StoredFile",
    "StreamReader",
    "StreamWriter",
    "Upload",
    "Uploads",
    "create_home",
    "create_people_key",
    "create_state_key",
    "has_state_key",
    "is_append_only",
    "migrate",
    "migrate_home",
    "newest_key",
    "open_database",
    "open_home",
    "reading",
    "shred",
    "unwrap_people_key",
    "unwrap_state_key",
    "upgrade_home",
]
