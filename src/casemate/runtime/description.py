"""What a model takes and gives, learned by loading it once behind the walls."""

from __future__ import annotations

from collections.abc import Mapping

from casemate.core import SealedFile, Signature
from casemate.runtime.formats import is_servable
from casemate.runtime.startup import WORKER_LIMITS, start_worker
from casemate.sandbox import Limits


def describe(
    files: Mapping[str, SealedFile],
    *,
    limits: Limits = WORKER_LIMITS,
    timeout: float = 60.0,
    insecure: bool = False,
) -> Signature | None:
    """Load `files` in a short confined worker, predict on zeros, and return the model's own signature.

    None when no file is of a format that a runtime loads: it may be kept, and cannot be deployed.

    Raises: VerificationError: the model is at fault; its code serves as the id of a finding.
        SandboxError: it crashed, hung or outgrew its limits, or the walls are missing.
    """
    if not is_servable(files):
        return None
    started = start_worker(files, limits=limits, timeout=timeout, insecure=insecure)
    with started.cell:
        return started.signature
