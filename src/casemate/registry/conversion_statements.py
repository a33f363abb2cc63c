"""What this home signed of a conversion that it did: read for whoever asks about a version."""

from __future__ import annotations

from typing import Any

import msgspec

from casemate.core import CasemateError
from casemate.registry.stores import Stores
from casemate.registry.versions import Version, signed_version
from casemate.signing import RUN, verify_conversion


def conversion_facts(stores: Stores, version: Version) -> dict[str, Any] | None:
    """What the signed statement of its conversion says, with `by`, `began` and `ended`; None where this home did none.

    Raises: VerificationError `conversion-missing`, `conversion-mismatch`, and as `verify_statement`.
    """
    if version.read_manifest().conversion is None:
        return None
    said = verify_conversion(signed_version(stores, version), trust=stores.trust(), at=stores.clock.now())
    facts = dict(said.facts)
    return {**facts.pop(RUN, {}), **facts}


def conversion_shown(stores: Stores, version: Version) -> dict[str, Any] | None:
    """The same, `attested`; where it does not verify, what the version's row says, and the `problem`: it is worth nothing then."""
    conversion = version.read_manifest().conversion
    if conversion is None:
        return None
    try:
        return {"attested": True, **(conversion_facts(stores, version) or {})}
    except CasemateError as error:
        told: dict[str, Any] = msgspec.to_builtins(conversion)
        return {"attested": False, "problem": error.code, **told}
