"""Where a model comes from: the dataset version, the model or the file it was made from, the script, the parameters, the
environment."""

from __future__ import annotations

from typing import Any

import msgspec

from casemate.core import AssetKind, NotFoundError, Ref
from casemate.registry.claims import ClaimedLineage
from casemate.registry.conversions import Conversion
from casemate.registry.revocations import is_revoked
from casemate.registry.stores import Stores
from casemate.registry.versions import Lineage, OutsideLineage, find_version
from casemate.signing import VersionIdentity

_DEEPEST = 50  # models made from one another that a tree shows


def witness_of(lineage: Lineage | None) -> str:
    """Who saw the training: `here`, `outside`, `claimed` where another system says so unsigned, or `nobody`."""
    if lineage is None:
        return "nobody"
    if lineage.script:
        return "here"
    return "outside" if lineage.outside else "claimed" if lineage.claimed else "nobody"


def provenance_of(lineage: Lineage | None) -> dict[str, Any]:
    """Who saw the training of a version, in a word and in a sentence."""
    witness = witness_of(lineage)
    if lineage and lineage.outside:
        outside = lineage.outside
        text = f"Trained elsewhere, as {outside.signer_name} signed ({outside.signed_by}, {outside.method})."
        return {"witness": witness, "text": text, "signer": outside.signer, "signed_by": outside.signed_by}
    told = {"here": "Trained here, in the sandbox.", "nobody": "Nobody saw its training."}
    if witness == "claimed" and lineage and lineage.claimed:
        run = lineage.claimed.run or "of no run"
        return {"witness": witness, "text": f"Claimed by MLflow (run {run}), attested by nobody."}
    return {"witness": witness, "text": told[witness]}


def lineage_tree(stores: Stores, ref: Ref, *, depth: int = _DEEPEST) -> dict[str, Any]:
    """A model version with what it was made from, under `from`. Raises: NotFoundError."""
    version = find_version(stores, AssetKind.MODEL, ref)
    manifest = version.read_manifest()
    lineage = manifest.lineage
    parents: list[dict[str, Any]] = [_converted(manifest.conversion)] if manifest.conversion else []
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
    if lineage and lineage.outside:
        parents += _outside(lineage.outside)
    if lineage and lineage.claimed:
        parents += _claimed(lineage.claimed)
    return {
        "kind": "model",
        "name": version.about.name,
        "version": version.number,
        "digest": version.digest,
        "provenance": provenance_of(lineage),
        "from": parents,
    }


def _converted(conversion: Conversion) -> dict[str, Any]:
    """The file that this home loaded, behind walls, and did not keep."""
    source, sample, compared = conversion.source, conversion.sample, conversion.compared
    on = f"{sample.dataset.name}@{sample.dataset.number}" if sample.dataset else sample.origin
    return {
        "kind": "converted file",
        "name": source.name,
        "digest": source.digest,
        "format": source.format,
        "findings": list(source.findings),
        "compared_on": f"{sample.rows} rows, {on}",
        "max_difference": compared.max_difference,
        "labels_differ": compared.labels_differ,
    }


def _outside(outside: OutsideLineage) -> list[dict[str, Any]]:
    """What somebody else signed of a training elsewhere, and what they say went into it."""
    training = outside.training
    said = {
        "parameters": training.parameters,
        "seeds": training.seeds,
        "run": training.run,
        "started": training.started,
    }
    signed = {
        "kind": "outside training",
        "digest": outside.statement,
        "signer": outside.signer_name,
        "signed_by": outside.signed_by,
        "builder": training.builder,
        "by": training.by,
        "finished": outside.finished,
        "signed_at": outside.signed_at,
        **said,
    }
    went_in = [
        {"kind": f"stated {one.kind}", "name": one.name or one.uri, "digest": one.digest or f"gitCommit:{one.commit}"}
        for one in training.dependencies
    ]
    return [{name: value for name, value in signed.items() if value}, *went_in]


def _claimed(claimed: ClaimedLineage) -> list[dict[str, Any]]:
    """What another system says, signed by nobody."""
    said: dict[str, Any] = msgspec.to_builtins(claimed)
    datasets = said.pop("datasets", [])
    commit = f"gitCommit:{claimed.commit}" if claimed.commit else ""
    run = {"kind": "claimed training", "name": f"{claimed.system} run {claimed.run}", "digest": commit, **said}
    return [run, *({"kind": "claimed dataset", "digest": "", **one} for one in datasets)]


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
