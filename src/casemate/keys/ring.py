"""The keyring of a home: its key-encryption keys (KEKs) by number. The newest wraps, older ones unwrap, retired ones refuse.

A wrapped key is: format, id of its KEK, and what the provider sealed; format and id are bound into the seal. The keyring's
file is replaced whole, so each wrapped key has its KEK there from before it is written until nothing bears it any more.
"""

from __future__ import annotations

import re
import threading
from pathlib import Path

import msgspec

from casemate.core import ConflictError, InputError, StorageError, new_id
from casemate.keys.file import FileProvider, is_key
from casemate.keys.files import read_private, write_private
from casemate.keys.interface import KekProvider, kek_retired, unwrap_failed

_FORMAT = 1  # first byte of a wrapped key
_ID = re.compile(r"kek_[0-9a-f]{32}")
PROVIDERS = ("file", "vault", "aws-kms", "google-kms", "azure-key-vault", "pkcs11")
HEADER = 37  # bytes of format and id
_LAYOUT = 2


class Kek(msgspec.Struct, frozen=True, kw_only=True, forbid_unknown_fields=True, omit_defaults=True):
    """One key-encryption key. Args: ref: the provider's name for it; for `file` the key itself, until it is retired."""

    number: int
    id: str
    ref: str = ""
    retired: bool = False

    @property
    def header(self) -> bytes:
        """What every key that it wraps begins with."""
        return bytes([_FORMAT]) + self.id.encode()


class _Ring(msgspec.Struct, frozen=True, kw_only=True, forbid_unknown_fields=True, omit_defaults=True):
    """The file. Args: settings: the provider's own, never a secret. rotating: not all was wrapped under the newest yet."""

    provider: str
    settings: dict[str, str]
    keks: tuple[Kek, ...]
    layout: int
    rotating: bool = False


