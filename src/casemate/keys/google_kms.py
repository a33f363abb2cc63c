"""The `google-kms` provider: key-encryption keys are versions of a symmetric Cloud KMS key, and never leave Google.

Not run against the real service: tests speak the REST shapes that Google documents to its own client.
"""

from __future__ import annotations

import re
import threading
from collections.abc import Callable
from pathlib import Path
from typing import Any, TypeVar
from urllib.parse import urlsplit

import msgspec

from casemate.core import InputError
from casemate.keys.files import read_private
from casemate.keys.interface import kek_retired, keys_refused, missing_extra, out_of_reach, unwrap_failed

_TIMEOUT = 5.0  # seconds for one answer
_SCOPE = "https://www.googleapis.com/auth/cloudkms"
_SECURITY = ("SOFTWARE", "HSM")
_RING = re.compile(r"projects/[a-z0-9:.-]{1,80}/locations/[a-z0-9-]{1,40}/keyRings/[A-Za-z0-9_-]{1,63}")
_VERSION = "/cryptoKeyVersions/"

_Answer = TypeVar("_Answer")


class GoogleKmsSettings(msgspec.Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """None is a secret.

    Args: key_ring: `projects/P/locations/L/keyRings/R`; it must be there. key: empty: the home's id.
        credentials_file: a service account's, 0600; empty: what the machine is given (`google.auth.default`).
        protection: `SOFTWARE` or `HSM`. endpoint: of a private connection; empty: Google's own.
    """

    key_ring: str
    key: str = ""
    credentials_file: str = ""
    protection: str = "SOFTWARE"
    endpoint: str = ""

    def __post_init__(self) -> None:
        address = urlsplit(self.endpoint)
        if not _RING.fullmatch(self.key_ring):
            raise ValueError("key_ring must be projects/P/locations/L/keyRings/R")
        if not re.fullmatch(r"[A-Za-z0-9_-]{0,63}", self.key):
            raise ValueError("key may have 63 of A-Z, a-z, 0-9, _ and - at most")
        if self.credentials_file and not Path(self.credentials_file).is_absolute():
            raise ValueError("paths must be absolute")
        if self.protection not in _SECURITY:
            raise ValueError(f"protection must be {' or '.join(_SECURITY)}")
        if self.endpoint and (address.scheme != "https" or not address.hostname or address.path.strip("/")):
            raise ValueError("endpoint must be https:// and a host")


class GoogleKmsProvider:
    """A ref is the full name of a key's version. What is sealed is KMS's own ciphertext; the context is bound by it."""

    refs_are_keys = False

    def __init__(self, settings: GoogleKmsSettings, home: str) -> None:
        """Args: home: its id."""
        self._settings, self._name = settings, settings.key or home
        self._client: Any = None
        self._lock = threading.Lock()

    def make(self) -> str:
        """The key with its first version, or one more version of it."""
        settings = self._settings
        key = {
            "purpose": "ENCRYPT_DECRYPT",
            "labels": {"made-for": "casemate"},
            "version_template": {
                "algorithm": "GOOGLE_SYMMETRIC_ENCRYPTION",
                "protection_level": settings.protection,
            },
        }

        def act(kms: Any, limits: dict[str, Any]) -> str:
            from google.api_core.exceptions import Conflict

            asked = {"parent": settings.key_ring, "crypto_key_id": self._name, "crypto_key": key}
            try:
                return str(kms.create_crypto_key(request=asked, **limits).primary.name)
            except Conflict:
                parent = f"{settings.key_ring}/cryptoKeys/{self._name}"
                return str(kms.create_crypto_key_version(request={"parent": parent}, **limits).name)

        ref = self._call(act)
        if _VERSION not in ref:
            raise keys_refused(self._where, f"the key {self._name} has no version to encrypt under")
        return ref

    def seal(self, ref: str, key: bytes, context: bytes) -> bytes:
        asked = {"name": ref, "plaintext": key, "additional_authenticated_data": context}
        answer = self._call(lambda kms, limits: kms.encrypt(request=asked, **limits))
        if str(answer.name) != ref:
            raise keys_refused(self._where, "it sealed under another version than was asked for")
        return bytes(answer.ciphertext)

    def open(self, ref: str, sealed: bytes, context: bytes) -> bytes:
        key = ref.partition(_VERSION)[0]

        def act(kms: Any, limits: dict[str, Any]) -> bytes:
            from google.api_core import exceptions

            asked = {"name": key, "ciphertext": sealed, "additional_authenticated_data": context}
            try:
                return bytes(kms.decrypt(request=asked, **limits).plaintext)
            except exceptions.BadRequest as error:
                if _status(error) == "FAILED_PRECONDITION":  # the version is disabled or destroyed
                    raise kek_retired(ref.removeprefix(self._settings.key_ring)) from error
                if _status(error) == "INVALID_ARGUMENT":
                    raise unwrap_failed() from error
                raise

        return self._call(act)

    def retire(self, ref: str) -> None:
        """Disable the version; whether it is ever destroyed is for its owner to say."""
        asked = {"crypto_key_version": {"name": ref, "state": "DISABLED"}, "update_mask": {"paths": ["state"]}}
        self._call(lambda kms, limits: kms.update_crypto_key_version(request=asked, **limits))

    @property
    def _where(self) -> str:
        return self._settings.endpoint or "Google KMS"

    def _call(self, act: Callable[[Any, dict[str, Any]], _Answer]) -> _Answer:
        """One act, tried once: a repeated call would hide a service that is slow or gone."""
        kms, auth, network = _google()
        from google.api_core import exceptions

        try:
            return act(self._connected(kms), {"timeout": _TIMEOUT, "retry": None})
        except exceptions.TooManyRequests as error:
            raise out_of_reach(self._where, "too many requests") from error
        except exceptions.ClientError as error:
            raise keys_refused(self._where, _status(error) or type(error).__name__) from error
        except (exceptions.GoogleAPICallError, exceptions.RetryError, auth.TransportError, *network) as error:
            raise out_of_reach(self._where, type(error).__name__) from error
        except auth.GoogleAuthError as error:
            raise keys_refused(self._where, "no credentials") from error

    def _connected(self, kms: Any) -> Any:
        """One client for all threads. REST, since gRPC's own threads do not survive a fork."""
        with self._lock:
            if self._client is None:
                options = {"api_endpoint": urlsplit(self._settings.endpoint).netloc} if self._settings.endpoint else {}
                self._client = kms.KeyManagementServiceClient(
                    credentials=self._credentials(), transport="rest", client_options=options
                )
            return self._client

    def _credentials(self) -> Any:
        import google.auth
        from google.oauth2 import service_account

        if not self._settings.credentials_file:
            return google.auth.default(scopes=[_SCOPE])[0]
        try:
            about = msgspec.json.decode(read_private(Path(self._settings.credentials_file)), type=dict[str, Any])
            make: Any = service_account.Credentials
            return make.from_service_account_info(about, scopes=[_SCOPE])
        except ValueError as error:
            raise keys_refused(self._where, "the credentials file holds no service account's key") from error


def make_google_kms(settings: dict[str, str], home: str) -> GoogleKmsProvider:
    """Raises: InputError `bad-key-settings`; StorageError `missing-extra`."""
    try:
        sound = msgspec.convert(settings, GoogleKmsSettings)
    except msgspec.ValidationError as error:
        raise InputError(
            f"The settings of the key provider google-kms are wrong: {error}.", code="bad-key-settings"
        ) from error
    _google()
    return GoogleKmsProvider(sound, home)


def _status(error: Any) -> str:
    """Google's own word for what went wrong: over REST one HTTP status stands for several."""
    try:
        return str(error.response.json()["error"]["status"])
    except (AttributeError, KeyError, TypeError, ValueError):
        return ""


def _google() -> tuple[Any, Any, tuple[type[Exception], ...]]:
    try:
        import google.auth.exceptions
        import requests
        from google.cloud import kms
    except ImportError as error:
        raise missing_extra("google-kms", "google-cloud-kms", extra="gcp") from error
    return kms, google.auth.exceptions, (requests.RequestException,)
