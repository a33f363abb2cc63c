"""Secrets by reference: `file:///PATH`, `env://NAME`, `vault://MOUNT/PATH#FIELD`, `aws-sm://NAME#FIELD`.

A secret stands in one of these places and never on a command line. What is default, weak, or readable by others is
refused with the sentence that mends it; no message holds the value.
"""

from __future__ import annotations

import math
import os
import re
import stat
from collections import Counter
from collections.abc import Mapping
from enum import Enum
from itertools import pairwise
from pathlib import Path
from typing import Any
from urllib.parse import parse_qsl, unquote, urlsplit

import msgspec

from casemate.core import InputError, Secret, StorageError
from casemate.keys.files import read_private
from casemate.keys.interface import missing_extra
from casemate.keys.vault_session import VaultAccess, VaultSession

SCHEMES = ("file", "env", "vault", "aws-sm")
_REFERENCE = re.compile(rf"({'|'.join(SCHEMES)})://")
_ENV_NAME = re.compile(r"[A-Za-z_][A-Za-z0-9_]{0,127}")
_VAULT = re.compile(r"([A-Za-z0-9_-]{1,64})/([A-Za-z0-9_./-]{1,256})#([A-Za-z0-9_.-]{1,128})")
_AWS = re.compile(r"([A-Za-z0-9/_+=.@:-]{1,512}?)(?:#([A-Za-z0-9_.-]{1,128}))?")
_LARGEST = 64 << 10  # bytes of a secret
_AWS_TIMEOUT = 5.0  # seconds to connect, and for one answer
# What installers, manuals and images put where a secret belongs; compared in lower case, without digits at the end.
_KNOWN = frozenset(
    [
        "admin",
        "casemate",
        "changeit",
        "changeme",
        "default",
        "dev",
        "foobared",
        "guest",
        "letmein",
        "minioadmin",
        "none",
        "pass",
        "passw0rd",
        "passwd",
        "password",
        "postgres",
        "qwerty",
        "redis",
        "root",
        "sa",
        "secret",
        "supersecret",
        "test",
        "token",
        "toor",
        "user",
        "vault",
        "welcome",
    ]
)


class Strength(Enum):
    """What a secret must withstand: (least characters, least bits by the spread of its characters)."""

    PIN = (6, 0)  # the token locks itself after a few wrong ones
    PASSWORD = (12, 36)  # guessed over a network: twelve characters that do not repeat
    TOKEN = (16, 40)  # made by a machine
    KEY = (32, 96)  # guessed on the attacker's own machines
    URL = (1, 0)  # of rows that are somebody else's: a password in it is measured as one; without one it is no secret


def is_reference(text: str) -> bool:
    """Whether it is written as a reference, well or badly."""
    return bool(_REFERENCE.match(text))


def resolve_secret(
    text: str, *, setting: str, strength: Strength, environ: Mapping[str, str] = os.environ, vault: Path | None = None
) -> Secret:
    """What the reference `text` names.

    Args: setting: its name, for messages. vault: private file (TOML) that says how to reach Vault, for `vault://`.
    Raises: InputError `bad-secret-reference`, `weak-secret`; StorageError `secret-missing`, `open-to-others`,
        `keys-out-of-reach`, `keys-refused`, `missing-extra`.
    """
    scheme, _, rest = text.partition("://")
    if scheme == "file":
        found = _from_file(urlsplit(text).netloc, unquote(rest))
    elif scheme == "env":
        found = _from_environment(rest, environ)
    elif scheme == "vault":
        found = _from_vault(rest, vault)
    elif scheme == "aws-sm":
        found = _from_aws(rest)
    else:
        raise _bad(f"{setting} names its secret by {', '.join(f'{one}://' for one in SCHEMES)}")
    check_strength(found, setting=setting, strength=strength)
    return Secret(found)


def read_secret(text: str, strength: Strength, *, setting: str = "the key provider's secret") -> Secret:
    """As `resolve_secret`, for what key providers name: an absolute path, or a reference that needs no Vault."""
    return resolve_secret(text if is_reference(text) else f"file://{text}", setting=setting, strength=strength)


