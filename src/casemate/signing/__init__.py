"""Signatures and attestations: make, verify, and whom to trust. The private key never comes here."""

from casemate.signing.bundle import sign_files, verify_bundle, verify_files
from casemate.signing.dsse import ReleaseSigner
from casemate.signing.statements import Statement, VersionIdentity, sign_statement, verify_statement
from casemate.signing.trust import Predicate, TrustedSigner, TrustPolicy, initial_trust, successor_trust
from casemate.signing.verified import SignedVersion, StoredModel, VerifiedModel, verify_model, verify_version

__all__ = [
    "Predicate",
    "ReleaseSigner",
    "SignedVersion",
    "Statement",
    "StoredModel",
    "TrustPolicy",
    "TrustedSigner",
    "VerifiedModel",
    "VersionIdentity",
    "initial_trust",
    "sign_files",
    "sign_statement",
    "successor_trust",
    "verify_bundle",
    "verify_files",
    "verify_model",
    "verify_statement",
    "verify_version",
]
