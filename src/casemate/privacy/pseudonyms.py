"""Keys of an anonymisation, and what they make of a value: pseudonyms, reversible ones, and replacements of the same form.

Sources: RFC 2104 (HMAC), RFC 5869 (HKDF), RFC 5297 (AES-SIV), NIST SP 800-38G (FF1).
"""

from __future__ import annotations

import base64
import hashlib
import hmac
import os
import re
import string
import unicodedata
from enum import StrEnum
from pathlib import Path

from cryptography.exceptions import InvalidTag
from cryptography.hazmat.primitives import hashes
from cryptography.hazmat.primitives.ciphers.aead import AESSIV
from cryptography.hazmat.primitives.kdf.hkdf import HKDF
from ffx import FF1

from casemate.core import InputError, refused_by_system

_BYTES = 32
_LENGTH = 16  # characters of a pseudonym: 80 bits, two values in 2**40 are alike
_ROUNDS = 6  # after two or three nothing changes any more
_LEAST_DOMAIN = 1_000_000  # Source: NIST SP 800-38G Rev. 1, the smallest domain of FF1
_LINE = re.compile(r"casemate-(pseudonym|reversible)-key-1 ([0-9a-f]{64})\n?\Z")


class KeyUse(StrEnum):
    """A key of one use is refused for the other: who may re-identify needs the second alone."""

    PSEUDONYM = "pseudonym"
    REVERSIBLE = "reversible"


def make_key(path: Path, use: KeyUse) -> None:
    """Write a new key, readable by its owner alone. Raises: InputError `exists`: nothing is ever overwritten."""
    try:
        descriptor = os.open(path, os.O_WRONLY | os.O_CREAT | os.O_EXCL | os.O_NOFOLLOW, 0o600)
        with os.fdopen(descriptor, "w") as file:
            file.write(f"casemate-{use}-key-1 {os.urandom(_BYTES).hex()}\n")
    except OSError as error:
        raise refused_by_system(error) from error


def read_key(path: Path, use: KeyUse) -> bytes:
    """32 bytes. Raises: InputError `personal-key`: it is no key, one of another use, or others may read it."""
    try:
        with path.open("rb") as file:
            mode = os.fstat(file.fileno()).st_mode
            text = file.read(200).decode("ascii", "replace")
    except OSError as error:
        raise refused_by_system(error) from error
    found = _LINE.match(text)
    if found is None or found[1] != use:
        raise InputError(
            f"{path} is no {use} key: make one with `casemate dataset personal-key FILE{' --reversible' * (use is KeyUse.REVERSIBLE)}`.",
            code="personal-key",
        )
    if mode & 0o077:
        raise InputError(f"Others may read {path}: chmod 600 {path}.", code="personal-key")
    return bytes.fromhex(found[2])


def _derived(key: bytes, purpose: str, domain: str, length: int) -> bytes:
    info = f"casemate/personal/{purpose}\0{domain}".encode()
    return HKDF(algorithm=hashes.SHA256(), length=length, salt=None, info=info).derive(key)


def plain_form(value: str) -> str:
    """What is equal for a pseudonym: width, case, composition, invisible characters and spaces make no difference."""
    text = value
    for _ in range(_ROUNDS):
        shown = "".join(c for c in text if c.isspace() or unicodedata.category(c) not in ("Cf", "Cc"))
        new = " ".join(unicodedata.normalize("NFKC", shown.casefold()).split())
        if new == text:
            break
        text = new
    return text


class Pseudonyms:
    """Equal values of a domain become equal pseudonyms; without the key nobody can tell which value, nor try values out."""

    def __init__(self, key: bytes, domain: str) -> None:
        self._key = _derived(key, "pseudonym", domain, 32)

    def of(self, value: str) -> str:
        """16 characters of a-z and 2-7."""
        digest = hmac.digest(self._key, plain_form(value).encode("utf-8", "surrogatepass"), hashlib.sha256)
        return base64.b32encode(digest)[:_LENGTH].decode().lower()


class Reversible:
    """Equal values become equal texts, and whoever has the key turns them back. A changed text is refused."""

    def __init__(self, key: bytes, domain: str) -> None:
        self._cipher = AESSIV(_derived(key, "reversible", "", 64))
        self._domain = [domain.encode()]

    def hidden(self, value: str) -> str:
        return base64.urlsafe_b64encode(
            self._cipher.encrypt(b"\x01" + value.encode("utf-8", "surrogatepass"), self._domain)
        ).decode()

    def shown(self, text: str) -> str:
        """Raises: InputError `not-reversible`."""
        try:
            plain = self._cipher.decrypt(base64.b64decode(text, altchars=b"-_", validate=True), self._domain)
        except (InvalidTag, ValueError):
            raise InputError(
                "A value was not made with this key for this domain, or was changed: name the key and the domain of the policy.",
                code="not-reversible",
            ) from None
        return plain[1:].decode("utf-8", "surrogatepass")


class Replacements:
    """Another value of the same form: digits become digits, letters letters of the same case, all else stays where it is.

    Six or more digits are encrypted with FF1, and so are five or more letters of a-z: different values stay different. Fewer, where FF1
    is not safe, are replaced by a keyed function under which two values may become one. Whoever has the key can undo it.
    """

    def __init__(self, key: bytes, domain: str) -> None:
        cipher = _derived(key, "replace", domain, 32)
        self._few = _derived(key, "replace-few", domain, 32)
        self._digits = FF1(cipher, radix=10)
        self._letters = FF1(cipher, alphabet=string.ascii_lowercase)

    def of(self, value: str) -> str:
        digits = "".join(c for c in value if "0" <= c <= "9")
        letters = "".join(c.lower() for c in value if c.isascii() and c.isalpha())
        form = re.sub(r"[0-9]", "9", re.sub(r"[a-z]", "x", re.sub(r"[A-Z]", "X", value)))
        tweak = hashlib.sha256(form.encode("utf-8", "surrogatepass")).digest()
        new_digits = iter(self._run(digits, self._digits, "0123456789", tweak + letters.encode()))
        new_letters = iter(self._run(letters, self._letters, string.ascii_lowercase, tweak))
        out = []
        for character in value:
            if "0" <= character <= "9":
                out.append(next(new_digits))
            elif character.isascii() and character.isalpha():
                new = next(new_letters)
                out.append(new.upper() if character.isupper() else new)
            elif character.isalnum():
                out.append(self._foreign(character, tweak))
            else:
                out.append(character)
        return "".join(out)

    def _run(self, run: str, cipher: FF1, alphabet: str, tweak: bytes) -> str:
        if len(alphabet) ** len(run) >= _LEAST_DOMAIN and len(run) <= 4096:
            return str(cipher.encrypt(run, tweak=hashlib.sha256(tweak).digest()))
        stream = hashlib.shake_256(self._few + len(tweak).to_bytes(8, "big") + tweak + run.encode()).digest(
            8 * len(run)
        )
        return "".join(
            alphabet[int.from_bytes(stream[8 * i : 8 * i + 8], "big") % len(alphabet)] for i in range(len(run))
        )

    def _foreign(self, character: str, tweak: bytes) -> str:
        """A digit or letter of a-z for one of another script, which has no alphabet of a known size."""
        alphabet = "0123456789" if character.isdigit() else string.ascii_lowercase
        mark = hmac.digest(self._few, tweak + character.encode("utf-8", "surrogatepass"), hashlib.sha256)
        return alphabet[mark[0] % len(alphabet)]
