"""Datasets, models, versions, lineage, approvals, deployments, rollback.

    stores = Stores(engine=..., blobs=..., state=ledger, clock=...)
    pen = Pen(signer=ReleaseSigner(keys, pem), commit=...)
    models = Models(stores, pen, scan=scan, describe=describe)

A gateway reads with `Deployments(stores).load(name)` and needs no pen.
"""

from casemate.registry.datasets import Datasets, VerifiedDataset
from casemate.registry.deployments import Deployments, Rollout
from casemate.registry.deployments_state import Deployment, DeploymentRecord, deployments_of
from casemate.registry.models import Describe, Models, Pushed, Scan
from casemate.registry.releases import took_effect
from casemate.registry.stores import Pen, SignedState, Stores
from casemate.registry.versions import Lineage, Manifest, Version, known_blobs

__all__ = [
    "Datasets",
    "Deployment",
    "DeploymentRecord",
    "Deployments",
    "Describe",
    "Lineage",
    "Manifest",
    "Models",
    "Pen",
    "Pushed",
    "Rollout",
    "Scan",
    "SignedState",
    "Stores",
    "VerifiedDataset",
    "Version",
    "deployments_of",
    "known_blobs",
    "took_effect",
]
