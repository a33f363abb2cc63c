"""Where a secret stands: a private file, a variable, AWS Secrets Manager. What others may read or replace is refused."""

from __future__ import annotations

import os
import re
import stat
from collections.abc import Mapping
from pathlib import Path
from typing import Any
from urllib.parse import unquote, urlsplit

import msgspec

from casemate.core import InputError, Secret, StorageError
from casemate.keys.files import read_private
from casemate.keys.interface import keys_refused, missing_extra, out_of_reach
from casemate.keys.secret_strength import Strength, check_strength

SCHEMES = ("file", "env", "vault", "aws-sm")
_REFERENCE = re.compile(rf"({'|'.join(SCHEMES)})://")
_ENV_NAME = re.compile(r"[A-Za-z_][A-Za-z0-9_]{0,127}")
_AWS = re.compile(r"([A-Za-z0-9/_+=.@:-]{1,512}?)(?:#([A-Za-z0-9_.-]{1,128}))?")
_LARGEST = 64 << 10  # bytes of a secret
_AWS_TIMEOUT = 5.0  # seconds to connect, and for one answer


def is_reference(text: str) -> bool:
    """Whether it is written as a reference, well or badly."""
    return bool(_REFERENCE.match(text))


def read_place(text: str, *, setting: str, environ: Mapping[str, str]) -> str:
    """What stands where `text` says. Raises: as `secret_refs.resolve_secret`."""
    scheme, _, rest = text.partition("://")
    if scheme == "file":
        return _from_file(urlsplit(text).netloc, unquote(rest))
    if scheme == "env":
        return _from_environment(rest, environ)
    if scheme == "aws-sm":
        return _from_aws(rest)
    raise bad_reference(f"{setting} names its secret by {', '.join(f'{one}://' for one in SCHEMES)}")


def read_secret(text: str, strength: Strength, *, setting: str = "the key provider's secret") -> Secret:
    """As `resolve_secret`, for what key providers name: an absolute path, or a reference that needs no Vault."""
    found = read_place(text if is_reference(text) else f"file://{text}", setting=setting, environ=os.environ)
    check_strength(found, setting=setting, strength=strength)
    return Secret(found)


def checked_place(text: str, name: str) -> None:
    """Raises: ValueError: neither an absolute path nor a reference that `read_secret` takes."""
    if text and not Path(text).is_absolute() and not (is_reference(text) and not text.startswith("vault:")):
        raise ValueError(f"{name} must be an absolute path, or file://, env:// or aws-sm://")


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
        raise bad_reference("file:// takes an absolute path, as in file:///etc/casemate/password")
    place = Path(path).resolve()  # a mounted secret is a link to its newest version
    if not place.is_file():
        raise _missing(f"the file {path}")
    check_folder(place.parent)
    return _text(read_private(place), f"the file {path}")


def _from_environment(name: str, environ: Mapping[str, str]) -> str:
    if not _ENV_NAME.fullmatch(name):
        raise bad_reference("env:// takes the name of a variable, as in env://DATABASE_PASSWORD")
    if not environ.get(name):
        raise _missing(f"the variable {name}")
    return environ[name].strip()


def _from_aws(rest: str) -> str:
    """From Secrets Manager; region, credentials and endpoint are found by boto3."""
    found = _AWS.fullmatch(rest)
    if not found:
        raise bad_reference("aws-sm:// takes a name and, for JSON, a field, as in aws-sm://prod/casemate#password")
    name, field = found.groups()
    text = _secret_string(name)
    if field is None:
        return checked_text(text, f"aws-sm://{rest}")
    try:
        return checked_text(msgspec.json.decode(text, type=dict[str, Any]).get(field), f"aws-sm://{rest}")
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


def checked_text(value: object, what: str) -> str:
    """A secret as a service gave it. Raises: StorageError `secret-missing`."""
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


def bad_reference(why: str) -> InputError:
    return InputError(f"A secret's reference cannot be read: {why}.", code="bad-secret-reference")


def _missing(what: str) -> StorageError:
    return StorageError(
        f"A secret is missing: there is not {what}; put it there and start again.", code="secret-missing"
    )
