"""Which version a request is about, as the record names it: what was asked for, and what that stands for right now."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import msgspec

from casemate.console.services import Services
from casemate.core import Action, AssetKind, CasemateError, parse_ref
from casemate.registry import Version

_ASKED = 100  # characters kept of a name that stands for nothing here


def named_in(services: Services, action: Action, arguments: dict[str, Any]) -> dict[str, str | int]:
    """Facts for the record: `version` and `digest`, `model` where that is not what is acted on, `dataset` likewise; `to`
    and `to_digest` of a version that it is compared with; `sample` and `sample_digest` of one whose rows a conversion is compared on;
    `column` that is turned back.

    What is not there is named as it was asked for. Nobody but the record is told.
    """
    kind, name = action.partition(":")[0], arguments.get("name", "")
    found: dict[str, str | int] = {}
    if kind in set(AssetKind) and isinstance(arguments.get("version"), str):
        asked = arguments["version"]
        version = _found(services, AssetKind(kind), f"{name}@{asked}")
        found |= _facts(version) if version else {"version": asked[:_ASKED]}
    elif kind in set(AssetKind) and arguments.get("ref"):
        found["version"] = str(arguments["ref"])[:_ASKED]
    if kind == AssetKind.DATASET and (asked := str(arguments.get("to") or "")):
        version = _found(services, AssetKind.DATASET, f"{name}@{asked}")
        found |= {"to": version.number, "to_digest": version.digest} if version else {"to": asked[:_ASKED]}
    if action is Action.DATASET_REIDENTIFY:
        found["column"] = str(arguments.get("column") or "")[:_ASKED]
    if action is Action.DEPLOYMENT_DEPLOY and (asked := str(arguments.get("model") or "")):
        version = _found(services, AssetKind.MODEL, asked)
        found |= {"model": version.about.name, **_facts(version)} if version else {"model": asked[:_ASKED]}
    if action in {Action.MODEL_TRAIN, Action.MODEL_PUSH, Action.MODEL_CONVERT, Action.MODEL_EVALUATE} and (
        asked := str(arguments.get("dataset") or "")
    ):
        version = _found(services, AssetKind.DATASET, asked)
        if version:
            about = version.about
            found |= {"dataset": f"{about.name}@{about.number}", "dataset_digest": about.digest}
        else:
            found["dataset"] = asked[:_ASKED]
    found |= _sample(services, str(arguments.get("sample_dataset") or ""))
    if action in {Action.MODEL_TRAIN, Action.MODEL_PUSH} and (asked := str(arguments.get("base") or "")):
        version = _found(services, AssetKind.MODEL, asked)
        found |= {"base": asked[:_ASKED]}
        if version:
            found |= {"base": f"{version.about.name}@{version.number}", "base_digest": version.digest}
    return found


def _sample(services: Services, asked: str) -> dict[str, str | int]:
    version = _found(services, AssetKind.DATASET, asked) if asked else None
    if version is None:
        return {"sample": asked[:_ASKED]} if asked else {}
    return {"sample": f"{version.about.name}@{version.number}", "sample_digest": version.digest}


def pinned(services: Services, arguments: dict[str, Any], pins: Mapping[str, AssetKind]) -> dict[str, Any]:
    """The arguments, where each of `pins` names the version that it stands for right now by its number: what a name comes to
    stand for while the gate decides, or a body is read, is no part of this request. What is not there stays as it was asked for.
    """
    found = dict(arguments)
    for name, kind in pins.items():
        if (asked := str(arguments.get(name) or "")) and (version := _found(services, kind, asked)):
            found[name] = str(msgspec.structs.replace(parse_ref(asked), version=version.number))
    return found


def _facts(version: Version) -> dict[str, str | int]:
    return {"version": version.number, "digest": version.digest}


def _found(services: Services, kind: AssetKind, ref: str) -> Version | None:
    try:
        return (services.models if kind is AssetKind.MODEL else services.datasets).find(parse_ref(ref))
    except CasemateError:
        return None
