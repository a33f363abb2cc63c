"""Places for acts that hold a thread for as long as a client sends, a model loads or runs, or bytes are read: few, so that
short ones always find one."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterator
from contextlib import contextmanager
from enum import StrEnum

from casemate.core import LimitError

LONG_ACTS = 4  # at once from one side; a tenth of the 40 threads that answer routes, and a scan takes a core and 2 GiB
_EACH = LONG_ACTS - 1  # by one principal at once: whoever holds a key cannot keep all others out
_RETRY = 10.0  # seconds; the smallest pushes and checks take about that


class Long(StrEnum):
    """Kinds of long acts, as a refusal names them. Each has places of its own: none keeps another kind out."""

    BYTES = "uploads, downloads, runs and checks"
    SWITCH = "deployments and resumptions"
    FOLLOW = "live logs"  # beside the runs that they follow
    ROLLBACK = "rollbacks"  # the way out must not wait for whoever fills the ways in


class Places:
    """Who is at a long act of one kind. The home's owner, on the home's own socket, has places apart from all keys together.

    Belongs to one event loop.
    """

    def __init__(self, kind: Long = Long.BYTES) -> None:
        self._kind = kind
        self._taken: Counter[tuple[bool, str]] = Counter()

    @contextmanager
    def take(self, who: str, *, owner: bool) -> Iterator[None]:
        """Hold a place until the context ends. Raises: LimitError `too-busy`, at once."""
        side = sum(count for (local, _), count in self._taken.items() if local is owner)
        most = LONG_ACTS if owner else _EACH
        if side >= LONG_ACTS or self._taken[owner, who] >= most:
            raise LimitError(
                f"At most {LONG_ACTS} {self._kind} go on at once, {most} of them yours: come back when one has ended.",
                retry_after=_RETRY,
                code="too-busy",
            )
        self._taken[owner, who] += 1
        try:
            yield
        finally:
            self._taken[owner, who] -= 1
            if not self._taken[owner, who]:
                del self._taken[owner, who]