def checked_place(text: str, name: str) -> None:
    """Raises: ValueError: neither an absolute path nor a reference that `read_secret` takes."""
    if text and not Path(text).is_absolute() and not (is_reference(text) and not text.startswith("vault:")):
        raise ValueError(f"{name} must be an absolute path, or file://, env:// or aws-sm://")


def check_strength(value: str, *, setting: str, strength: Strength) -> None:
    """Raises: InputError `weak-secret`: empty, short, a known default, or made of few different characters."""
    if strength is Strength.URL:
        password = _password_in(value, setting)
        if password is None:
            return
        value, setting, strength = password, f"the password in {setting}", Strength.PASSWORD
    least, bits = strength.value
    plain = value.lower().rstrip("0123456789!").strip()
    if plain in _KNOWN or value.lower() in _KNOWN:
        raise _weak(setting, "is a default that everybody knows")
    if len(value) < least:
        raise _weak(setting, f"has fewer than {least} characters")
    if spread_bits(value) < bits or len(set(value)) < 3 or _counts_on(value):
        raise _weak(setting, "is too regular to be a secret")


def _password_in(url: str, setting: str) -> str | None:
    try:
        parts = urlsplit(url)
        given = [parts.password] + [value for name, value in parse_qsl(parts.query) if "password" in name.lower()]
    except ValueError:
        parts, given = None, []
    if parts is None or not parts.scheme:
        raise InputError(f"{setting} is no URL: write SCHEME://USER:PASSWORD@HOST/NAME.", code="bad-setting")
    return next((unquote(one) for one in given if one is not None), None)


def spread_bits(value: str) -> float:
    """Shannon entropy of the characters' frequencies times the length: an upper bound on what guessing must cover.

    Source: Shannon 1948. It finds repetition, not words: a sentence that everybody knows passes.
    """
    return sum(count * math.log2(len(value) / count) for count in Counter(value).values())


def _counts_on(value: str) -> bool:
    """Whether most characters follow the one before, as in 12345678 or fedcba."""
    steps = Counter(ord(after) - ord(before) for before, after in pairwise(value))
    return max(steps[1], steps[-1]) >= 0.7 * (len(value) - 1)


def check_folder(folder: Path) -> None:
    """Raises: StorageError `open-to-others`: somebody else could put another file there, in it or above it."""
    for place in (folder, *folder.parents):
        status = place.stat()
        loose = stat.S_IMODE(status.st_mode) & 0o022 and not status.st_mode & stat.S_ISVTX
        if loose:
            raise StorageError(
                f"Others may replace what lies in {place}: run chmod go-w {place}", code="open-to-others"
            )
        if status.st_uid not in (os.geteuid(), 0):
            raise StorageError(
                f"{place} belongs to another user, who may replace what lies in it: move the secret to a folder of "
                "your own.",
                code="open-to-others",
            )


def _from_file(host: str, path: str) -> str:
    if host or not path.startswith("/"):
        raise _bad("file:// takes an absolute path, as in file:///etc/casemate/password")
    place = Path(path).resolve()  # a mounted secret is a link to its newest version
    if not place.is_file():
        raise _missing(f"the file {path}")
    check_folder(place.parent)
    return _text(read_private(place), f"the file {path}")


def _from_environment(name: str, environ: Mapping[str, str]) -> str:
    if not _ENV_NAME.fullmatch(name):
        raise _bad("env:// takes the name of a variable, as in env://DATABASE_PASSWORD")
    if not environ.get(name):
        raise _missing(f"the variable {name}")
    return environ[name].strip()


def _from_vault(rest: str, access: Path | None) -> str:
    """From a KV engine of version 2."""
    found = _VAULT.fullmatch(rest)
    if not found or ".." in found[2].split("/"):
        raise _bad("vault:// takes a mount, a path and a field, as in vault://kv/casemate/database#password")
    if access is None:
        raise InputError(
            "A setting names a secret in Vault, and nothing says how to reach it: set CASEMATE_SECRETS_VAULT to a file, "
            "as docs/secrets.md says.",
            code="bad-secret-reference",
        )
    mount, path, field = found.groups()

    def act(client: Any) -> Any:
        from hvac.exceptions import InvalidPath

        try:
            answer = client.secrets.kv.v2.read_secret_version(
                path=path, mount_point=mount, raise_on_deleted_version=True
            )
        except InvalidPath:
            return None
        return answer["data"]["data"].get(field)

    return _checked(VaultSession(load_vault_access(access)).call(act), f"vault://{rest}")


