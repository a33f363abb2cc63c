"""The `azure-key-vault` provider: each key-encryption key is a version of an RSA key in Azure Key Vault or a Managed HSM.

Key Vault's wrapKey binds no context, and whoever has the public half can wrap. So a fresh inner key is wrapped there, and
what encrypts the data key is derived from it and from a binder that lies in the keyring, in AES-GCM with the context bound.
Not run against the real service: tests speak the REST shapes that Microsoft documents to its own client.
"""

from __future__ import annotations

import base64
import os
import re
import threading
from collections.abc import Callable
from pathlib import Path
from typing import Any, TypeVar
from urllib.parse import urlsplit

import msgspec
from cryptography.exceptions import InvalidTag
from cryptography.hazmat.primitives import hashes
from cryptography.hazmat.primitives.ciphers.aead import AESGCM
from cryptography.hazmat.primitives.kdf.hkdf import HKDF

from casemate.core import InputError
from casemate.keys.interface import (
    checked,
    kek_retired,
    keys_refused,
    missing_extra,
    out_of_reach,
    unwrap_failed,
    with_checksum,
)
from casemate.keys.secret_places import checked_place, read_secret
from casemate.keys.secret_strength import Strength

_TIMEOUT = 5  # seconds to connect, and for one answer
_BITS = 3072
_SIZE = 32  # bytes of an inner key and of a binder
_NONCE = 12  # bytes; random, since each inner key encrypts once
_HOSTS = (".vault.azure.net", ".vault.azure.cn", ".vault.usgovcloudapi.net", ".managedhsm.azure.net")

_Answer = TypeVar("_Answer")


