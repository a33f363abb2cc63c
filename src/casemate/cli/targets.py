"""What a word names that may be a version of the home or a file of this machine."""

from __future__ import annotations

from pathlib import Path

from casemate.core import InputError, parse_ref


def is_version(target: str) -> bool:
    """Whether it names a version of a dataset. Raises: InputError `which`: it names a file of this folder as well."""
    try:
        parse_ref(target)
    except InputError:
        if target.partition("@")[1] and not Path(target).exists():
            raise
        return False
    if Path(target).exists():
        raise InputError(
            f"{target} is a file here and has the form of a version: write ./{target}, or {target.partition('@')[0]}@latest "
            "in another folder.",
            code="which",
        )
    return True
