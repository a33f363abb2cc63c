"""What a model takes and gives, learned by loading it once behind the walls."""

from __future__ import annotations

from collections.abc import Mapping

from casemate.core import SealedFile, ServedFile, Signature
from casemate.runtime.startup import WORKER_LIMITS, check_told, checked_served, start_worker
from casemate.sandbox import Limits
from casemate.signing import VerifiedModel


def describe(
    files: Mapping[str, SealedFile],
    served: ServedFile | None,
    *,
    limits: Limits = WORKER_LIMITS,
    timeout: float = 60.0,
    insecure: bool = False,
) -> Signature | None:
    """Load `served`, as the scan found it, in a short confined worker, predict on zeros, and return the model's own signature.

    None when the scan found nothing that a runtime loads: it may be kept, and cannot be deployed.

    Raises: VerificationError: the model is at fault; its code serves as the id of a finding.
        SandboxError: it crashed, hung or outgrew its limits, or the walls are missing.
    """
    if served is None:
        return None
    started = start_worker(files, served, limits=limits, timeout=timeout, insecure=insecure)
    with started.cell:
        return started.signature


def check_serves(model: VerifiedModel, *, insecure: bool = False) -> None:
    """The model does all that a gateway wants of it before it switches: a runtime loads it, and it answers as signed.

    Raises: VerificationError: as a gateway's worker: `model-format`, `signature-mismatch`, and as `describe`.
        SandboxError: as `describe`.
    """
    served = checked_served(model.about, model.served)
    loaded = describe(model.files, served, insecure=insecure)
    assert loaded is not None, "there is a file to load"
    check_told(model.about, model.signature, loaded)
