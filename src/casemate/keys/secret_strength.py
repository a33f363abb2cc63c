"""What is no secret: a default that everybody knows, what is short, and what is too regular."""

from __future__ import annotations

import math
from collections import Counter
from enum import Enum
from itertools import pairwise
from urllib.parse import parse_qsl, unquote, urlsplit

from casemate.core import InputError

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


def _weak(setting: str, why: str) -> InputError:
    return InputError(
        f"{setting} {why}: make a new one, as with openssl rand -base64 24, and change it where it is asked for.",
        code="weak-secret",
    )
