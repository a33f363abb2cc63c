"""What must hold before a version answers under a name. The control plane, the gateway and the keeper ask the same."""

from __future__ import annotations

from casemate.core import (
    AssetKind,
    Environment,
    PolicyError,
    Profile,
    Ref,
    VerificationError,
    parse_rfc3339,
)
from casemate.registry.approvals import Approval, approvals_of, check_statement
from casemate.registry.approvers import APPROVALS, Approvers
from casemate.registry.deployments_state import strict_before
from casemate.registry.ended import Ended, ended_of
from casemate.registry.own_approvals import check_own
from casemate.registry.revocations import check_not_revoked
from casemate.registry.stores import Stores
from casemate.registry.versions import Version, find_version
from casemate.signing import VersionIdentity


def admitted(stores: Stores, name: str, about: VersionIdentity, environment: Environment, profile: Profile) -> Version:
    """The version `about`, which may serve now as `name`: its record is unaltered, not revoked, and approved.

    Raises: PolicyError `open-outside-dev`, `strict-stays`, `not-approved`; NotFoundError; VerificationError.
    """
    if profile is Profile.OPEN and environment is not Environment.DEV:
        raise PolicyError(
            f"The profile open takes walls down, and is refused in {environment}: use standard or strict.",
            code="open-outside-dev",
        )
    _check_strict_stays(stores, name, environment, profile)
    version = find_version(stores, AssetKind.MODEL, Ref(about.name, about.number, about.project))
    if version.about != about:
        raise VerificationError(
            f"{about} is not the version that was deployed: its record was altered.", code="digest-mismatch"
        )
    check_not_revoked(stores, version)
    check_approved(stores, version, environment, profile)
    return version


def check_approved(stores: Stores, version: Version, environment: Environment, profile: Profile) -> None:
    """Return when `version` has the approvals for `environment` that `profile` needs, each verified now.

    Raises: PolicyError `not-approved`; VerificationError: an approval is recorded, and its statement does not verify.
    """
    recorded = [approval for approval in approvals_of(stores, version) if approval.environment is environment]
    name = f"{version.about.name}@{version.number}"
    if not recorded:
        raise PolicyError(
            f"{name} is not approved for {environment}: casemate model approve {name} --environment {environment}",
            code="not-approved",
        )
    if profile is not Profile.STRICT:
        check_statement(stores, version, recorded[-1])
        return
    needed, signed = APPROVALS[profile], people_who_signed(stores, version, environment)
    if len(signed) < needed:
        raise PolicyError(
            f"{name} has {len(signed)} of the {needed} approvals for {environment} that strict needs, each by another "
            f"person and signed with their own key: casemate model approve {name} --environment {environment} --key FILE",
            code="not-approved",
            details={"signed_by": sorted(signed), "needed": needed},
        )


def people_who_signed(stores: Stores, version: Version, environment: Environment) -> set[str]:
    """Ids of those whose own signature under an approval of `version` counts now; never of who pushed it.

    Raises: StorageError: nobody can say whose keys are pinned; VerificationError.
    """
    recorded = [approval for approval in approvals_of(stores, version) if approval.environment is environment]
    signed = [one for one in recorded if one.own and not one.self_approved]
    if not signed:
        return set()
    approvers, ended = stores.approvers(), ended_of(stores)
    return {one.approver for one in signed if _counts(stores, approvers, ended, version, one)}


def _counts(stores: Stores, approvers: Approvers, ended: Ended, version: Version, approval: Approval) -> bool:
    about, who, at = version.about, approval.approver, parse_rfc3339(approval.at)
    try:
        check_statement(stores, version, approval)
        pin = check_own(approvers, approval.own, about, approval.environment, who, at=at, ended=ended)
    except VerificationError:
        return False
    return stores.clock.now() < pin.until


def _check_strict_stays(stores: Stores, name: str, environment: Environment, profile: Profile) -> None:
    """Whoever writes the ledger alone cannot take a deployment out of `strict`."""
    before = strict_before(stores, name)
    if not before:
        return
    relaxed = stores.approvers().relaxed.get(name, 0)
    for where, number in before.items():
        if number > relaxed and not (profile is Profile.STRICT and environment is where):
            raise PolicyError(
                f"{name} was deployed as strict in {where}, and stays so until somebody with the home's keys says "
                f"otherwise, on its machine: casemate approver relax {name}",
                code="strict-stays",
            )
