"""Datasets, models, versions, lineage, approvals, deployments, rollback.

    stores = Stores(engine=..., blobs=..., state=ledger, clock=...)
    pen = Pen(signer=ReleaseSigner(keys, pem), commit=...)
    models = Models(stores, pen, scan=scan, describe=describe)

A gateway reads with `Deployments(stores).load(name)` and needs no pen.
"""

from casemate.registry.admission import admitted
from casemate.registry.anonymisations import MAX_POLICY, Anonymisations
from casemate.registry.approval_words import ApprovalWords
from casemate.registry.approvers import APPROVALS, PASSKEY, Approver, Approvers
from casemate.registry.cards import checked_description
from casemate.registry.claims import MAX_CLAIMS, read_claims
from casemate.registry.data_use import DataUse, anonymous_use, check_purpose, stated_use
from casemate.registry.datasets import Datasets, VerifiedDataset
from casemate.registry.deletions import deleted_of
from casemate.registry.deployments import Deployments, Rollout
from casemate.registry.deployments_state import Deployment, DeploymentRecord, deployments_of, strict_before
from casemate.registry.evaluation_records import EvaluationState
from casemate.registry.evaluations import Asked, Evaluations
from casemate.registry.fingerprints import Fingerprints
from casemate.registry.model_push import Describe, Made, Pushed, Scan
from casemate.registry.models import Models
from casemate.registry.own_approvals import challenge, passkey_envelope
from casemate.registry.provenance import Brought
from casemate.registry.releases import finish_deletions, took_effect
from casemate.registry.retention import Retention, checked_rule
from casemate.registry.revocations import revoked_digests
from casemate.registry.screening_records import ScreeningSettings, ScreeningState, checked_settings
from casemate.registry.screenings import Screenings
from casemate.registry.signers import MAX_SIGNER, Signers, read_signer
from casemate.registry.stores import Pen, SignedState, Stores
from casemate.registry.trainings import Trainings
from casemate.registry.verification import RELEASING, Released, released_on_record
from casemate.registry.versions import Lineage, Manifest, Version, known_blobs

__all__ = [
    "APPROVALS",
    "MAX_CLAIMS",
    "MAX_POLICY",
    "MAX_SIGNER",
    "PASSKEY",
    "RELEASING",
    "Anonymisations",
    "ApprovalWords",
    "Approver",
    "Approvers",
    "Asked",
    "Brought",
    "DataUse",
    "Datasets",
    "Deployment",
    "DeploymentRecord",
    "Deployments",
    "Describe",
    "EvaluationState",
    "Evaluations",
    "Fingerprints",
    "Lineage",
    "Made",
    "Manifest",
    "Models",
    "Pen",
    "Pushed",
    "Released",
    "Retention",
    "Rollout",
    "Scan",
    "ScreeningSettings",
    "ScreeningState",
    "Screenings",
    "SignedState",
    "Signers",
    "Stores",
    "Trainings",
    "VerifiedDataset",
    "Version",
    "admitted",
    "anonymous_use",
    "challenge",
    "check_purpose",
    "checked_description",
    "checked_rule",
    "checked_settings",
    "deleted_of",
    "deployments_of",
    "finish_deletions",
    "known_blobs",
    "passkey_envelope",
    "read_claims",
    "read_signer",
    "released_on_record",
    "revoked_digests",
    "stated_use",
    "strict_before",
    "took_effect",
]