class AzureVaultSettings(msgspec.Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """None is a secret.

    Args: vault: `https://NAME.vault.azure.net`. key: empty: the home's id. hardware: `yes` for a key in an HSM.
        tenant, client, client_secret_file: a service principal's; empty: what the machine is given.
        authority: of a national cloud. ca: PEM file; empty: what the system trusts.
    """

    vault: str
    key: str = ""
    hardware: str = ""
    tenant: str = ""
    client: str = ""
    client_secret_file: str = ""
    authority: str = ""
    ca: str = ""

    def __post_init__(self) -> None:
        address, authority = urlsplit(self.vault), urlsplit(self.authority)
        if address.scheme != "https" or not (address.hostname or "").endswith(_HOSTS) or address.path.strip("/"):
            raise ValueError("vault must be https://NAME.vault.azure.net, or another of Azure's own")
        if self.authority and (authority.scheme != "https" or not authority.hostname):
            raise ValueError("authority must begin with https://")
        if not re.fullmatch(r"[A-Za-z0-9-]{0,127}", self.key):
            raise ValueError("key may have 127 of A-Z, a-z, 0-9 and - at most")
        if self.hardware not in ("", "yes"):
            raise ValueError("hardware must be yes, or left out")
        principal = (self.tenant, self.client, self.client_secret_file)
        if any(principal) and not all(principal):
            raise ValueError("give all of tenant, client and client_secret_file, or none")
        checked_place(self.client_secret_file, "client_secret_file")
        if self.ca and not Path(self.ca).is_absolute():
            raise ValueError("paths must be absolute")


class AzureVaultProvider:
    """A ref is the id of a key's version, a space, and the binder. What is sealed is a checksum over the rest:
    length and bytes of the wrapped inner key, nonce, and AES-256-GCM of the data key."""

    refs_are_keys = False

    def __init__(self, settings: AzureVaultSettings, home: str) -> None:
        """Args: home: its id."""
        self._settings, self._home = settings, home
        self._name = settings.key or home.replace("_", "-")
        self._clients: dict[str, Any] = {}  # by id of a key's version; "": of the vault
        self._lock = threading.Lock()

    def make(self) -> str:
        made = self._call(
            lambda: self._keys().create_rsa_key(
                self._name,
                size=_BITS,
                hardware_protected=bool(self._settings.hardware),
                key_operations=["wrapKey", "unwrapKey"],
                tags={"casemate-home": self._home},
            )
        )
        return f"{made.id} {base64.b64encode(os.urandom(_SIZE)).decode()}"

    def seal(self, ref: str, key: bytes, context: bytes) -> bytes:
        version, binder = _read(ref)
        inner, nonce = os.urandom(_SIZE), os.urandom(_NONCE)
        wrapped = self._call(lambda: self._cipher(version, fresh=True).wrap_key(_algorithm(), inner).encrypted_key)
        body = AESGCM(_derived(inner, binder)).encrypt(nonce, key, context)
        return with_checksum(len(wrapped).to_bytes(2) + bytes(wrapped) + nonce + body, context)

    def open(self, ref: str, sealed: bytes, context: bytes) -> bytes:
        version, binder = _read(ref)
        sealed = checked(sealed, context)
        size = int.from_bytes(sealed[:2])
        wrapped, nonce, body = sealed[2 : 2 + size], sealed[2 + size :][:_NONCE], sealed[2 + size + _NONCE :]
        inner = self._call(lambda: self._cipher(version).unwrap_key(_algorithm(), wrapped).key)
        try:
            return AESGCM(_derived(bytes(inner), binder)).decrypt(nonce, body, context)
        except (InvalidTag, ValueError) as error:
            raise unwrap_failed() from error

    def retire(self, ref: str) -> None:
        """Disable the version; whether it is ever deleted is for its owner to say."""
        version = _read(ref)[0].rpartition("/")[2]
        self._call(lambda: self._keys().update_key_properties(self._name, version, enabled=False))

    def _call(self, act: Callable[[], _Answer]) -> _Answer:
        azure = _azure()
        where = self._settings.vault
        try:
            return act()
        except azure.ClientAuthenticationError as error:
            if _is_network(error, azure):  # the sign-in says alike what it was not let and what it could not reach
                raise out_of_reach(where, "the sign-in does not answer") from error
            raise keys_refused(where, "permission denied") from error
        except azure.HttpResponseError as error:
            raise self._failure(error, where) from error
        except azure.AzureError as error:
            raise out_of_reach(where, type(error).__name__) from error
        except ValueError as error:  # a challenge that names another vault, a proxy's page
            raise out_of_reach(where, "its answer is not Key Vault's") from error

    def _failure(self, error: Any, where: str) -> Exception:
        said = str(getattr(error, "error", "") or "")
        inner = getattr(getattr(error, "error", None), "innererror", None) or {}
        if "KeyDisabled" in (inner.get("code", ""), said.partition(":")[0]) or "disabled key" in said:
            return kek_retired(self._name)
        if error.status_code == 400:  # the checksum held, so the key is another one
            return unwrap_failed()
        if error.status_code == 429 or error.status_code >= 500:
            return out_of_reach(where, f"status {error.status_code}")
        return keys_refused(where, f"status {error.status_code}")

    def _keys(self) -> Any:
        from azure.keyvault.keys import KeyClient

        return self._kept("", lambda: KeyClient(self._settings.vault, self._credential(), **self._options()))

    def _cipher(self, version: str, *, fresh: bool = False) -> Any:
        """Args: fresh: ask for the key's public half anew, so that a vault which is gone or a key that was disabled refuses."""
        from azure.keyvault.keys.crypto import CryptographyClient

        if fresh:
            name, number = version.split("/")[-2:]
            key = self._keys().get_key(name, number)
            return CryptographyClient(key, self._credential(), **self._options())
        return self._kept(version, lambda: CryptographyClient(version, self._credential(), **self._options()))

    def _kept(self, name: str, make: Callable[[], Any]) -> Any:
        with self._lock:
            if name not in self._clients:
                self._clients[name] = make()
            return self._clients[name]

    def _options(self) -> dict[str, Any]:
        return {
            "connection_timeout": _TIMEOUT,
            "read_timeout": _TIMEOUT,
            "retry_total": 0,
            "connection_verify": self._settings.ca or True,
        }

    def _credential(self) -> Any:
        from azure import identity

        settings = self._settings
        more = {"authority": settings.authority} if settings.authority else {}
        if not settings.tenant:
            return identity.DefaultAzureCredential(exclude_interactive_browser_credential=True, **more)
        return identity.ClientSecretCredential(
            settings.tenant,
            settings.client,
            read_secret(settings.client_secret_file, Strength.TOKEN).reveal(),
            disable_instance_discovery=bool(settings.authority),
            **more,
            **self._options(),
        )


def make_azure_vault(settings: dict[str, str], home: str) -> AzureVaultProvider:
    """Raises: InputError `bad-key-settings`; StorageError `missing-extra`."""
    try:
        sound = msgspec.convert(settings, AzureVaultSettings)
    except msgspec.ValidationError as error:
        raise InputError(
            f"The settings of the key provider azure-key-vault are wrong: {error}.", code="bad-key-settings"
        ) from error
    _azure()
    return AzureVaultProvider(sound, home)


def _azure() -> Any:
    try:
        import azure.core.exceptions
        import azure.identity
        import azure.keyvault.keys
    except ImportError as error:
        raise missing_extra("azure-key-vault", "azure-keyvault-keys", extra="azure") from error
    return azure.core.exceptions


def _is_network(error: BaseException | None, azure: Any) -> bool:
    """Whether the request that failed got no answer."""
    while error is not None:
        if isinstance(error, azure.ServiceRequestError | azure.ServiceResponseError):
            return True
        error = error.__cause__ or error.__context__
    return False


def _algorithm() -> Any:
    from azure.keyvault.keys.crypto import KeyWrapAlgorithm

    return KeyWrapAlgorithm.rsa_oaep_256


def _read(ref: str) -> tuple[str, bytes]:
    version, _, binder = ref.partition(" ")
    return version, base64.b64decode(binder, validate=True)


def _derived(inner: bytes, binder: bytes) -> bytes:
    """The key of one seal. Source: RFC 5869; the binder is the salt, so the public half alone forges nothing."""
    return HKDF(hashes.SHA256(), _SIZE, salt=binder, info=b"casemate azure-key-vault 1").derive(inner)
