"""Approvals that their approvers signed themselves: what is signed, and whether it counts.

The control plane hands out the words and takes the envelope; it can neither sign one nor say whose key is whose. The
signature of a passkey is the browser's answer as JSON, over the digest of what a key would have signed.
"""

from __future__ import annotations

import base64
import hashlib
from datetime import datetime, timedelta
from typing import Any

import msgspec

from casemate.core import Environment, VerificationError, parse_rfc3339
from casemate.iam.passkeys import verify_assertion
from casemate.registry.approvers import Approver, Approvers
from casemate.registry.ended import Ended
from casemate.signing import (
    PAYLOAD_TYPE,
    Envelope,
    EnvelopeSignature,
    Predicate,
    VersionIdentity,
    decode_envelope,
    encode_envelope,
    load_public_key,
    open_envelope,
    pae,
    read_statement,
    statement_payload,
    strict_base64,
)

_AHEAD = timedelta(minutes=1)  # that the clock which dated the words may be before the keeper's; both are one machine's


def words(home: str, about: VersionIdentity, environment: Environment, approver: str, *, at: datetime) -> bytes:
    """What an approver signs. Args: approver: their principal's id."""
    return statement_payload(Predicate.APPROVAL, about, _facts(home, environment, approver), at=at)


def challenge(payload: bytes) -> bytes:
    """What a passkey is asked to sign for `payload`: 32 bytes."""
    return hashlib.sha256(pae(payload)).digest()


def passkey_envelope(payload: bytes, answer: dict[str, Any], keyid: str) -> str:
    """The envelope around a browser's answer; whether it counts is for `check_own` to say."""
    signature = EnvelopeSignature(sig=base64.b64encode(msgspec.json.encode(answer)).decode(), keyid=keyid)
    payload_text = base64.b64encode(payload).decode()
    return encode_envelope(Envelope(payload=payload_text, payload_type=PAYLOAD_TYPE, signatures=(signature,))).decode()


def check_own(
    approvers: Approvers,
    envelope: str,
    about: VersionIdentity,
    environment: Environment,
    approver: str,
    *,
    at: datetime,
    ended: Ended,
) -> Approver:
    """The pinned key of `approver` that signed exactly this. Args: at: when the ledger took it, or would.

    Raises: VerificationError `approver-not-pinned`: unknown, another person's, not yet or no longer pinned at `at`, or
        when it was signed; `approver-ended`: they are revoked, or the passkey removed; `signature-invalid`,
        `bad-assertion`, `approval-mismatch`; as `read_statement`.
    """
    read = decode_envelope(envelope.encode())
    pin = approvers.find(read.signatures[0].keyid)
    if pin is None or pin.person != approver or not pin.pinned_at <= at < pin.until:
        raise VerificationError(
            "This approval is signed with a key that is not pinned for its approver: whoever holds the home's keys pins "
            "it there, casemate approver pin.",
            code="approver-not-pinned",
        )
    if ended.holds(pin, at):
        raise VerificationError(
            "This approval is signed by somebody who was revoked, or with a passkey that was removed.",
            code="approver-ended",
        )
    payload = _opened(read, pin)
    said = read_statement(payload, Predicate.APPROVAL, about, keyid=pin.keyid)
    if said.facts != _facts(approvers.home, environment, approver):
        raise VerificationError(
            f"What was signed is another approval than one of {about} for {environment}.", code="approval-mismatch"
        )
    if not pin.pinned_at <= _time(said.at) <= at + _AHEAD:
        raise VerificationError(
            "This approval was signed before its key was pinned, or bears a time that is yet to come: sign it again.",
            code="approver-not-pinned",
        )
    return pin


def _time(text: str) -> datetime:
    """Raises: VerificationError `approval-mismatch`: it is none. What was signed is not always what we handed out."""
    try:
        return parse_rfc3339(text)
    except (ValueError, OverflowError) as error:
        raise VerificationError("What was signed bears no time.", code="approval-mismatch") from error


def _opened(envelope: Envelope, pin: Approver) -> bytes:
    if pin.passkey is None:
        return open_envelope(envelope, load_public_key(pin.key.encode()))
    payload = strict_base64(envelope.payload)
    try:
        answer = msgspec.json.decode(strict_base64(envelope.signatures[0].sig))
    except msgspec.DecodeError as error:
        raise VerificationError("The answer of a passkey cannot be read.", code="bad-assertion") from error
    verify_assertion(pin.passkey, answer, challenge=challenge(payload), rp_id=pin.passkey.rp_id, origin=pin.origin)
    return payload


def _facts(home: str, environment: Environment, approver: str) -> dict[str, Any]:
    return {"home": home, "environment": environment.value, "approver": approver}
