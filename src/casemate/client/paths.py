"""What stands in a path is checked before a request is made: no value reaches another route than its method's."""

from __future__ import annotations

from urllib.parse import quote

from casemate.core import DEFAULT_PROJECT, InputError, checked_id, checked_name, parse_ref


def name_part(text: str) -> str:
    """Raises: InputError."""
    return version_part(checked_name(text))


def id_part(text: str) -> str:
    """Raises: InputError."""
    return version_part(checked_id(text))


def ref_path(text: str) -> str:
    """`name@2` -> `name/versions/2`; no version means the latest. Raises: InputError."""
    ref = parse_ref(text)
    if ref.project != DEFAULT_PROJECT:
        raise InputError(f"There is one project, {DEFAULT_PROJECT!r}: leave {ref.project!r} out.", code="bad-name")
    return f"{name_part(ref.name)}/versions/{version_part(str(ref.version or 'latest'))}"


def version_part(text: str) -> str:
    """One part of a path. A digest's colon stays, since the door never unquotes."""
    return quote(text, safe=":")
