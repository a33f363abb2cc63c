"""Keys: who wraps data keys and signs. Only the keeper holds them; the other rooms are given a KeyService."""

from casemate.keys.authority import TlsPaths, init_tls
from casemate.keys.file import FileProvider
from casemate.keys.files import make_private_folder, read_private, sync_folder, write_private
from casemate.keys.interface import KeyProvider
from casemate.keys.keeper import Head, Keeper, KeyService, Purpose, init_keys
from casemate.keys.remote import RemoteKeys, key_methods

__all__ = [
    "FileProvider",
    "Head",
    "Keeper",
    "KeyProvider",
    "KeyService",
    "Purpose",
    "RemoteKeys",
    "TlsPaths",
    "init_keys",
    "init_tls",
    "key_methods",
    "make_private_folder",
    "read_private",
    "sync_folder",
    "write_private",
]
