"""What must be the same on two machines, so that both judge alike: this package, to the last byte, and what it counts with."""

from __future__ import annotations

import hashlib
import sys
from importlib.metadata import PackageNotFoundError, version
from pathlib import Path

import casemate

_ROOMS = ("core", "sandbox", "scanning", "screening")  # whose code judges a block, or stands around who does
_PACKAGES = ("numpy", "scipy", "scikit-learn", "pyarrow", "pillow", "msgspec", "cryptography")


def build() -> dict[str, str]:
    """{name: version}, that of Casemate with a digest of its code."""
    found = {"casemate": f"{_version('casemate')} ({_digest()})", "python": "{}.{}.{}".format(*sys.version_info[:3])}
    return found | {name: _version(name) for name in _PACKAGES}


def other_build(ours: dict[str, str], theirs: dict[str, str]) -> str:
    """The first that is not the same, as part of a sentence; empty: all are."""
    for name, mine in ours.items():
        if theirs.get(name) != mine:
            return f"{name} {theirs.get(name, 'none')}, and this machine {mine}"
    return ""


def _version(name: str) -> str:
    try:
        return version(name)
    except PackageNotFoundError:
        return "none"


def _digest() -> str:
    """Over the code of the rooms, by path."""
    root, found = Path(casemate.__file__).parent, hashlib.sha256()
    for room in _ROOMS:
        for file in sorted((root / room).glob("*.py")):
            found.update(f"{room}/{file.name}\0".encode() + hashlib.sha256(file.read_bytes()).digest())
    return found.hexdigest()[:12]
