"""Keys: who wraps data keys and signs. Only the keeper holds them; the other rooms are given a KeyService."""

from casemate.keys.authority import ServerCertificate, TlsPaths, find_server_certificate, init_tls
from casemate.keys.files import make_private_folder, read_private, sync_folder, write_private
from casemate.keys.interface import KekProvider, KeyProvider
from casemate.keys.keeper import Head, Keeper, KeyService, Purpose, init_keys
from casemate.keys.kept import KeptText
from casemate.keys.remote import RemoteKeys, key_methods
from casemate.keys.ring import HEADER, PROVIDERS, Kek, Keyring
from casemate.keys.secret_places import is_reference
from casemate.keys.secret_refs import resolve_secret
from casemate.keys.secret_strength import Strength
from casemate.keys.signing_key import SIGNERS, ReleaseKey
from casemate.keys.spent import SpentTokens
from casemate.keys.token_keys import AccessClaims, Confirmation, TokenKeys

__all__ = [
    "HEADER",
    "PROVIDERS",
    "SIGNERS",
    "AccessClaims",
    "Confirmation",
    "Head",
    "Keeper",
    "Kek",
    "KekProvider",
    "KeptText",
    "KeyProvider",
    "KeyService",
    "Keyring",
    "Purpose",
    "ReleaseKey",
    "RemoteKeys",
    "ServerCertificate",
    "SpentTokens",
    "Strength",
    "TlsPaths",
    "TokenKeys",
    "find_server_certificate",
    "init_keys",
    "init_tls",
    "is_reference",
    "key_methods",
    "make_private_folder",
    "read_private",
    "resolve_secret",
    "sync_folder",
    "write_private",
]
