"""Bytes as the sandbox's side of a conversion sees them, without a sandbox: for properties over very many files."""

from __future__ import annotations

from typing import Any

from casemate.core.wire import Frame
from casemate.scanning.asked_file import AskedFile


def held(data: bytes) -> AskedFile:
    """A file that asks nobody."""

    def answer(message: Any, buffers: Any = ()) -> Frame:
        offset, size = message["read"]
        return Frame(None, [bytearray(data[offset : offset + size])])

    return AskedFile(answer, len(data))  # type: ignore[arg-type]
