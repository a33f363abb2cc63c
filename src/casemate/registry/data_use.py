"""What a version's data may be used for: its class, and the purposes it may be trained on for, as signed."""

from __future__ import annotations

from collections.abc import Sequence

import msgspec

from casemate.core import (
    AssetKind,
    CasemateError,
    DataClass,
    InputError,
    NotFoundError,
    PolicyError,
    Ref,
    checked_data_class,
    checked_name,
    data_class_of,
)
from casemate.registry.stores import Stores
from casemate.registry.verification import signed_manifest
from casemate.registry.versions import Manifest, Version, find_version

ANY = "any"  # stated at a push: no purpose is ruled out
MAX_PURPOSES = 20


class DataUse(msgspec.Struct, frozen=True, kw_only=True):
    """Args: purposes: that are allowed; empty: all are."""

    data_class: DataClass = DataClass.INTERNAL
    purposes: tuple[str, ...] = ()

    def allows(self, purpose: str) -> bool:
        return not self.purposes or purpose in self.purposes

    def is_wider_than(self, other: DataUse) -> bool:
        """Whether data of this kind may be used where the other's may not."""
        more = bool(other.purposes) and not (self.purposes and set(self.purposes) <= set(other.purposes))
        return self.data_class.rank < other.data_class.rank or more


_STRICTEST = DataUse(data_class=DataClass.HEALTH)  # of what cannot be verified


def use_in(manifest: Manifest) -> DataUse:
    """What a manifest says; the caller knows that it was signed."""
    return DataUse(data_class=data_class_of(manifest.data_class), purposes=manifest.purposes)


def signed_use(stores: Stores, version: Version) -> DataUse:
    """As the manifest says that a trusted signer released. Raises: VerificationError."""
    return use_in(signed_manifest(stores, version))


def use_of_newest(stores: Stores, kind: AssetKind, name: str) -> DataUse | None:
    """Of the newest live version; None where there is none, the strictest where it does not verify."""
    try:
        version = find_version(stores, kind, Ref(name))
    except NotFoundError:
        return None
    try:
        return signed_use(stores, version)
    except CasemateError:
        return _STRICTEST


def stated_use(before: DataUse | None, data_class: str, purposes: Sequence[str]) -> DataUse:
    """What a push states. What it leaves out is as it was; of a first version, `internal` and any purpose.

    Raises: InputError `bad-data-class`, `bad-name`, `too-many-purposes`.
    """
    known = before or DataUse()
    stated = tuple(sorted({checked_name(one, what="purpose") for one in purposes}))
    if len(stated) > MAX_PURPOSES:
        raise InputError(f"A dataset states at most {MAX_PURPOSES} purposes.", code="too-many-purposes")
    return DataUse(
        data_class=checked_data_class(data_class) if data_class else known.data_class,
        purposes=known.purposes if not stated else () if ANY in stated else stated,
    )


def anonymous_use(
    source: DataUse, before: DataUse | None, data_class: str, purposes: Sequence[str]
) -> tuple[DataUse, bool]:
    """What is stated of a dataset that is made anonymous, and whether it may be used where its source may not, or its newest version.

    What is left out is as it was, or as of the source. Args: before: its newest version; None: it has none. Raises: as `stated_use`.
    """
    use = stated_use(before or source, data_class, purposes)
    return use, use.is_wider_than(source) or (before is not None and use.is_wider_than(before))


def check_purpose(use: DataUse, purpose: str, about: object) -> None:
    """Raises: PolicyError `purpose-not-allowed`."""
    if not use.allows(purpose):
        said = f"for {purpose}" if purpose else "without a stated purpose"
        raise PolicyError(
            f"{about} may not be trained on {said}: its purposes are {', '.join(use.purposes)}. "
            "State one: casemate train --purpose.",
            code="purpose-not-allowed",
        )
