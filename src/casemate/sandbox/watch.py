"""Which refused attempts a confined process made (seccomp user notification)."""

from __future__ import annotations

import msgspec


class Denial(msgspec.Struct, frozen=True):
    """One attempt that the walls refused.

    Args:
        kind: `open`, `socket`, `exec`, `fork`, `ptrace`, `signal` or `kernel`.
        target: The path as the program named it, made absolute; or e.g. `AF_INET stream`; or the system call's name.
        mode: `read` or `write` for `open`, else empty.
    """

    kind: str
    target: str
    mode: str = ""
