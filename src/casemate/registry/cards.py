"""The card of a model version: what people say of it, beside what is signed of it.

What people say is a ledger entry of its own, so that a word can be mended without another version; the version, its
origin, scan and approvals are what trusted signers said.
"""

from __future__ import annotations

from typing import Annotated, Any, Final, Literal

import msgspec

from casemate.core import InputError, PolicyError, Principal, Ref, rfc3339
from casemate.registry.approvals import approvals_of
from casemate.registry.conversion_statements import conversion_facts
from casemate.registry.evaluation_records import evaluation_standing
from casemate.registry.lineage import lineage_tree, provenance_of
from casemate.registry.revocations import is_revoked
from casemate.registry.stores import Stores, unreadable
from casemate.registry.trainings import training_facts
from casemate.registry.verification import verified_pusher
from casemate.registry.versions import Version, signed_version
from casemate.signing import Predicate, VersionIdentity, verify_statement
from casemate.storage import LedgerEntry

CARD: Final = "card"
REQUIRED: Final = ("intended_use", "owner", "licence", "limits", "metrics")

_Text = Annotated[str, msgspec.Meta(max_length=4000)]
_Line = Annotated[str, msgspec.Meta(max_length=200)]


class Metric(msgspec.Struct, frozen=True, kw_only=True, forbid_unknown_fields=True, omit_defaults=True):
    """A figure that somebody measured. Args: on: on which data; slice: for whom of these."""

    name: Annotated[str, msgspec.Meta(min_length=1, max_length=80)]
    value: float
    on: _Line = ""
    slice: _Line = ""


class Described(msgspec.Struct, frozen=True, kw_only=True, forbid_unknown_fields=True, omit_defaults=True):
    """What people say of a version. Args: licence: an SPDX expression, or its name. metrics: at most 100."""

    intended_use: _Text = ""
    out_of_scope: _Text = ""
    users: _Text = ""
    owner: _Line = ""
    licence: _Line = ""
    limits: _Text = ""
    ethics: _Text = ""
    metrics: Annotated[tuple[Metric, ...], msgspec.Meta(max_length=100)] = ()

    @property
    def missing(self) -> tuple[str, ...]:
        """What a whole card still needs."""
        return tuple(name for name in REQUIRED if not getattr(self, name))


class CardRecord(msgspec.Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """A ledger body: what `by` says of exactly this version, from here on."""

    about: VersionIdentity
    described: Described
    by: str
    at: str
    schema: Literal[1] = 1


def checked_description(value: Any) -> Described:
    """Raises: InputError `bad-card`: an unknown field, a wrong type, too long, or characters that no text holds."""
    try:
        described = msgspec.convert(value, Described)
    except msgspec.ValidationError as error:
        raise InputError(f"The card cannot be read: {error}.", code="bad-card") from error
    texts = [part for part in msgspec.to_builtins(described).values() if isinstance(part, str)]
    texts += [text for metric in described.metrics for text in (metric.name, metric.on, metric.slice)]
    if any(not character.isprintable() and character != "\n" for text in texts for character in text):
        raise InputError("The card holds characters that cannot be shown.", code="bad-card")
    if any(metric.value != metric.value or abs(metric.value) == float("inf") for metric in described.metrics):
        raise InputError("A metric's value is a finite number.", code="bad-card")
    return described


def card_entry(
    stores: Stores, version: Version, described: Described, *, actor: Principal
) -> tuple[str, dict[str, Any]]:
    """The ledger entry with which `actor` describes a version."""
    at = rfc3339(stores.clock.now())
    return CARD, msgspec.to_builtins(CardRecord(about=version.about, described=described, by=actor.id, at=at))


def described_of(stores: Stores, version: Version) -> CardRecord | None:
    """The newest description. Raises: VerificationError."""
    start: dict[VersionIdentity, CardRecord] = {}
    return stores.folded(CARD, start, _fold).get(version.about)


def is_complete(stores: Stores, version: Version) -> bool:
    """Whether people have said all that a card needs."""
    record = described_of(stores, version)
    return record is not None and not record.described.missing


def check_card(stores: Stores, version: Version) -> None:
    """Return when people have said all that a card needs. Raises: PolicyError `card-incomplete`; VerificationError."""
    record = described_of(stores, version)
    missing = (record.described if record else Described()).missing
    if missing:
        name = f"{version.about.name}@{version.number}"
        raise PolicyError(
            f"strict asks for a whole card, and that of {name} does not say {', '.join(missing)}: "
            f"casemate model describe {name} FILE (casemate model describe --template > FILE).",
            code="card-incomplete",
            details={"missing": list(missing)},
        )


def card_of(stores: Stores, version: Version) -> dict[str, Any]:
    """All that is known of a model version: plain JSON values, never one of the training data.

    Raises: VerificationError: what is signed does not verify.
    """
    pusher, manifest = verified_pusher(stores, version), version.read_manifest()
    record = described_of(stores, version)
    described = record.described if record else Described()
    signature = manifest.signature
    return {
        "name": version.about.name,
        "version": version.number,
        "digest": version.digest,
        "data_class": version.data_class,
        "pushed_by": pusher,
        "pushed_at": version.created_at,
        "format": manifest.facts.get("format", ""),
        "served": manifest.facts.get("served"),
        "inputs": _tensors(signature.inputs) if signature else [],
        "outputs": _tensors(signature.outputs) if signature else [],
        "files": {path: msgspec.to_builtins(entry) for path, entry in sorted(manifest.files.items())},
        "described": msgspec.to_builtins(described),
        "described_by": record.by if record else "",
        "described_at": record.at if record else "",
        "missing": list(described.missing),
        "complete": not described.missing,
        "made_from": lineage_tree(stores, Ref(version.about.name, version.number, version.about.project))["from"],
        "provenance": provenance_of(manifest.lineage),
        "conversion": conversion_facts(stores, version),
        "environment": manifest.facts.get("environment"),
        "run": (training_facts(stores, version) or {}).get("run"),
        "scan": _scan(stores, version),
        "evaluation": evaluation_standing(stores, version).summary(),
        "approvals": [approval.summary() for approval in approvals_of(stores, version)],
        "revoked": is_revoked(stores, version),
    }


def _tensors(specs: Any) -> list[dict[str, Any]]:
    """Names, types and shapes; ranges are of the training data."""
    return [{"name": spec.name, "datatype": spec.datatype, "shape": list(spec.shape)} for spec in specs]


def _scan(stores: Stores, version: Version) -> dict[str, Any]:
    envelope = signed_version(stores, version).attestations[Predicate.SCAN]
    said = verify_statement(envelope, Predicate.SCAN, version.about, trust=stores.trust(), at=stores.clock.now())
    return {name: said.facts.get(name) for name in ("verdict", "findings", "scanned_at")}


def _fold(last: dict[VersionIdentity, CardRecord], entries: list[LedgerEntry]) -> dict[VersionIdentity, CardRecord]:
    found = dict(last)
    for entry in entries:
        try:
            record = msgspec.convert(entry.body, CardRecord)
        except msgspec.ValidationError as error:
            raise unreadable(entry.kind, entry.number) from error
        found[record.about] = msgspec.structs.replace(record, at=entry.at)
    return found
