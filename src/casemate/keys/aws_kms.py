"""The `aws-kms` provider: each key-encryption key is a KMS key of its own, made for this home, and never leaves AWS.

Credentials come from where boto3 looks for them (a role, a file, the environment), never from us.
"""

from __future__ import annotations

import hashlib
import re
import threading
from collections.abc import Callable
from typing import Any
from urllib.parse import urlsplit

import msgspec

from casemate.core import InputError
from casemate.keys.interface import checked, keys_refused, missing_extra, out_of_reach, unwrap_failed, with_checksum

_TIMEOUT = 5.0  # seconds to connect, and for one answer
_ATTEMPTS = 2
_LOOPBACK = ("127.0.0.1", "::1", "localhost")
_ALTERED = ("InvalidCiphertextException", "IncorrectKeyException")
_BUSY = ("ThrottlingException", "KMSInternalException", "DependencyTimeoutException", "LimitExceededException")


class AwsKmsSettings(msgspec.Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """None is a secret. `endpoint`: of a VPC; empty: the region's own. `profile`: in boto3's files."""

    region: str
    endpoint: str = ""
    profile: str = ""

    def __post_init__(self) -> None:
        address = urlsplit(self.endpoint)
        if not re.fullmatch(r"[a-z]{2}[a-z0-9-]{1,40}", self.region):
            raise ValueError("region must be an AWS region, as in eu-central-1")
        local = address.scheme == "http" and address.hostname in _LOOPBACK
        if self.endpoint and address.scheme != "https" and not local:
            raise ValueError("endpoint must begin with https:// (http:// on this machine only)")


class AwsKmsProvider:
    """A ref is a key's ARN. What is sealed is KMS's own ciphertext; the encryption context is the digest of ours.

    A checksum before it tells damage from a missing right: KMS may answer both alike where damage hits the name of the key.
    """

    refs_are_keys = False

    def __init__(self, settings: AwsKmsSettings, home: str) -> None:
        """Args: home: its id, with which its keys are tagged."""
        self._settings, self._home = settings, home
        self._client: Any = None
        self._lock = threading.Lock()

    def make(self) -> str:
        tags = [{"TagKey": "casemate-home", "TagValue": self._home}]
        return str(
            self.call(
                lambda kms: kms.create_key(
                    Description=f"Casemate {self._home}", KeySpec="SYMMETRIC_DEFAULT", Tags=tags
                )["KeyMetadata"]["Arn"]
            )
        )

    def seal(self, ref: str, key: bytes, context: bytes) -> bytes:
        bound = _digest(context)
        sealed = bytes(
            self.call(lambda kms: kms.encrypt(KeyId=ref, Plaintext=key, EncryptionContext=bound)["CiphertextBlob"])
        )
        return with_checksum(sealed, context)

    def open(self, ref: str, sealed: bytes, context: bytes) -> bytes:
        ciphertext, bound = checked(sealed, context), _digest(context)
        return bytes(
            self.call(
                lambda kms: kms.decrypt(KeyId=ref, CiphertextBlob=ciphertext, EncryptionContext=bound)["Plaintext"]
            )
        )

    def retire(self, ref: str) -> None:
        """Disable the key; whether it is ever deleted is for its owner to say."""
        self.call(lambda kms: kms.disable_key(KeyId=ref.rpartition("/")[2]))

    def call(self, act: Callable[[Any], Any]) -> Any:
        """One act on KMS. Raises: StorageError; VerificationError `key-unwrap-failed`."""
        where = self._settings.endpoint or f"AWS KMS in {self._settings.region}"
        exceptions = _boto3()[1]
        try:
            return act(self._connected())
        except exceptions.ClientError as error:
            code = str(error.response.get("Error", {}).get("Code", ""))[:60]
            if code in _ALTERED:
                raise unwrap_failed() from error
            status = error.response.get("ResponseMetadata", {}).get("HTTPStatusCode", 0)
            raise (out_of_reach if code in _BUSY or status >= 500 else keys_refused)(where, code) from error
        except (exceptions.NoCredentialsError, exceptions.PartialCredentialsError, exceptions.ProfileNotFound) as error:
            raise keys_refused(where, "no credentials") from error
        except exceptions.BotoCoreError as error:
            raise out_of_reach(where, type(error).__name__) from error

    def _connected(self) -> Any:
        """One client for all threads, as boto3 allows; making it is not safe in two at once."""
        boto3, _ = _boto3()
        from botocore.config import Config

        with self._lock:
            if self._client is None:
                config = Config(
                    connect_timeout=_TIMEOUT,
                    read_timeout=_TIMEOUT,
                    retries={"total_max_attempts": _ATTEMPTS, "mode": "standard"},
                )
                session = boto3.session.Session(profile_name=self._settings.profile or None)
                self._client = session.client(
                    "kms",
                    region_name=self._settings.region,
                    endpoint_url=self._settings.endpoint or None,
                    config=config,
                )
            return self._client


def make_aws_kms(settings: dict[str, str], home: str) -> AwsKmsProvider:
    """Raises: InputError `bad-key-settings`; StorageError `missing-extra`."""
    try:
        sound = msgspec.convert(settings, AwsKmsSettings)
    except msgspec.ValidationError as error:
        raise InputError(
            f"The settings of the key provider aws-kms are wrong: {error}.", code="bad-key-settings"
        ) from error
    _boto3()
    return AwsKmsProvider(sound, home)


def _boto3() -> tuple[Any, Any]:
    try:
        import boto3
        import botocore.exceptions
    except ImportError as error:
        raise missing_extra("aws-kms", "boto3", extra="aws") from error
    return boto3, botocore.exceptions


def _digest(context: bytes) -> dict[str, str]:
    """A digest, since CloudTrail keeps encryption contexts in plain text and they may not be long."""
    return {"casemate": hashlib.sha256(context).hexdigest()}
