"""The machine-learning bill of materials of a model version: CycloneDX 1.6, made from its card.

Source: CycloneDX 1.6 JSON schema; `machine-learning-model` and `data` components, `modelCard`.
"""

from __future__ import annotations

import uuid
from datetime import datetime
from typing import Any, Final
from urllib.parse import quote

from casemate.core import canonical, rfc3339
from casemate.registry.stores import Pen
from casemate.signing import encode_envelope

BOM_PREDICATE: Final = "https://cyclonedx.org/bom/v1.6"
_CLASSIFIED = {"name": "casemate:data_class"}


def bom_of(card: dict[str, Any], *, at: datetime) -> dict[str, Any]:
    """A CycloneDX document of the model, the data and script that it was made from, and the packages that made it.

    Args: card: from `cards.card_of`. at: of this document; its serial number is made from the version and this instant.
    """
    ref = f"model:{card['name']}@{card['version']}"
    data = [_data(origin) for origin in card["made_from"] if origin["kind"] == "dataset"]
    known = [origin for origin in card["made_from"] if origin.get("digest", "").startswith("sha256:")]
    scripts = ("script", "stated script", "stated environment")
    others = _unique([_script(origin) for origin in known if origin["kind"] in scripts])
    data += _unique([_stated_data(origin) for origin in known if origin["kind"] == "stated dataset"])
    others += [_base(origin) for origin in card["made_from"] if origin["kind"] == "model"]
    packages = [_package(name, version) for name, version in sorted(_packages(card).items())]
    serial = uuid.uuid5(uuid.NAMESPACE_URL, f"{card['digest']}/{rfc3339(at)}")
    return {
        "$schema": "http://cyclonedx.org/schema/bom-1.6.schema.json",
        "bomFormat": "CycloneDX",
        "specVersion": "1.6",
        "serialNumber": f"urn:uuid:{serial}",
        "version": 1,
        "metadata": {
            "timestamp": rfc3339(at),
            "tools": {"components": [{"type": "application", "name": "casemate"}]},
            "component": _model(card, ref, data),
        },
        "components": [*data, *others, *packages],
        "dependencies": [
            {"ref": ref, "dependsOn": [one["bom-ref"] for one in (*data, *others, *packages)]},
            *({"ref": one["bom-ref"]} for one in (*data, *others, *packages)),
        ],
    }


def signed_bom(bom: dict[str, Any], card: dict[str, Any], *, pen: Pen) -> str:
    """The document in a signed in-toto statement about the version: a DSSE envelope as JSON."""
    statement = {
        "_type": "https://in-toto.io/Statement/v1",
        "subject": [
            {
                "name": f"{card['name']}@{card['version']}",
                "digest": {"sha256": card["digest"].removeprefix("sha256:")},
            }
        ],
        "predicateType": BOM_PREDICATE,
        "predicate": bom,
    }
    return encode_envelope(pen.signer.sign(canonical(statement))).decode()


def _model(card: dict[str, Any], ref: str, data: list[dict[str, Any]]) -> dict[str, Any]:
    said = card["described"]
    model: dict[str, Any] = {
        "type": "machine-learning-model",
        "bom-ref": ref,
        "name": card["name"],
        "version": str(card["version"]),
        "description": said.get("intended_use", ""),
        "hashes": [_hash(card["digest"])],
        "modelCard": {
            "modelParameters": {
                **({"task": "inference"} if card["inputs"] else {}),
                "datasets": [{"ref": one["bom-ref"]} for one in data],
                "inputs": [{"format": _format(one)} for one in card["inputs"]],
                "outputs": [{"format": _format(one)} for one in card["outputs"]],
            },
            "quantitativeAnalysis": {
                "performanceMetrics": [
                    *_evaluated(card["evaluation"]),
                    *map(_metric, (*said.get("metrics", []), *_measured(card))),
                ]
            },
            "considerations": _considerations(said),
        },
        "components": [
            {"type": "file", "bom-ref": f"{ref}/{path}", "name": path, "hashes": [_hash(entry["digest"])]}
            for path, entry in card["files"].items()
        ],
        "properties": [
            {**_CLASSIFIED, "value": card["data_class"]},
            {"name": "casemate:format", "value": card["format"]},
            {"name": "casemate:pushed_by", "value": card["pushed_by"]},
            {"name": "casemate:pushed_at", "value": card["pushed_at"]},
            {"name": "casemate:scan", "value": str(card["scan"]["verdict"])},
            {"name": "casemate:training_seen_by", "value": card["provenance"]["witness"]},
            *_outside(card),
            *_converted(card),
            {"name": "casemate:evaluation", "value": card["evaluation"]["state"]},
            {"name": "casemate:revoked", "value": str(card["revoked"]).lower()},
            *({"name": "casemate:missing", "value": name} for name in card["missing"]),
        ],
    }
    if said.get("licence"):
        model["licenses"] = [{"license": {"name": said["licence"]}}]
    if said.get("owner"):
        model["supplier"] = {"name": said["owner"]}
    return model


