"""Which version a screening compares with: the last that people approved, whose labels are believed."""

from __future__ import annotations

from casemate.core import AssetKind, InputError, Ref
from casemate.registry.approvals import approvals_of
from casemate.registry.datasets import Datasets
from casemate.registry.screening_records import ScreeningSettings, ScreeningState, standing_of
from casemate.registry.stores import Stores
from casemate.registry.versions import Version, list_versions


def stated_former(datasets: Datasets, version: Version, against: Ref) -> Version:
    """The version that somebody named. Raises: NotFoundError; InputError `screen-former`."""
    former = datasets.find(against)
    if former.about.name != version.about.name or former.number == version.number:
        raise InputError("Compare with another version of the same dataset.", code="screen-former")
    return former


def former_of(stores: Stores, version: Version) -> Version | None:
    """The newest earlier version that a person judged fine, or from which a model was made that somebody else than its
    pusher approved; never one that is suspect. None where there is none.

    Raises: VerificationError.
    """
    approved = _trained_and_approved(stores)
    for earlier in reversed(list_versions(stores, AssetKind.DATASET, version.about.name)):
        if earlier.number >= version.number:
            continue
        state = standing_of(stores, earlier).state
        if state is ScreeningState.APPROVED or (state is not ScreeningState.SUSPECT and earlier.digest in approved):
            return earlier
    return None


def is_comparable(datasets: Datasets, version: Version, former: Version, settings: ScreeningSettings) -> bool:
    """Whether the former version has all that is compared. Raises: VerificationError."""
    apart = {settings.contributor, settings.time}
    first, second = (
        {one["name"]: one["type"] for one in datasets.read_schema(version)["columns"]} for version in (former, version)
    )
    return all(first.get(name) == kind for name, kind in second.items() if name not in apart)


def _trained_and_approved(stores: Stores) -> set[str]:
    """Digests of datasets."""
    found: set[str] = set()
    for model in list_versions(stores, AssetKind.MODEL):
        lineage = model.read_manifest().lineage
        if lineage and lineage.dataset and any(not one.self_approved for one in approvals_of(stores, model)):
            found.add(lineage.dataset.digest)
    return found
