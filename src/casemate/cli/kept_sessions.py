"""Where the command line keeps the sessions of its user: one file for each server, 0600, beside their other settings."""

from __future__ import annotations

import hashlib
import os
import sys
from pathlib import Path

import click
import msgspec

from casemate.core import StepUpError
from casemate.keys import make_private_folder, read_private, write_private


class KeptSession(msgspec.Struct, frozen=True, kw_only=True):
    """Args: token: empty once signed out. device: what lets this machine in while strangers guess; it stays."""

    server: str
    name: str
    token: str
    device: str
    expires_at: str

    def __repr__(self) -> str:
        return f"KeptSession(server={self.server!r}, name={self.name!r})"


def load_session(server: str) -> KeptSession | None:
    """What is kept for a server; None if nothing, or nothing that can be read. Raises: StorageError: open to others."""
    path = _path(server)
    if not path.exists():
        return None
    try:
        return msgspec.json.decode(read_private(path), type=KeptSession)
    except msgspec.DecodeError:
        return None


def keep_session(kept: KeptSession) -> None:
    make_private_folder(_path(kept.server).parent)
    write_private(_path(kept.server), msgspec.json.encode(kept))


class AskForCode:
    """Asks on the terminal for a fresh second factor, once for each command."""

    def __init__(self, kept: KeptSession | None) -> None:
        self._kept = kept

    def code(self) -> str:
        """Raises: StepUpError: nobody sits at a terminal."""
        if not sys.stdin.isatty():
            raise StepUpError(
                "This wants a fresh second factor, and there is no terminal to ask for it: run casemate login --verify "
                "on one, and repeat this within 5 minutes."
            )
        return ask_code()

    def keep(self, token: str) -> None:
        if self._kept is not None:
            keep_session(msgspec.structs.replace(self._kept, token=token))


def ask_code() -> str:
    return str(click.prompt("Code of your second factor", err=True)).strip()


def _path(server: str) -> Path:
    base = os.environ.get("XDG_CONFIG_HOME") or Path.home() / ".config"
    named = hashlib.sha256(server.rstrip("/").lower().encode()).hexdigest()[:32]
    return Path(base) / "casemate" / "sessions" / f"{named}.json"
