"""Where a home lies, kept beside its keys: one that was copied is not taken for the original.

A copy that went on by itself would carry the kept head and checkpoint with it, and the original would never open again.
"""

from __future__ import annotations

import os
from pathlib import Path

import msgspec

from casemate.core import StorageError, VerificationError
from casemate.keys import read_private, write_private
from casemate.storage.home import Home

_FILE = "place.json"


class Place(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """A folder: its path without links, and what the kernel knows it by, which a copy does not share."""

    path: str
    device: int
    inode: int


class _Named(msgspec.Struct):
    id: str


class KeptPlace:
    """The place on record of one home, against the one where it lies now."""

    def __init__(self, home: Home, keys: Path) -> None:
        """Args: keys: the folder of this home's keys. Raises: StorageError: the record is broken, or open to others."""
        self._id, self._file = home.id, keys / _FILE
        self.here = _place_of(home.path)
        self.before = _kept(self._file)

    @property
    def is_copy(self) -> bool:
        """Whether the home on record is still where it was, and is not this one."""
        before = self.before
        return before is not None and not self._is_same and before.path != self.here.path and self._is_there(before)

    @property
    def has_moved(self) -> bool:
        """Whether the home on record was another folder."""
        return self.before is not None and not (self._is_same and self.before.path == self.here.path)

    @property
    def _is_same(self) -> bool:
        before = self.before
        if before is None:
            return False
        if (before.device, before.inode) == (self.here.device, self.here.inode):
            return True
        return before.path == self.here.path and before.inode == self.here.inode  # disks are numbered anew at a start

    def _is_there(self, before: Place) -> bool:
        try:
            about = (Path(before.path) / "home.json").read_bytes()
            return msgspec.json.decode(about, type=_Named).id == self._id
        except (FileNotFoundError, NotADirectoryError):
            return False
        except (OSError, msgspec.DecodeError):  # nobody can tell, so it may be there
            return True

    def check(self) -> None:
        """Raises: VerificationError `home-copied`: this is a copy of a home that is still there."""
        if self.is_copy and self.before is not None:
            raise VerificationError(
                f"{self.here.path} is a copy of {self.before.path}, which goes on: look into it with casemate audit "
                "verify, log, prove or export, which write nothing; to go on with this one for good, move "
                f"{self.before.path} away or run casemate --home {self.here.path} home adopt.",
                code="home-copied",
            )

    def keep(self) -> None:
        """From now on this home is the one on record. Raises: OSError."""
        if self.here != self.before:
            write_private(self._file, msgspec.json.encode(self.here))
            self.before = self.here


def _place_of(path: Path) -> Place:
    real = os.path.realpath(path)
    status = Path(real).stat()
    return Place(os.fsencode(real).decode(errors="backslashreplace"), status.st_dev, status.st_ino)


def _kept(file: Path) -> Place | None:
    if not file.exists():
        return None
    try:
        return msgspec.json.decode(read_private(file), type=Place)
    except msgspec.DecodeError as error:
        raise StorageError(
            f"{file}, which says where this home lies, is broken: restore it from its copy.", code="key-file-broken"
        ) from error