def _considerations(said: dict[str, Any]) -> dict[str, Any]:
    found: dict[str, Any] = {}
    for name, field in (("users", "users"), ("useCases", "intended_use"), ("technicalLimitations", "limits")):
        if said.get(field):
            found[name] = [said[field]]
    if said.get("out_of_scope"):
        found["technicalLimitations"] = [*found.get("technicalLimitations", []), f"Not for: {said['out_of_scope']}"]
    if said.get("ethics"):
        found["ethicalConsiderations"] = [{"name": said["ethics"]}]
    return found


def _metric(metric: dict[str, Any]) -> dict[str, Any]:
    where = ", ".join(part for part in (metric.get("on", ""), metric.get("slice", "")) if part)
    return {"type": metric["name"], "value": repr(metric["value"]), **({"slice": where} if where else {})}


def _evaluated(evaluation: dict[str, Any]) -> list[dict[str, Any]]:
    """What an evaluation measured, signed, before what people say."""
    on = f"{evaluation['on']}, evaluated {evaluation['at']}" if "on" in evaluation else ""
    return [
        {"type": name, "value": repr(value), "slice": on}
        for name, value in sorted(evaluation.get("figures", {}).items())
    ]


def _measured(card: dict[str, Any]) -> list[dict[str, Any]]:
    """What the training script said of its own model."""
    metrics = (card.get("run") or {}).get("metrics", {})
    return [{"name": name, "value": value, "on": "by its training script"} for name, value in metrics.items()]


def _format(tensor: dict[str, Any]) -> str:
    return f"{tensor['name']}: {tensor['datatype']}{tensor['shape']}"


def _data(origin: dict[str, Any]) -> dict[str, Any]:
    return {
        "type": "data",
        "bom-ref": f"dataset:{origin['name']}@{origin['version']}",
        "name": origin["name"],
        "version": str(origin["version"]),
        "hashes": [_hash(origin["digest"])],
        "data": [{"type": "dataset", "name": origin["name"]}],
        "properties": [{"name": "casemate:state", "value": origin["state"]}],
    }


def _script(origin: dict[str, Any]) -> dict[str, Any]:
    return {
        "type": "file",
        "bom-ref": f"script:{origin['digest'].removeprefix('sha256:')[:16]}",
        "name": "lock file" if origin["kind"] == "stated environment" else "training script",
        "hashes": [_hash(origin["digest"])],
    }


def _stated_data(origin: dict[str, Any]) -> dict[str, Any]:
    """Data that an outside trainer names, by the digest that they knew it by."""
    digest = origin["digest"]
    ref = f"stated-dataset:{digest.removeprefix('sha256:')[:16]}"
    return {
        "type": "data",
        "bom-ref": ref,
        "name": origin["name"] or "dataset",
        "hashes": [_hash(digest)],
        "data": [{"type": "dataset", "name": origin["name"] or "dataset"}],
        "properties": [{"name": "casemate:state", "value": "stated by an outside trainer"}],
    }


def _outside(card: dict[str, Any]) -> list[dict[str, str]]:
    """Who signed a training elsewhere, and by what builder it was."""
    for origin in card["made_from"]:
        if origin["kind"] == "outside training":
            names = ("signer", "signed_by", "builder", "by", "finished", "digest")
            return [{"name": f"casemate:outside_{name}", "value": origin[name]} for name in names if origin.get(name)]
    return []


def _converted(card: dict[str, Any]) -> list[dict[str, str]]:
    """The pickle that this home converted, which is not kept."""
    conversion = card["conversion"]
    return [{"name": "casemate:converted_from", "value": conversion["source"]["digest"]}] if conversion else []


def _unique(components: list[dict[str, Any]]) -> list[dict[str, Any]]:
    return list({one["bom-ref"]: one for one in components}.values())


def _base(origin: dict[str, Any]) -> dict[str, Any]:
    return {
        "type": "machine-learning-model",
        "bom-ref": f"model:{origin['name']}@{origin['version']}",
        "name": origin["name"],
        "version": str(origin["version"]),
        "description": "The model that it was made from.",
        "hashes": [_hash(origin["digest"])],
        "properties": [{"name": "casemate:state", "value": origin["state"]}],
    }


def _package(name: str, version: str) -> dict[str, Any]:
    purl = f"pkg:pypi/{quote(name.lower().replace('_', '-'))}@{quote(version)}"
    return {"type": "library", "bom-ref": purl, "name": name, "version": version, "purl": purl}


def _packages(card: dict[str, Any]) -> dict[str, str]:
    environment = card["environment"] or {}
    packages = environment.get("packages", {})
    return packages if isinstance(packages, dict) else {}


def _hash(digest: str) -> dict[str, str]:
    return {"alg": "SHA-256", "content": digest.removeprefix("sha256:")}
