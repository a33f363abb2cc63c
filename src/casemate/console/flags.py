"""Query values that say yes or no."""

from casemate.core import InputError


def is_set(value: str, name: str) -> bool:
    """Whether a flag is true; left out, it is not. Raises: InputError `bad-flag`: it is neither `true` nor `false`."""
    if value not in ("", "true", "false"):
        raise InputError(f"{name} is true or false, not {value[:20]!r}.", code="bad-flag")
    return value == "true"
