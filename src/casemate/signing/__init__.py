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
from casemate.signing.origins import check_outside, is_run_here, verify_conversion, verify_training
from casemate.signing.own_key import OwnKey
from casemate.signing.statements import (
    RUN,
    Statement,
    VersionIdentity,
    read_statement,
    sign_statement,
    statement_payload,
    verify_statement,
)
from casemate.signing.stored import SignedVersion
from casemate.signing.training_statement import sign_training
from casemate.signing.trust import Predicate, TrustedSigner, TrustPolicy, initial_trust, successor_trust
from casemate.signing.verified import StoredModel, VerifiedModel, verify_model, verify_version

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
    "check_outside",
    "decode_envelope",
    "encode_envelope",
    "initial_trust",
    "is_run_here",
    "keyid_of",
    "load_public_key",
    "open_envelope",
    "pae",
    "public_pem",
    "read_statement",
    "sign_files",
    "sign_statement",
    "sign_training",
    "statement_payload",
    "strict_base64",
    "successor_trust",
    "verify_bundle",
    "verify_conversion",
    "verify_files",
    "verify_model",
    "verify_statement",
    "verify_training",
    "verify_version",
]
