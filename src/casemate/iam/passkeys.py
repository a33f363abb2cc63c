"""What a passkey signed: pure checks of WebAuthn answers, without a database, for sign-in and for whoever else needs them.

An assertion counts only for one challenge, one relying party (`rp_id`, a host name) and one origin, which are the
caller's and never the request's. Whether a challenge is still good, and whether a counter went back, is the caller's to
say. Attestation is not asked for: which make an authenticator is decides nothing here. Sources: W3C WebAuthn Level 3,
sections 7.1 and 7.2; the parsing and the signatures are py_webauthn's.
"""

from __future__ import annotations

import base64
import hmac
import re
from typing import Any, TypeVar
from urllib.parse import urlsplit

import msgspec
from cryptography.hazmat.primitives.asymmetric.rsa import RSAPublicKey

from casemate.core import InputError, VerificationError
from casemate.iam.records import PasskeyAdded

_MOST = 16384  # characters of one member: an RSA-signed assertion or a registration has under 4,000
_MIN_RSA = 2048  # bits; NIST SP 800-131A
_NONE, _SELF = "none", "packed"  # attestation that names no maker
_EXTENSIONS, _ATTESTED = 0x80, 0x40  # flags of authenticator data; section 6.1
_PLAIN = 37  # bytes of authenticator data without either
_FLAGS_AT = 32
_HOST = re.compile(r"(?=.{1,253}$)([a-z0-9]([a-z0-9-]{0,61}[a-z0-9])?\.)*[a-z]([a-z0-9-]{0,61}[a-z0-9])?", re.ASCII)


class RelyingParty(msgspec.Struct, frozen=True, kw_only=True):
    """Whom passkeys are for. Args: origin: as a browser sends it, `https://HOST[:PORT]`. rp_id: its host."""

    origin: str
    rp_id: str


class Assertion(msgspec.Struct, frozen=True, kw_only=True):
    """What one verified assertion says. Args: verified: the person proved to the authenticator who they are."""

    count: int  # the signature counter; 0 where the authenticator keeps none
    verified: bool


class _ClientData(msgspec.Struct, frozen=True):
    type: str
    challenge: str
    origin: str
    crossOrigin: bool = False  # noqa: N815 - the specification's name
    topOrigin: str | None = None  # noqa: N815


class _AssertionResponse(msgspec.Struct, frozen=True):
    clientDataJSON: str  # noqa: N815
    authenticatorData: str  # noqa: N815
    signature: str
    userHandle: str | None = None  # noqa: N815


class _RegistrationResponse(msgspec.Struct, frozen=True):
    clientDataJSON: str  # noqa: N815
    attestationObject: str  # noqa: N815
    transports: list[str] = []


class AssertionAnswer(msgspec.Struct, frozen=True):
    """`PublicKeyCredential.toJSON()` of a `get`, read strictly and not verified."""

    id: str
    rawId: str  # noqa: N815
    response: _AssertionResponse
    type: str = "public-key"

    @property
    def challenge(self) -> bytes:
        """What it claims to answer. Raises: VerificationError `bad-assertion`."""
        return decode_base64url(_client_data(self.response.clientDataJSON, "bad-assertion").challenge, "bad-assertion")

    @property
    def user(self) -> str:
        """The id of the person whom the authenticator names; empty if it names nobody."""
        handle = decode_base64url(self.response.userHandle or "", "bad-assertion")
        return handle.decode("ascii", errors="replace")[:80]


class RegistrationAnswer(msgspec.Struct, frozen=True):
    """`PublicKeyCredential.toJSON()` of a `create`, read strictly and not verified."""

    id: str
    rawId: str  # noqa: N815
    response: _RegistrationResponse
    type: str = "public-key"

    @property
    def challenge(self) -> bytes:
        """What it claims to answer. Raises: VerificationError `bad-passkey`."""
        return decode_base64url(_client_data(self.response.clientDataJSON, "bad-passkey").challenge, "bad-passkey")


_Answer = TypeVar("_Answer", AssertionAnswer, RegistrationAnswer)


