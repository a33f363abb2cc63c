"""What a home signs of a training that it ran: SLSA provenance v1, about the version's files.

Everything that other tools read there (dependencies, parameters, times) is derived from `facts`, which stand in the internal
parameters: a statement in which the two differ is refused, so nobody reads one origin and verifies another.

Source: in-toto Statement v1 and ResourceDescriptor; SLSA v1, build provenance.
"""

from __future__ import annotations

from collections.abc import Mapping
from datetime import datetime
from typing import Any, Final

import msgspec

from casemate.core import Digest, VerificationError, canonical, rfc3339
from casemate.signing.dsse import Signer, decode_envelope, encode_envelope, malformed, open_envelope
from casemate.signing.provenance import PROVENANCE
from casemate.signing.statements import RUN, Statement, VersionIdentity, check_about
from casemate.signing.trust import Predicate, TrustPolicy

BUILD_TYPE: Final = "https://casemate.dev/training/v1"
BUILDER: Final = "https://casemate.dev/sandbox/v1"
_TYPE: Final = "https://in-toto.io/Statement/v1"

Files = Mapping[str, Digest]  # by path


class _Internal(msgspec.Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    about: VersionIdentity
    at: str
    facts: dict[str, Any]


class _Definition(msgspec.Struct, frozen=True, kw_only=True, rename="camel"):
    build_type: str
    internal_parameters: _Internal


class _Predicate(msgspec.Struct, frozen=True, kw_only=True, rename="camel"):
    build_definition: _Definition


class _Statement(msgspec.Struct, frozen=True, kw_only=True):
    predicate: _Predicate


class _Head(msgspec.Struct, frozen=True, kw_only=True):
    predicate_type: str = msgspec.field(name="predicateType")


def sign_training(
    about: VersionIdentity, facts: dict[str, Any], files: Files, kept: Files, *, signer: Signer, at: datetime
) -> bytes:
    """A signed envelope that says from what `files` were made. Args: facts: the lineage, and `run`. kept: beside the model."""
    return encode_envelope(signer.sign(_payload(about, facts, files, kept, at=rfc3339(at))))


def open_training(
    envelope: bytes, about: VersionIdentity, files: Files, kept: Files, *, trust: TrustPolicy, at: datetime
) -> Statement:
    """Return what a signer trusted for trainings at `at` said of exactly this version with exactly these files.

    Args: files, kept: as the signed manifest has them.
    Raises: VerificationError `signature-malformed`, `signer-not-trusted`, `certificate-expired`, `signature-invalid`,
        `predicate-mismatch`, `name-mismatch`, `digest-mismatch`, `lineage-mismatch`: it is about other files, or tells other
        tools another origin than it tells us.
    """
    read = decode_envelope(envelope)
    keyid = read.signatures[0].keyid
    payload = open_envelope(read, trust.key_for(keyid, Predicate.TRAINING, at=at))
    inside = _read(payload).predicate.build_definition.internal_parameters
    check_about(inside.about, about)
    if _payload(about, inside.facts, files, kept, at=inside.at) != payload:
        raise VerificationError(
            f"The training statement of {about} is about other files, or does not say one thing only.",
            code="lineage-mismatch",
        )
    return Statement(predicate=Predicate.TRAINING, about=about, facts=inside.facts, at=inside.at, keyid=keyid)


def _read(payload: bytes) -> _Statement:
    try:
        found = msgspec.json.decode(payload, type=_Head).predicate_type
        if found != PROVENANCE:
            raise VerificationError(
                f"A statement of type {found[:200]} stands where one of type {PROVENANCE} belongs.",
                code="predicate-mismatch",
            )
        return msgspec.json.decode(payload, type=_Statement)
    except ValueError as error:
        raise malformed("it does not hold a training of ours") from error


def _payload(about: VersionIdentity, facts: dict[str, Any], files: Files, kept: Files, *, at: str) -> bytes:
    run = _object(facts, RUN)
    times = {"startedOn": run.get("began"), "finishedOn": run.get("ended")}
    return canonical(
        {
            "_type": _TYPE,
            "subject": _descriptors(files),
            "predicateType": PROVENANCE,
            "predicate": {
                "buildDefinition": {
                    "buildType": BUILD_TYPE,
                    "externalParameters": _external(about, facts),
                    "internalParameters": {"about": about, "at": at, "facts": facts},
                    "resolvedDependencies": _dependencies(facts),
                },
                "runDetails": {
                    "builder": {"id": BUILDER},
                    "metadata": {name: time for name, time in times.items() if time},
                    "byproducts": _descriptors(kept),
                },
            },
        }
    )


def _external(about: VersionIdentity, facts: dict[str, Any]) -> dict[str, Any]:
    """What whoever started it chose, by the names that `signing.provenance` reads."""
    said = {
        "model": about.name,
        "parameters": facts.get("parameters", {}),
        "seeds": {"CASEMATE_SEED": facts["seed"]} if facts.get("seed") is not None else {},
        "by": _object(facts, RUN).get("by"),
        "purpose": facts.get("purpose"),
        "hosts": facts.get("hosts"),
    }
    return {name: value for name, value in said.items() if value}


def _dependencies(facts: dict[str, Any]) -> list[dict[str, Any]]:
    run = _object(facts, RUN)
    dataset, base, repository = _object(facts, "dataset"), _object(facts, "base"), _object(run, "repository")
    return [
        *([_version("dataset", dataset)] if dataset else []),
        *([_version("model", base)] if base else []),
        _descriptor(f"script:{run.get('filename', 'train.py')}", facts.get("script")),
        *([_descriptor("environment:packages", facts["environment"])] if facts.get("environment") else []),
        *([{"name": "repository", "digest": {"gitCommit": repository.get("commit")}}] if repository else []),
    ]


def _version(kind: str, about: dict[str, Any]) -> dict[str, Any]:
    return _descriptor(f"{kind}:{about.get('name')}@{about.get('number')}", about.get("digest"))


def _object(facts: dict[str, Any], name: str) -> dict[str, Any]:
    """A member that is an object; empty where there is none."""
    found = facts.get(name)
    return found if isinstance(found, dict) else {}


def _descriptors(files: Files) -> list[dict[str, Any]]:
    return [_descriptor(path, digest) for path, digest in sorted(files.items())]


def _descriptor(name: str, digest: Any) -> dict[str, Any]:
    return {"name": name, "digest": {"sha256": str(digest).removeprefix("sha256:")}}
