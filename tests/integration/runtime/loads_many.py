"""Runs in the sandbox: loads boosters that a scan let through, and predicts with each. A crash of the library ends the process."""

from __future__ import annotations

from casemate.core.wire import Frame
from casemate.runtime import model_lightgbm, model_xgboost
from casemate.runtime.worker import Files, warm_up

LOADERS = {"xgboost": model_xgboost.load, "lightgbm": model_lightgbm.load}


def main(frame: Frame) -> Frame:
    """message: [runtime, ...], a descriptor each. Answer: how many loaded, and how many raised."""
    loaded = raised = 0
    for runtime, fd in zip(frame.message, frame.fds, strict=True):
        try:
            warm_up(LOADERS[runtime](Files("m", {"m": fd}, 1)))
            loaded += 1
        except Exception:
            raised += 1
    return Frame({"loaded": loaded, "raised": raised})
