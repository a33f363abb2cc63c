"""Signs files for other people: a bundle that `model_signing verify` and `outside` read. No home is needed.

A home signs with its keeper's key (`bundle.sign_files`). Here a person signs with a key of their own, alone or under a
certificate and a timestamp, or without any key, as an identity that Sigstore vouches for.
"""

from __future__ import annotations

import base64
from collections.abc import Callable, Sequence
from datetime import datetime

from cryptography import x509
from cryptography.hazmat.primitives import serialization

from casemate.core import InputError, UpstreamError, VerificationError, canonical
from casemate.signing.bundle import MEDIA_TYPE
from casemate.signing.certificates import check_signer
from casemate.signing.dsse import keyid_of
from casemate.signing.own_key import OwnKey

MAX_TIMESTAMP = 64 << 10  # bytes of an authority's answer


def sign_with_key(
    statement: bytes,
    key: OwnKey,
    *,
    chain: Sequence[x509.Certificate] = (),
    stamp: Callable[[bytes], bytes] | None = None,
    now: datetime,
) -> bytes:
    """A bundle around `statement`.

    Args: chain: of `key`, itself first, then up to the root or below it; none for a bare key. stamp: takes an RFC 3161
        query to an authority and brings its answer.
    Raises: InputError `bad-certificate`: it is of another key, not for signing, or not valid now; UpstreamError
        `bad-timestamp`: what came is no timestamp of this signature.
    """
    envelope = key.sign(statement)
    material: dict[str, object] = {"publicKey": {"hint": key.keyid}, "tlogEntries": []}
    if chain:
        _check_own(chain, key, now=now)
        certificates = [{"rawBytes": _b64(one.public_bytes(serialization.Encoding.DER))} for one in chain]
        material = {"x509CertificateChain": {"certificates": certificates}, "tlogEntries": []}
        # Upstream writes no key id beside a certificate.
    if stamp is not None:
        answer = _stamped(base64.b64decode(envelope.signatures[0].sig), stamp)
        material["timestampVerificationData"] = {"rfc3161Timestamps": [{"signedTimestamp": _b64(answer)}]}
    return canonical({"mediaType": MEDIA_TYPE, "verificationMaterial": material, "dsseEnvelope": envelope})


def sign_keyless(statement: bytes, *, token: str, config: bytes | None = None) -> bytes:
    """A bundle signed by a key that lives for this call, which Sigstore binds to the identity in `token`.

    Args: token: an OpenID Connect token for Sigstore. config: Sigstore's client configuration, which names
        its services; None for the public ones.
    Raises: InputError `bad-token`, `bad-trusted-root`; UpstreamError `sigstore-failed`: a service refused or is away.
    """
    from sigstore.dsse import Statement
    from sigstore.models import ClientTrustConfig
    from sigstore.oidc import IdentityError, IdentityToken
    from sigstore.sign import SigningContext

    try:
        trust = ClientTrustConfig.production() if config is None else ClientTrustConfig.from_json(config.decode())
        context = SigningContext.from_trust_config(trust)
    except Exception as error:  # the library raises many kinds here
        raise InputError(
            "The client configuration of Sigstore cannot be read, or not be fetched.", code="bad-trusted-root"
        ) from error
    try:
        identity = IdentityToken(token)
    except IdentityError as error:
        raise InputError("This is no valid OpenID Connect token for Sigstore.", code="bad-token") from error
    try:
        with context.signer(identity) as signer:
            bundle: str = signer.sign_dsse(Statement(statement)).to_json()
    except Exception as error:
        raise UpstreamError(
            f"Sigstore did not sign ({type(error).__name__}): nothing was written; try again.", code="sigstore-failed"
        ) from error
    return bundle.encode()


def _check_own(chain: Sequence[x509.Certificate], key: OwnKey, *, now: datetime) -> None:
    """What would be refused at once is not signed. Raises: InputError `bad-certificate`."""
    try:
        if keyid_of(chain[0].public_key()) != key.keyid:  # type: ignore[arg-type]
            raise InputError("The first certificate is of another key than you sign with.", code="bad-certificate")
        check_signer(chain, at=now)
    except VerificationError as error:
        raise InputError(error.message, code="bad-certificate") from error


def _stamped(signature: bytes, stamp: Callable[[bytes], bytes]) -> bytes:
    from rfc3161_client import TimestampRequestBuilder, decode_timestamp_response

    query = TimestampRequestBuilder().data(signature).cert_request(cert_request=True).build()
    answer = stamp(query.as_bytes())
    try:
        if len(answer) > MAX_TIMESTAMP:
            raise ValueError
        said = decode_timestamp_response(answer).tst_info
        if said.message_imprint.message != query.message_imprint.message or said.nonce != query.nonce:
            raise ValueError
    except ValueError as error:
        raise UpstreamError(
            "The timestamp authority did not answer with a timestamp of this signature: nothing was written.",
            code="bad-timestamp",
        ) from error
    return answer


def _b64(data: bytes) -> str:
    return base64.b64encode(data).decode()
