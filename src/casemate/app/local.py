"""A home of one's own: made, and served to one command when no server runs."""

from __future__ import annotations

import asyncio
import sqlite3
import tempfile
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import msgspec
import uvloop

from casemate.app.control import build_services, serve_console
from casemate.app.ground import LocalKeeper, checkpoint_key, keys_folder, open_ground, origin_of
from casemate.app.keeper import open_keeper
from casemate.auditlog import LogReader, verify_log
from casemate.console import Services
from casemate.core import ConflictError, SystemClock
from casemate.core.wire import is_served, listen
from casemate.keys import Keeper, Purpose, init_keys, init_tls, write_private
from casemate.settings import Settings
from casemate.signing import initial_trust
from casemate.storage import Home, HomeLock, create_home, create_state_key, open_database, open_home

SOCKET = "control.sock"


def init_home(settings: Settings) -> dict[str, Any]:
    """Make a home, its keys and its certificates; what is there stays. Works beside a running server, too.

    Raises: StorageError.
    """
    now = SystemClock().now()
    home = create_home(settings.home, now=now)
    folder = keys_folder(settings, home)
    try:
        with HomeLock(home.path):
            init_keys(folder)
            init_tls(home.tls, folder / "tls", now=now)
            _found(settings, home)
    except ConflictError:  # it is being served, so it was made whole before
        if not (home.public / "release.pem").exists():
            raise
    return {
        "home": str(home.path),
        "id": home.id,
        "keys": str(folder),
        "ca": str(home.tls / "ca.pem"),
        "created_at": home.created_at,
    }


def _found(settings: Settings, home: Home) -> None:
    """The first entries of the signed state: whom this home trusts to sign."""
    keys = Keeper(keys_folder(settings, home))
    create_state_key(home.path, home.id, keys)
    for purpose in Purpose:
        write_private(home.public / f"{purpose}.pem", keys.public_pem(purpose))
    keeper = LocalKeeper(settings, home)
    ground = open_ground(settings, keeper, read_only=False)
    if not ground.ledger.entries():
        keeper.commit([("trust", dict(initial_trust(keys.public_pem(Purpose.RELEASE))))], "init")
    ground.engine.dispose()


@contextmanager
def control_socket(settings: Settings) -> Iterator[Path]:
    """The path of a socket on which this home's control plane answers: the running server's, or one of our own.

    Raises: NotFoundError `no-home`; ConflictError `home-locked`; StorageError; VerificationError.
    """
    home = open_home(settings.home)
    if is_served(home.run / SOCKET):
        yield home.run / SOCKET
        return
    with HomeLock(home.path):
        keeper = open_keeper(settings, home)
        ground = open_ground(settings, keeper, read_only=False)
        with serving(home, build_services(ground)) as socket:
            yield socket
        ground.engine.dispose()


@contextmanager
def serving(home: Home, services: Services) -> Iterator[Path]:
    """Answer on the home's socket from a thread of our own."""
    loop, stop, up = uvloop.new_event_loop(), asyncio.Event(), threading.Event()
    local = listen(home.run / SOCKET)

    def serve() -> None:
        with asyncio.Runner(loop_factory=lambda: loop) as runner:
            runner.run(serve_console(services, local=local, stop=stop, ready=up.set))

    thread = threading.Thread(target=serve, name="casemate-control")
    thread.start()
    try:
        up.wait()
        yield home.run / SOCKET
    finally:
        loop.call_soon_threadsafe(stop.set)
        thread.join()
        (home.run / SOCKET).unlink(missing_ok=True)


def verify_unopened(settings: Settings, against: str | None = None) -> dict[str, Any]:
    """Verify the log of a home that refuses to open, since its log was altered: reads alone, and records nothing.

    Raises: NotFoundError `no-home`; VerificationError: the keys are not those of this home.
    """
    home = open_home(settings.home)
    keeper = Keeper(keys_folder(settings, home))
    public = checkpoint_key(keeper.public_pem(Purpose.CHECKPOINT))
    kept = {"the checkpoint beside the keys": keeper.kept_checkpoint(), "the checkpoint that you gave": against}
    engine = home.open_database(read_only=True)
    try:
        reader = LogReader(engine, origin=origin_of(home), public=public)
        report = verify_log(reader, kept={where: text for where, text in kept.items() if text})
    finally:
        engine.dispose()
    found: dict[str, Any] = msgspec.to_builtins(report)
    return found


def verify_altered_copy(settings: Settings) -> list[str]:
    """Alter one row of the audit log in a private copy of the database, and return what verification says of it."""
    home = open_home(settings.home)
    public = checkpoint_key((home.public / "checkpoint.pem").read_bytes())
    with tempfile.TemporaryDirectory(prefix="casemate-audit-") as folder:
        copy = Path(folder) / "copy.db"
        source, target = sqlite3.connect(f"file:{home.database}?mode=ro", uri=True), sqlite3.connect(copy)
        with target:
            source.backup(target)
            target.execute("UPDATE entries SET actor = 'nobody' WHERE seq = (SELECT max(seq) / 2 FROM entries)")
        source.close()
        target.close()
        engine = open_database(f"sqlite:///{copy}", read_only=True)
        report = verify_log(LogReader(engine, origin=origin_of(home), public=public), kept={})
        engine.dispose()
    return [f"entry {problem.seq}: {problem.problem}" for problem in report.problems]
