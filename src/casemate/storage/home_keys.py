"""The home's own data keys, each wrapped by the keeper in a file of the home and bound to what it is for.

`state.key` encrypts the ledger and what every process of the home reads. `people.key` seals sessions and second factors:
the control plane alone is given it, so a gateway that was broken into can neither read nor forge one.
"""

from __future__ import annotations

from pathlib import Path

from cryptography.hazmat.primitives.ciphers.aead import AESGCM

from casemate.core import StorageError, canonical
from casemate.keys import KeyService, write_private

STATE_KEY, PEOPLE_KEY = "state.key", "people.key"
HOME_KEYS = (STATE_KEY, PEOPLE_KEY)  # what a rotation of key-encryption keys wraps anew


def create_state_key(home: Path, home_id: str, keys: KeyService) -> None:
    """Make the key that encrypts the ledger, wrapped, in the home; what is there stays."""
    _create(home, home_id, STATE_KEY, keys)


def has_state_key(home: Path) -> bool:
    """Whether the home was made with keys: then it opens with those and no others."""
    return (home / STATE_KEY).exists()


def unwrap_state_key(home: Path, home_id: str, keys: KeyService) -> bytes:
    """Raises: VerificationError: altered, or of another home or key folder."""
    return keys.unwrap((home / STATE_KEY).read_bytes(), key_context(home_id, STATE_KEY))


def create_people_key(home: Path, home_id: str, keys: KeyService, *, used: bool) -> None:
    """Make the key that seals sessions and second factors; what is there stays.

    Args: used: the signed state holds second factors under it, so it is not made anew.
    Raises: StorageError `people-key-missing`.
    """
    if used and not (home / PEOPLE_KEY).exists():
        raise StorageError(
            f"{home / PEOPLE_KEY} is missing, and people's second factors are sealed with it: restore it from its copy.",
            code="people-key-missing",
        )
    _create(home, home_id, PEOPLE_KEY, keys)


def unwrap_people_key(home: Path, home_id: str, keys: KeyService) -> bytes:
    """For the control plane. Raises: VerificationError: altered, or of another home or key folder."""
    return keys.unwrap((home / PEOPLE_KEY).read_bytes(), key_context(home_id, PEOPLE_KEY))


def key_context(home_id: str, name: str) -> bytes:
    """What a key of the home is bound to."""
    return canonical({"home": home_id, "key": name.removesuffix(".key")})


def _create(home: Path, home_id: str, name: str, keys: KeyService) -> None:
    if not (home / name).exists():
        write_private(home / name, keys.wrap(AESGCM.generate_key(256), key_context(home_id, name)))