class _FirstLayout(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """The file of a home whose one KEK was never rotated, as the first release wrote it."""

    id: str
    key: str
    schema: int


class Keyring:
    """The KEKs of one home, for use from many threads."""

    def __init__(self, path: Path) -> None:
        """Raises: StorageError: the file is missing, broken, or others may read it."""
        self._path = path
        self._ring = _load(path)
        try:
            self._provider = provider_of(self._ring.provider, self._ring.settings, path.parent)
        except InputError as error:
            raise _broken(path) from error
        self._lock = threading.Lock()

    @staticmethod
    def create(path: Path, provider: str = "file", settings: dict[str, str] | None = None) -> None:
        """Make a keyring with a first KEK. Raises: StorageError; InputError `bad-key-settings`."""
        settings = settings or {}
        ref = provider_of(provider, settings, path.parent).make()
        first = Kek(number=1, id=new_id("kek"), ref=ref)
        _keep(path, _Ring(provider=provider, settings=settings, keks=(first,), layout=_LAYOUT))

    @property
    def provider(self) -> str:
        return self._ring.provider

    @property
    def settings(self) -> dict[str, str]:
        return self._ring.settings

    @property
    def keks(self) -> tuple[Kek, ...]:
        """Oldest first; the last one wraps."""
        return self._ring.keks

    def wrap(self, key: bytes, context: bytes) -> bytes:
        kek = self._ring.keks[-1]
        return kek.header + self._provider.seal(kek.ref, key, kek.header + context)

    def unwrap(self, wrapped: bytes, context: bytes) -> bytes:
        """Raises: as `KeyProvider.unwrap`; VerificationError `kek-retired`."""
        kek = self._kek_of(wrapped)
        if kek is None:
            raise unwrap_failed()
        if kek.retired:
            raise kek_retired(str(kek.number))
        return self._provider.open(kek.ref, wrapped[HEADER:], kek.header + context)

    def check_kept(self, wrapped: list[bytes]) -> None:
        """To be called before keys that were wrapped a while ago are committed.

        Raises: ConflictError `kek-retired`: a KEK of theirs was retired meanwhile.
        """
        for one in wrapped:
            kek = self._kek_of(one)
            if kek is None or kek.retired:
                raise ConflictError(
                    "The key-encryption key was retired during this push, and nothing of it was kept: push again.",
                    code="kek-retired",
                )

    @property
    def rotating(self) -> bool:
        """Whether the last rotation is still open: `rotated` was not called since. No row of a database says so."""
        return self._ring.rotating

    def rotate(self) -> Kek:
        """Make a new KEK; from here on it wraps, and the older ones unwrap. Raises: StorageError: nothing changed."""
        with self._lock:
            new = Kek(number=self._ring.keks[-1].number + 1, id=new_id("kek"), ref=self._provider.make())
            self._write((*self._ring.keks, new), rotating=True)
            return new

    def rotated(self) -> None:
        """The last rotation is done. Raises: StorageError: it counts as open."""
        with self._lock:
            if self._ring.rotating:
                self._write(self._ring.keks, rotating=False)

    def retire(self) -> None:
        """Refuse, for good, what any KEK but the newest wrapped. That nothing needs them is the caller's to check."""
        with self._lock:
            *older, newest = self._ring.keks
            kept = not self._provider.refs_are_keys
            self._write((*(_retired(kek, kept=kept) for kek in older), newest), rotating=False)

    def enforce(self) -> None:
        """Let the provider refuse retired KEKs as well. Raises: StorageError: call it again."""
        for kek in self._ring.keks:
            if kek.retired:
                self._provider.retire(kek.ref)

    def _write(self, keks: tuple[Kek, ...], *, rotating: bool) -> None:
        ring = msgspec.structs.replace(self._ring, keks=keks, rotating=rotating)
        _keep(self._path, ring)
        self._ring = ring

    def _kek_of(self, wrapped: bytes) -> Kek | None:
        header = wrapped[:HEADER]
        return next((kek for kek in reversed(self._ring.keks) if kek.header == header), None)


def provider_of(name: str, settings: dict[str, str], folder: Path) -> KekProvider:
    """Args: folder: of the keys; its name is the home's id. Raises: InputError `bad-key-settings`; StorageError."""
    if name == "vault":
        from casemate.keys.vault import make_vault

        return make_vault(settings, folder.name)
    if name == "aws-kms":
        from casemate.keys.aws_kms import make_aws_kms

        return make_aws_kms(settings, folder.name)
    if name == "google-kms":
        from casemate.keys.google_kms import make_google_kms

        return make_google_kms(settings, folder.name)
    if name == "azure-key-vault":
        from casemate.keys.azure_vault import make_azure_vault

        return make_azure_vault(settings, folder.name)
    if name == "pkcs11":
        from casemate.keys.hsm import make_hsm

        return make_hsm(settings, folder.name)
    if name != "file":
        raise InputError(f"There is no key provider {name!r}: use {' or '.join(PROVIDERS)}.", code="bad-key-settings")
    if settings:
        raise InputError("The key provider file takes no settings.", code="bad-key-settings")
    return FileProvider()


def _retired(kek: Kek, *, kept: bool) -> Kek:
    return msgspec.structs.replace(kek, retired=True, ref=kek.ref if kept else "")


def _keep(path: Path, ring: _Ring) -> None:
    write_private(path, msgspec.json.encode(ring))


def _load(path: Path) -> _Ring:
    data = read_private(path)
    try:
        ring = _decoded(data)
    except msgspec.DecodeError as error:
        raise _broken(path) from error
    *older, newest = ring.keks or (None,)
    sound = (
        newest is not None
        and not newest.retired
        and ring.layout == _LAYOUT
        and [kek.number for kek in ring.keks] == sorted({kek.number for kek in ring.keks})
        and all(_ID.fullmatch(kek.id) for kek in ring.keks)
        and (ring.provider != "file" or all(kek.retired or is_key(kek.ref) for kek in (*older, newest) if kek))
    )
    if not sound:
        raise _broken(path)
    return ring


def _decoded(data: bytes) -> _Ring:
    try:
        return msgspec.json.decode(data, type=_Ring)
    except msgspec.ValidationError:
        first = msgspec.json.decode(data, type=_FirstLayout)
        return _Ring(provider="file", settings={}, keks=(Kek(number=1, id=first.id, ref=first.key),), layout=_LAYOUT)


def _broken(path: Path) -> StorageError:
    return StorageError(f"The key file {path} is broken: restore it from its copy.", code="key-file-broken")
