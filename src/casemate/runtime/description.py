"""What a model takes and gives, learned by loading it once behind the walls."""

from __future__ import annotations

from collections.abc import Mapping

from casemate.core import SealedFile, Signature
from casemate.runtime.startup import WORKER_LIMITS, start_worker
from casemate.sandbox import Limits


def describe(
    files: Mapping[str, SealedFile],
    *,
    limits: Limits = WORKER_LIMITS,
    timeout: float = 60.0,
    insecure: bool = False,
) -> Signature:
    """Load `files` in a short confined worker, predict on zeros, and return the model's own signature.

    Raises: VerificationError: the model is at fault; its code serves as the id of a finding.
        SandboxError: it crashed, hung or outgrew its limits, or the walls are missing.
    """
    started = start_worker(files, limits=limits, timeout=timeout, insecure=insecure)
    with started.cell:
        return started.signature
