"""Where a model comes from: the dataset version, the script, the parameters, the environment."""

from __future__ import annotations

from typing import Any

from casemate.core import AssetKind, NotFoundError, Ref
from casemate.registry.revocations import is_revoked
from casemate.registry.stores import Stores
from casemate.registry.versions import find_version
from casemate.signing import VersionIdentity


def lineage_tree(stores: Stores, ref: Ref) -> dict[str, Any]:
    """A model version with what it was made from, under `from`. Raises: NotFoundError."""
    version = find_version(stores, AssetKind.MODEL, ref)
    lineage = version.read_manifest().lineage
    parents: list[dict[str, Any]] = []
    if lineage and lineage.dataset:
        parents.append(_dataset(stores, lineage.dataset))
    if lineage and lineage.script:
        purpose = {"purpose": lineage.purpose} if lineage.purpose else {}
        parents.append({"kind": "script", "digest": lineage.script, "parameters": lineage.parameters, **purpose})
    if lineage and lineage.environment:
        parents.append({"kind": "environment", "digest": lineage.environment})
    return {
        "kind": "model",
        "name": version.about.name,
        "version": version.number,
        "digest": version.digest,
        "from": parents,
    }


def _dataset(stores: Stores, about: VersionIdentity) -> dict[str, Any]:
    ref = Ref(name=about.name, version=about.digest, project=about.project)
    try:
        version = find_version(stores, AssetKind.DATASET, ref)
        state = "revoked" if is_revoked(stores, version) else version.state
    except NotFoundError:
        state = "deleted"
    return {"kind": "dataset", "name": about.name, "version": about.number, "digest": about.digest, "state": state}
