"""Secrets that Casemate hands out: a prefix that says what it is, 256 random bits, and a checksum.

`cm_` API key, `cms_` session, `cmi_` invitation, `cmd_` device. Only their SHA-256 is kept. One pattern finds all of them.
"""

from __future__ import annotations

import base64
import hashlib
import re
import zlib
from collections.abc import Callable
from enum import StrEnum

SECRET_PATTERN = re.compile(r"cm[a-z]?_[A-Za-z0-9_-]{49}", re.ASCII)
_CHECK = 6  # characters


class Kind(StrEnum):
    """What a secret is for, as its prefix says; a new kind takes one letter of its own."""

    KEY = "cm_"
    SESSION = "cms_"
    INVITATION = "cmi_"
    DEVICE = "cmd_"


def new_secret(kind: Kind, random_bytes: Callable[[int], bytes]) -> str:
    """A secret with its checksum. Args: random_bytes: from the kernel, but in tests."""
    secret = kind + base64.urlsafe_b64encode(random_bytes(32)).decode().rstrip("=")
    return secret + _checksum(secret)


def is_secret(text: str, kind: Kind) -> bool:
    """Whether the form and the checksum fit: False means a typing error. Proves nothing else."""
    return (
        text.startswith(kind) and bool(SECRET_PATTERN.fullmatch(text)) and _checksum(text[:-_CHECK]) == text[-_CHECK:]
    )


def hash_of(secret: str) -> str:
    """What is kept of a secret."""
    return hashlib.sha256(secret.encode("utf-8", "surrogatepass")).hexdigest()


def _checksum(text: str) -> str:
    return base64.urlsafe_b64encode(zlib.crc32(text.encode()).to_bytes(4)).decode().rstrip("=")
