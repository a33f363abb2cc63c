"""Whether a person approved exactly what a change would serve: what a robot that answers no second factor needs."""

from __future__ import annotations

from collections.abc import Callable

from casemate.core import AssetKind, CasemateError, Digest, Environment, NotFoundError, Ref
from casemate.registry.approvals import approvals_of, check_statement
from casemate.registry.stores import Stores
from casemate.registry.versions import find_version


def human_approval(
    stores: Stores, ref: Ref, environment: Environment, is_person: Callable[[str], bool]
) -> tuple[Digest | None, bool]:
    """The digest that `ref` means now, and whether a person's approval of it, for `environment`, verifies now.

    Args: is_person: whether an approver's id is a person's and no service's. Returns: (None, False) for no version.
    """
    try:
        version = find_version(stores, AssetKind.MODEL, ref)
    except NotFoundError:
        return None, False
    for approval in approvals_of(stores, version):
        if approval.environment is environment and is_person(approval.approver):
            try:
                check_statement(stores, version, approval)
            except CasemateError:
                continue
            return version.digest, True
    return version.digest, False
