"""The confined side, with Presidio loaded before the last wall."""

from __future__ import annotations

from casemate.core.wire import Frame
from casemate.privacy.job import work
from casemate.privacy.second_opinion import SecondOpinion

_OPINION = SecondOpinion()


def main(frame: Frame) -> Frame:
    """As `casemate.privacy.job.main`, asking Presidio too."""
    return work(frame, _OPINION)