class NewPasskey(msgspec.Struct, frozen=True, kw_only=True):
    """A registration that was verified; the fields are `PasskeyAdded`'s."""

    credential: str
    key: str
    aaguid: str
    transports: tuple[str, ...]
    count: int
    synced: bool


def relying_party(url: str) -> RelyingParty:
    """Whom passkeys of the control plane at `url` are for. Raises: InputError `no-host-name`: passkeys need a name."""
    parts = urlsplit(url)
    host = (parts.hostname or "").lower()
    if parts.scheme != "https" or not _HOST.fullmatch(host):
        raise InputError(
            f"Passkeys need a host name, and {url[:80]!r} has none: set control_url to https://NAME:PORT.",
            code="no-host-name",
        )
    port = "" if parts.port in (None, 443) else f":{parts.port}"
    return RelyingParty(origin=f"https://{host}{port}", rp_id=host)


def read_assertion(answer: Any) -> AssertionAnswer:
    """Raises: VerificationError `bad-assertion`: it has another form."""
    return _read(answer, AssertionAnswer, "bad-assertion")


def read_registration(answer: Any) -> RegistrationAnswer:
    """Raises: VerificationError `bad-passkey`: it has another form."""
    return _read(answer, RegistrationAnswer, "bad-passkey")


def verify_assertion(
    record: PasskeyAdded,
    answer: AssertionAnswer | dict[str, Any],
    *,
    challenge: bytes,
    rp_id: str,
    origin: str,
    require_verified: bool = True,
) -> Assertion:
    """That the authenticator of `record` signed `challenge` for this relying party, with its person there.

    Args: answer: as the browser gives it. challenge: 32 bytes or more that nobody could know before, or the digest of
        what is agreed to. require_verified: the authenticator must have made sure of its person (PIN, fingerprint).
    Returns: the counter, which the caller compares with the last one it saw.
    Raises: VerificationError `bad-assertion`: anything does not fit; `details` say what, for the log alone.
    """
    from webauthn import verify_authentication_response
    from webauthn.helpers.structs import (
        AuthenticationCredential,
        AuthenticatorAssertionResponse,
        PublicKeyCredentialType,
    )

    code = "bad-assertion"
    asserted = answer if isinstance(answer, AssertionAnswer) else read_assertion(answer)
    if asserted.id != record.credential or asserted.rawId != record.credential or asserted.type != "public-key":
        raise _refused(code, "another credential")
    _check_client_data(asserted.response.clientDataJSON, "webauthn.get", challenge, origin, code)
    data = decode_base64url(asserted.response.authenticatorData, code)
    if len(data) < _PLAIN or data[_FLAGS_AT] & _ATTESTED or (len(data) > _PLAIN and not data[_FLAGS_AT] & _EXTENSIONS):
        raise _refused(code, "authenticator data of another form")
    credential = AuthenticationCredential(
        id=asserted.id,
        raw_id=decode_base64url(asserted.rawId, code),
        response=AuthenticatorAssertionResponse(
            client_data_json=decode_base64url(asserted.response.clientDataJSON, code),
            authenticator_data=data,
            signature=decode_base64url(asserted.response.signature, code),
        ),
        type=PublicKeyCredentialType.PUBLIC_KEY,
    )
    try:
        verified = verify_authentication_response(
            credential=credential,
            expected_challenge=challenge,
            expected_rp_id=rp_id,
            expected_origin=origin,
            credential_public_key=decode_base64url(record.key, code),
            credential_current_sign_count=0,  # the caller's to compare, with nobody in between
            require_user_verification=require_verified,
        )
    except Exception as error:  # whatever a parser or a signature says: it does not count
        raise _refused(code, f"{type(error).__name__}: {error}") from error
    return Assertion(count=verified.new_sign_count, verified=verified.user_verified)


