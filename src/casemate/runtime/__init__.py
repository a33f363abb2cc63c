"""What runs foreign code: models as workers behind the walls, and training scripts.

    pool = Pool(sink=events, clock=clock)
    served = await pool.replace("diagnosis", verified)  # up, warm, then switched to
    outputs = await served.infer({"X": rows}, batchable=True)

    signature = describe(files, report.served)  # at push: loads once, confined
    result = run_training(script, dataset_files, params={"C": 1.0})
    findings = findings_of(result)

Names load when first used: the modules that run inside the sandbox lie in this room too, and start without the rest.
"""

from __future__ import annotations

import importlib
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from casemate.runtime.description import check_serves, describe
    from casemate.runtime.gpus import find_gpus
    from casemate.runtime.live import LiveModel
    from casemate.runtime.pool import Pool, PoolConfig
    from casemate.runtime.queried import QueriedModel
    from casemate.runtime.reach import Reach, parse_host
    from casemate.runtime.scratch import clean_scratch
    from casemate.runtime.training import TrainingResult, run_training
    from casemate.runtime.training_findings import findings_of
    from casemate.runtime.training_limits import TRAINING_LIMITS, asked_limits, limits_of, told_limits

__all__ = [
    "TRAINING_LIMITS",
    "LiveModel",
    "Pool",
    "PoolConfig",
    "QueriedModel",
    "Reach",
    "TrainingResult",
    "asked_limits",
    "check_serves",
    "clean_scratch",
    "describe",
    "find_gpus",
    "findings_of",
    "limits_of",
    "parse_host",
    "run_training",
    "told_limits",
]

_HOMES = {
    "TRAINING_LIMITS": "training_limits",
    "LiveModel": "live",
    "Pool": "pool",
    "PoolConfig": "pool",
    "QueriedModel": "queried",
    "Reach": "reach",
    "TrainingResult": "training",
    "asked_limits": "training_limits",
    "check_serves": "description",
    "clean_scratch": "scratch",
    "describe": "description",
    "find_gpus": "gpus",
    "findings_of": "training_findings",
    "limits_of": "training_limits",
    "parse_host": "reach",
    "run_training": "training",
    "told_limits": "training_limits",
}


def __getattr__(name: str) -> Any:
    if name not in _HOMES:
        raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
    return getattr(importlib.import_module(f"{__name__}.{_HOMES[name]}"), name)
