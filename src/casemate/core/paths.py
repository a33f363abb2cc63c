"""Paths inside an asset: relative, normalised, printable; the same text on every machine."""

from __future__ import annotations

from casemate.core.errors import InputError

MAX_PATH = 512  # characters
MAX_PART = 255  # bytes; the usual bound of a file system


def is_text(value: str) -> bool:
    """Whether it can be written as UTF-8: what the system handed over as other bytes cannot."""
    try:
        value.encode()
    except UnicodeEncodeError:
        return False
    return True


def checked_path(text: str) -> str:
    """Return `text` if it is a safe path inside an asset, with `/` between its parts. Raises: InputError."""
    parts = text.split("/")
    safe = (
        0 < len(text) <= MAX_PATH
        and text.isprintable()
        and "\\" not in text
        and all(part not in ("", ".", "..") and len(part.encode()) <= MAX_PART for part in parts)
    )
    if not safe:
        raise InputError(
            f"The path {text[:80]!r} is not allowed: use a relative path without '..', '\\' or control characters.",
            code="bad-path",
        )
    return text
