"""The confined side of a scan: `main` is the only entry."""

from __future__ import annotations

from casemate.core.wire import Frame


def main(frame: Frame) -> Frame:
    raise NotImplementedError
