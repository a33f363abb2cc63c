"""Tokens that count once: which were used, until they have ended. One file, so that it holds for every gateway.

What was spent stays so over a restart: a line is durable before the token counts.
"""

from __future__ import annotations

import hashlib
import os
import threading
from collections.abc import Callable
from pathlib import Path

from casemate.core import AuthError, LimitError, StorageError
from casemate.keys.files import read_private, write_private

MOST = 200_000  # tokens kept, 80 bytes each on disk: 2 a second for a day
MAX_LIFE = 90_000  # s; nothing that counts once lives for longer than a day, with an hour for clocks
_FILE = "spent.txt"
_TIDY = 1000  # lines of tokens that have ended, before the file is written anew


class SpentTokens:
    """Args: now: seconds since 1970."""

    def __init__(self, folder: Path, *, now: Callable[[], float]) -> None:
        """Raises: StorageError: the file is broken, or others may read it."""
        self._path, self._now = folder / _FILE, now
        self._lock = threading.Lock()
        self._spent = _load(self._path)  # digest -> until, s since 1970
        self._lines = len(self._spent)
        if self._path.exists():
            self._write()  # without what a crash cut off, so that the next line begins on its own

    def spend(self, name: str, until: int) -> None:
        """Use a token up. Args: name: of its issuer and itself. until: when it ends, s since 1970.

        Raises: AuthError `token-replayed`: it was used before; `bad-token`: it would live for too long to be kept.
        """
        now = self._now()
        if until > now + MAX_LIFE:
            raise AuthError("This token lives for too long to count once: ask for a shorter one.", code="bad-token")
        digest = hashlib.sha256(name.encode("utf-8", "surrogatepass")).hexdigest()
        with self._lock:
            if self._spent.get(digest, 0) >= now:
                raise AuthError(
                    "This token was used before, and counts once: ask for a new one.", code="token-replayed"
                )
            self._tidy(now)
            if len(self._spent) >= MOST:
                raise LimitError("Too many tokens that count once: come back later.", retry_after=60.0, code="too-busy")
            self._append(f"{digest} {until}\n")
            self._spent[digest] = until

    def _append(self, line: str) -> None:
        fd = os.open(self._path, os.O_WRONLY | os.O_APPEND | os.O_CREAT | os.O_CLOEXEC, 0o600)
        try:
            os.write(fd, line.encode())
            os.fdatasync(fd)
        finally:
            os.close(fd)
        self._lines += 1

    def _tidy(self, now: float) -> None:
        ended = [digest for digest, until in self._spent.items() if until < now] if self._lines % 64 == 0 else []
        for digest in ended:
            del self._spent[digest]
        if self._lines - len(self._spent) >= _TIDY:
            self._write()

    def _write(self) -> None:
        write_private(self._path, "".join(f"{name} {until}\n" for name, until in self._spent.items()).encode())
        self._lines = len(self._spent)


def _load(path: Path) -> dict[str, int]:
    """A line that a crash cut off was of a token that did not count yet."""
    if not path.exists():
        return {}
    whole = read_private(path).decode(errors="replace").rpartition("\n")[0]
    try:
        found = {name: int(until) for name, until in (line.split() for line in whole.splitlines())}
    except ValueError as error:
        raise StorageError(
            f"The file {path} is broken: restore it, or delete it once every token of the last day has ended.",
            code="key-file-broken",
        ) from error
    return found
