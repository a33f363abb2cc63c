"""The pinned keys of approvers, in the folder of the keeper's keys: written on its machine, read by the keeper alone.

`approvers.json`: `registry.Approvers`. `approvers.txt`: the digest of the newest content that is in the audit log.
"""

from __future__ import annotations

import fcntl
import os
import threading
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import msgspec

from casemate.core import Event, InputError, StorageError, SystemClock, canonical, digest_of, new_id, rfc3339
from casemate.iam import local_owner
from casemate.keys import KeptText, read_private, write_private
from casemate.registry import Approvers

CHANGED = "approvers"


class ApproversFile:
    """Args: folder: of the keeper's keys."""

    def __init__(self, folder: Path, home_id: str) -> None:
        self._path, self._home = folder / "approvers.json", home_id
        self._noted = KeptText(folder / "approvers.txt")
        self._noting = threading.Lock()

    def read(self) -> Approvers:
        """None pinned before the first. Raises: StorageError `key-file-broken`, `open-to-others`."""
        if not self._path.exists():
            return Approvers(home=self._home)
        try:
            found = msgspec.json.decode(read_private(self._path), type=Approvers)
            whole = len({one.keyid for one in found.pinned}) == len(found.pinned)
        except (msgspec.DecodeError, InputError) as error:
            raise self._broken() from error
        if not whole:  # one key of two people would be whose it is by chance
            raise self._broken()
        if found.home != self._home:
            raise StorageError(f"The file {self._path} is of another home.", code="key-file-broken")
        return found

    def _broken(self) -> StorageError:
        return StorageError(f"The file {self._path} is broken: restore it from its copy.", code="key-file-broken")

    @contextmanager
    def changing(self) -> Iterator[Callable[[Approvers], None]]:
        """Write what replaces what was read here; one at a time, and the keeper sees all of it or nothing."""
        folder = os.open(self._path.parent, os.O_RDONLY | os.O_DIRECTORY | os.O_CLOEXEC)
        try:
            fcntl.flock(folder, fcntl.LOCK_EX)
            yield lambda approvers: write_private(self._path, canonical(approvers))
        finally:
            os.close(folder)

    def note(self, append: Callable[[list[Event]], None], clock: SystemClock) -> Approvers:
        """What is pinned, once it is in the audit log. Args: append: as an EventSink. Raises: as `read`, `append`."""
        with self._noting:
            found = self.read()
            digest = digest_of(canonical(found))
            if digest != (self._noted.read() or digest_of(canonical(Approvers(home=self._home)))):
                append([_event(found, self._owner(), clock)])
                self._noted.write(digest)
            return found

    def _owner(self) -> int:
        """Whose the file is; of the folder, where it was taken away."""
        where = self._path if self._path.exists() else self._path.parent
        return where.stat().st_uid


def _event(approvers: Approvers, uid: int, clock: SystemClock) -> Event:
    facts: dict[str, Any] = {
        "pinned": [
            {"person": one.person, "name": one.name, "key": one.keyid, "until": rfc3339(one.until)}
            for one in approvers.pinned
        ],
        "relaxed": approvers.relaxed,
    }
    return Event(
        id=new_id("evt"),
        at=rfc3339(clock.now()),
        kind=CHANGED,
        actor=local_owner(uid).id,
        outcome="done",
        reason="whose own signatures count was changed on the keeper's machine",
        facts=facts,
    )