def load_vault_access(path: Path) -> VaultAccess:
    """How to reach Vault, from a private TOML file. Raises: InputError `bad-secret-reference`; StorageError."""
    try:
        return msgspec.toml.decode(read_private(path), type=VaultAccess)
    except (msgspec.DecodeError, ValueError) as error:
        raise InputError(f"{path} does not say how to reach Vault: {error}.", code="bad-secret-reference") from error


def _from_aws(rest: str) -> str:
    """From Secrets Manager; region, credentials and endpoint are found by boto3."""
    found = _AWS.fullmatch(rest)
    if not found:
        raise _bad("aws-sm:// takes a name and, for JSON, a field, as in aws-sm://prod/casemate#password")
    name, field = found.groups()
    text = _secret_string(name)
    if field is None:
        return _checked(text, f"aws-sm://{rest}")
    try:
        return _checked(msgspec.json.decode(text, type=dict[str, Any]).get(field), f"aws-sm://{rest}")
    except msgspec.DecodeError as error:
        raise StorageError(
            f"The secret {name} in AWS Secrets Manager is no JSON object: leave #{field} out, or store one.",
            code="secret-missing",
        ) from error


def _secret_string(name: str) -> str:
    try:
        import boto3
        from botocore import exceptions
        from botocore.config import Config
    except ImportError as error:
        raise missing_extra("aws-sm", "boto3", extra="aws") from error
    from casemate.keys.interface import keys_refused, out_of_reach

    where = "AWS Secrets Manager"
    config = Config(
        connect_timeout=_AWS_TIMEOUT,
        read_timeout=_AWS_TIMEOUT,
        retries={"total_max_attempts": 2, "mode": "standard"},
    )
    try:
        return str(boto3.session.Session().client("secretsmanager", config=config).get_secret_value(SecretId=name)[
            "SecretString"
        ])  # fmt: skip
    except KeyError as error:
        raise _missing(f"text in the secret {name} in {where}") from error
    except exceptions.ClientError as error:
        code = str(error.response.get("Error", {}).get("Code", ""))[:60]
        if code == "ResourceNotFoundException":
            raise _missing(f"the secret {name} in {where}") from error
        status = error.response.get("ResponseMetadata", {}).get("HTTPStatusCode", 0)
        raise (out_of_reach if code == "ThrottlingException" or status >= 500 else keys_refused)(where, code) from error
    except (exceptions.NoCredentialsError, exceptions.PartialCredentialsError, exceptions.NoRegionError) as error:
        raise keys_refused(where, "no credentials or no region") from error
    except exceptions.BotoCoreError as error:
        raise out_of_reach(where, type(error).__name__) from error


def _checked(value: object, what: str) -> str:
    if not isinstance(value, str) or not value:
        raise _missing(what)
    return _text(value.encode(), what)


def _text(data: bytes, what: str) -> str:
    try:
        text = data.decode().strip()
    except UnicodeDecodeError as error:
        raise StorageError(f"A secret is no text: write it anew to {what}.", code="secret-missing") from error
    lines = text.splitlines() if text.startswith("-----BEGIN ") else [text]
    if not text or len(data) > _LARGEST or not all(line.isprintable() for line in lines):
        raise _missing(f"one line of text, or a PEM, of {_LARGEST} bytes at most, in {what}")
    return text


def _bad(why: str) -> InputError:
    return InputError(f"A secret's reference cannot be read: {why}.", code="bad-secret-reference")


def _missing(what: str) -> StorageError:
    return StorageError(
        f"A secret is missing: there is not {what}; put it there and start again.", code="secret-missing"
    )


def _weak(setting: str, why: str) -> InputError:
    return InputError(
        f"{setting} {why}: make a new one, as with openssl rand -base64 24, and change it where it is asked for.",
        code="weak-secret",
    )
