"""Second factors: time-based one-time codes (RFC 6238), and recovery codes for when the device is lost.

A secret is sealed with the people key and bound to its person. Every code is good once: the last accepted step is kept.
"""

from __future__ import annotations

import base64
import hashlib
import hmac
import re
from collections.abc import Callable
from datetime import datetime

import pyotp

from casemate.core import VerificationError, canonical
from casemate.storage import RowCipher

STEP = 30  # s; RFC 6238, section 5.2
DRIFT = 1  # steps that a clock may be off, either way
DIGITS = 6
ISSUER = "Casemate"
RECOVERY_CODES = 10
_GROUPS, _GROUP = 5, 5  # a recovery code: five groups of five characters, 125 bits
_TOTP_CODE = re.compile(r"[0-9]{6}", re.ASCII)


def new_totp_secret(random_bytes: Callable[[int], bytes]) -> str:
    """160 random bits in base32. Source: RFC 4226, section 4, R6."""
    return base64.b32encode(random_bytes(20)).decode()


def totp_uri(secret: str, *, name: str) -> str:
    """What an authenticator app scans."""
    return pyotp.TOTP(secret, digits=DIGITS, interval=STEP).provisioning_uri(name=name, issuer_name=ISSUER)


def matching_step(secret: str, code: str, now: datetime) -> int | None:
    """The step whose code this is, within the drift; None if it is of none. Takes the same time either way."""
    totp, found = pyotp.TOTP(secret, digits=DIGITS, interval=STEP), None
    current = int(now.timestamp()) // STEP
    for step in range(max(0, current - DRIFT), current + DRIFT + 1):
        if hmac.compare_digest(totp.generate_otp(step).encode(), code.encode(errors="replace")):
            found = step
    return found


def is_totp_code(text: str) -> bool:
    return bool(_TOTP_CODE.fullmatch(text))


def seal_totp(cipher: RowCipher, principal: str, secret: str) -> str:
    """The secret as the ledger has it."""
    return base64.urlsafe_b64encode(cipher.seal(secret.encode(), _context(principal))).decode()


def open_totp(cipher: RowCipher, principal: str, sealed: str) -> str:
    """Raises: VerificationError `row-altered`: another person's, or altered."""
    try:
        return cipher.open(base64.urlsafe_b64decode(sealed), _context(principal)).decode()
    except ValueError as error:
        raise VerificationError("A second factor on record was altered.", code="row-altered") from error


def new_recovery_codes(random_bytes: Callable[[int], bytes]) -> list[str]:
    """Ten codes such as `abcde-fghij-klmno-pqrst-uvwxy`."""
    return [_grouped(base64.b32encode(random_bytes(16)).decode().lower()) for _ in range(RECOVERY_CODES)]


def hash_of_recovery(code: str) -> str:
    """What is kept of a recovery code; dashes, spaces and case do not matter."""
    plain = re.sub(r"[\s-]", "", code).lower()
    return hashlib.sha256(f"casemate recovery {plain}".encode(errors="replace")).hexdigest()


def _grouped(text: str) -> str:
    return "-".join(text[start : start + _GROUP] for start in range(0, _GROUPS * _GROUP, _GROUP))


def _context(principal: str) -> bytes:
    return canonical(["casemate totp 1", principal])