def verify_registration(
    answer: RegistrationAnswer | dict[str, Any], *, challenge: bytes, rp_id: str, origin: str
) -> NewPasskey:
    """That an authenticator made a new credential for this challenge and relying party, and made sure of its person.

    Raises: VerificationError `bad-passkey`: anything does not fit, or its attestation names a maker, which was not
        asked for; `details` say what.
    """
    from webauthn import verify_registration_response
    from webauthn.helpers import decode_credential_public_key, decoded_public_key_to_cryptography
    from webauthn.helpers.parse_attestation_object import parse_attestation_object
    from webauthn.helpers.structs import (
        AuthenticatorAttestationResponse,
        CredentialDeviceType,
        PublicKeyCredentialType,
        RegistrationCredential,
    )

    code = "bad-passkey"
    made = answer if isinstance(answer, RegistrationAnswer) else read_registration(answer)
    if made.id != made.rawId or made.type != "public-key":
        raise _refused(code, "two ids")
    _check_client_data(made.response.clientDataJSON, "webauthn.create", challenge, origin, code)
    attestation = decode_base64url(made.response.attestationObject, code)
    credential = RegistrationCredential(
        id=made.id,
        raw_id=decode_base64url(made.rawId, code),
        response=AuthenticatorAttestationResponse(
            client_data_json=decode_base64url(made.response.clientDataJSON, code), attestation_object=attestation
        ),
        type=PublicKeyCredentialType.PUBLIC_KEY,
    )
    try:
        parsed = parse_attestation_object(attestation)
        if parsed.fmt not in (_NONE, _SELF) or parsed.att_stmt.x5c:
            raise _refused(code, "an attestation that was not asked for")
        verified = verify_registration_response(
            credential=credential,
            expected_challenge=challenge,
            expected_rp_id=rp_id,
            expected_origin=origin,
            require_user_verification=True,
        )
        key = decoded_public_key_to_cryptography(decode_credential_public_key(verified.credential_public_key))
        if verified.credential_id != credential.raw_id or (isinstance(key, RSAPublicKey) and key.key_size < _MIN_RSA):
            raise _refused(code, "another credential, or a key that is too short")
    except VerificationError:
        raise
    except Exception as error:
        raise _refused(code, f"{type(error).__name__}: {error}") from error
    known = [one for one in made.response.transports if re.fullmatch(r"[a-z-]{2,16}", one)]
    return NewPasskey(
        credential=encode_base64url(verified.credential_id),
        key=encode_base64url(verified.credential_public_key),
        aaguid=verified.aaguid,
        transports=tuple(sorted(set(known)))[:8],
        count=verified.sign_count,
        synced=verified.credential_device_type is CredentialDeviceType.MULTI_DEVICE,
    )


def encode_base64url(data: bytes) -> str:
    """Without padding, as WebAuthn writes bytes."""
    return base64.urlsafe_b64encode(data).decode().rstrip("=")


def decode_base64url(text: str, code: str) -> bytes:
    """The one reading of base64url without padding. Raises: VerificationError `code`."""
    try:
        data = base64.b64decode(text + "=" * (-len(text) % 4), altchars=b"-_", validate=True)
    except ValueError as error:
        raise _refused(code, "no base64url") from error
    if encode_base64url(data) != text:
        raise _refused(code, "base64url written in another way")
    return data


def _read(answer: Any, kind: type[_Answer], code: str) -> _Answer:
    try:
        read: _Answer = msgspec.convert(answer, kind)
    except msgspec.ValidationError as error:
        raise _refused(code, "another form") from error
    members = (*msgspec.structs.astuple(read), *msgspec.structs.astuple(read.response))
    if any(isinstance(one, str) and len(one) > _MOST for one in members):
        raise _refused(code, "too long")
    return read


def _client_data(text: str, code: str) -> _ClientData:
    try:
        return msgspec.json.decode(decode_base64url(text, code), type=_ClientData)
    except msgspec.DecodeError as error:
        raise _refused(code, "client data of another form") from error


def _check_client_data(text: str, kind: str, challenge: bytes, origin: str, code: str) -> None:
    said = _client_data(text, code)
    if said.type != kind:
        raise _refused(code, "another ceremony")
    if not hmac.compare_digest(said.challenge.encode(errors="replace"), encode_base64url(challenge).encode()):
        raise _refused(code, "another challenge")
    if said.origin != origin or said.crossOrigin or said.topOrigin is not None:
        raise _refused(code, "another origin")


def _refused(code: str, why: str) -> VerificationError:
    """One answer for whoever asks; what was wrong is for the log."""
    return VerificationError("This answer of a passkey does not count: try again.", code=code, details={"why": why})
