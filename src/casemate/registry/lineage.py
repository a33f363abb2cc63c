"""Where a model comes from: the dataset version, the model it was made from, the script, the parameters, the environment."""

from __future__ import annotations

from typing import Any

from casemate.core import AssetKind, NotFoundError, Ref
from casemate.registry.revocations import is_revoked
from casemate.registry.stores import Stores
from casemate.registry.versions import find_version
from casemate.signing import VersionIdentity

_DEEPEST = 50  # models made from one another that a tree shows


def lineage_tree(stores: Stores, ref: Ref, *, depth: int = _DEEPEST) -> dict[str, Any]:
    """A model version with what it was made from, under `from`. Raises: NotFoundError."""
    version = find_version(stores, AssetKind.MODEL, ref)
    lineage = version.read_manifest().lineage
    parents: list[dict[str, Any]] = []
    if lineage and lineage.dataset:
        parents.append(_origin(stores, lineage.dataset))
    if lineage and lineage.base:
        parents.append(_base(stores, lineage.base, depth))
    if lineage and lineage.script:
        stated = {"purpose": lineage.purpose, "seed": lineage.seed, "hosts": list(lineage.hosts)}
        told = {name: value for name, value in stated.items() if value not in ("", None, [])}
        parents.append({"kind": "script", "digest": lineage.script, "parameters": lineage.parameters, **told})
    if lineage and lineage.environment:
        parents.append({"kind": "environment", "digest": lineage.environment})
    return {
        "kind": "model",
        "name": version.about.name,
        "version": version.number,
        "digest": version.digest,
        "from": parents,
    }


def _base(stores: Stores, about: VersionIdentity, depth: int) -> dict[str, Any]:
    """The model that another was made from, with what that was made from in turn."""
    node = _origin(stores, about)
    if node["state"] == "deleted" or depth <= 1:
        return node
    ref = Ref(name=about.name, version=about.digest, project=about.project)
    return {**node, "from": lineage_tree(stores, ref, depth=depth - 1)["from"]}


def _origin(stores: Stores, about: VersionIdentity) -> dict[str, Any]:
    ref = Ref(name=about.name, version=about.digest, project=about.project)
    try:
        version = find_version(stores, about.kind, ref)
        state = "revoked" if is_revoked(stores, version) else version.state
    except NotFoundError:
        state = "deleted"
    return {
        "kind": about.kind.value,
        "name": about.name,
        "version": about.number,
        "digest": about.digest,
        "state": state,
    }
