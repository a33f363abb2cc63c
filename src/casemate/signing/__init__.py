"""Signatures and attestations: make, verify, and whom to trust. The private key never comes here."""

from casemate.signing.bundle import sign_files, verify_bundle, verify_files
from casemate.signing.dsse import (
    PAYLOAD_TYPE,
    Envelope,
    EnvelopeSignature,
    ReleaseSigner,
    decode_envelope,
    encode_envelope,
    keyid_of,
    load_public_key,
    open_envelope,
    pae,
    public_pem,
    strict_base64,
)
from casemate.signing.own_key import OwnKey
from casemate.signing.statements import (
    Statement,
    VersionIdentity,
    read_statement,
    sign_statement,
    statement_payload,
    verify_statement,
)
from casemate.signing.trust import Predicate, TrustedSigner, TrustPolicy, initial_trust, successor_trust
from casemate.signing.verified import (
    RUN,
    SignedVersion,
    StoredModel,
    VerifiedModel,
    verify_conversion,
    verify_model,
    verify_version,
)

__all__ = [
    "PAYLOAD_TYPE",
    "RUN",
    "Envelope",
    "EnvelopeSignature",
    "OwnKey",
    "Predicate",
    "ReleaseSigner",
    "SignedVersion",
    "Statement",
    "StoredModel",
    "TrustPolicy",
    "TrustedSigner",
    "VerifiedModel",
    "VersionIdentity",
    "decode_envelope",
    "encode_envelope",
    "initial_trust",
    "keyid_of",
    "load_public_key",
    "open_envelope",
    "pae",
    "public_pem",
    "read_statement",
    "sign_files",
    "sign_statement",
    "statement_payload",
    "strict_base64",
    "successor_trust",
    "verify_bundle",
    "verify_conversion",
    "verify_files",
    "verify_model",
    "verify_statement",
    "verify_version",
]
