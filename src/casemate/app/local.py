"""A home of one's own: made, and served to one command when no server runs."""

from __future__ import annotations

import asyncio
import tempfile
import threading
from collections.abc import Iterator
from contextlib import ExitStack, closing, contextmanager
from pathlib import Path
from typing import Any

import uvloop
from sqlalchemy import Integer, cast, func, select, update

from casemate.app.control import build_services, serve_console
from casemate.app.database import shown_database
from casemate.app.ground import LocalKeeper, checkpoint_key, home_of, keys_folder, open_ground, origin_of
from casemate.app.keeper import open_keeper
from casemate.auditlog import LogReader, copy_log, verify_log
from casemate.console import Services
from casemate.core import ConflictError, StorageError, SystemClock, forbid_core_dumps
from casemate.core.wire import is_served, listen
from casemate.keys import Keeper, Purpose, init_keys, init_tls, write_private
from casemate.settings import Settings
from casemate.signing import initial_trust
from casemate.storage import (
    Home,
    HomeLock,
    KeptPlace,
    create_home,
    create_state_key,
    has_state_key,
    is_append_only,
    migrate,
    open_database,
    unwrap_state_key,
)
from casemate.storage.database import entries

SOCKET = "control.sock"


def init_home(
    settings: Settings,
    provider: str | None = None,
    provider_settings: dict[str, str] | None = None,
    *,
    signing: tuple[str, dict[str, str]] | None = None,
) -> dict[str, Any]:
    """Make a home, its keys and its certificates; what is there stays. Works beside a running server, too.

    Args: provider: of key-encryption keys, and signing: of the release key, as `init_keys` takes them.
    Raises: StorageError; InputError; ConflictError `keys-elsewhere`.
    """
    forbid_core_dumps()  # the keys are made in this process
    now = SystemClock().now()
    home = create_home(settings.home, now=now, database=settings.database, password=settings.database_password)
    folder = keys_folder(settings, home)
    try:
        with HomeLock(home.path):
            _check_keys(home, folder)
            init_keys(folder, provider, provider_settings, signing=signing)
            init_tls(home.tls, folder / "tls", now=now)
            _found(settings, home)
    except ConflictError as error:  # it is being served, so it was made whole before
        if (
            error.code != "home-locked"
            or provider is not None
            or signing is not None
            or not (home.public / "release.pem").exists()
        ):
            raise
    return {
        "home": str(home.path),
        "id": home.id,
        "keys": str(folder),
        "database": shown_database(home),
        "ca": str(home.tls / "ca.pem"),
        "created_at": home.created_at,
    }


def _check_keys(home: Home, folder: Path) -> None:
    """Nothing is made anew for a home that has keys. Raises: StorageError `keys-elsewhere`; as `unwrap_state_key`, `KeptPlace.check`."""
    if not has_state_key(home.path):
        return
    if not (folder / "kek.json").exists():
        raise StorageError(
            f"This home was made before, and its keys do not lie in {folder}: point CASEMATE_KEYS to them, "
            "or restore them from their copy.",
            code="keys-elsewhere",
        )
    KeptPlace(home, folder).check()
    unwrap_state_key(home.path, home.id, Keeper(folder))


def _found(settings: Settings, home: Home) -> None:
    """The first entries of the signed state: whom this home trusts to sign."""
    keys = Keeper(keys_folder(settings, home))
    create_state_key(home.path, home.id, keys)
    for purpose in Purpose:
        write_private(home.public / f"{purpose}.pem", keys.public_pem(purpose))
    with closing(LocalKeeper(settings, home)) as keeper:
        ground = open_ground(settings, keeper, read_only=False)
        if not ground.ledger.entries():
            keeper.commit([("trust", dict(initial_trust(keys.public_pem(Purpose.RELEASE))))], "init")
        ground.engine.dispose()


def adopt_home(settings: Settings) -> dict[str, Any]:
    """Take this copy for the home from now on; the one that was on record is refused then. That is on record.

    Raises: NotFoundError `no-home`; ConflictError `home-locked`: one of the two is in use; StorageError;
        VerificationError: it is older than what was signed since, or altered.
    """
    home = home_of(settings)
    place = KeptPlace(home, keys_folder(settings, home))
    forbid_core_dumps()
    with ExitStack() as locks:
        locks.enter_context(HomeLock(home.path))
        if place.before is not None and place.is_copy:
            locks.enter_context(HomeLock(Path(place.before.path)))
        open_keeper(settings, home, adopt=True).close()
    before = place.before.path if place.before is not None and place.has_moved else None
    return {"home": place.here.path, "id": home.id, "before": before}


@contextmanager
def control_socket(settings: Settings) -> Iterator[Path]:
    """The path of a socket on which this home's control plane answers: the running server's, or one of our own.

    Raises: NotFoundError `no-home`; ConflictError `home-locked`; StorageError; VerificationError.
    """
    home = home_of(settings)
    if is_served(home.run / SOCKET):
        yield home.run / SOCKET
        return
    forbid_core_dumps()  # the keys are in this process now
    with HomeLock(home.path), closing(open_keeper(settings, home)) as keeper:
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


def verify_altered_copy(settings: Settings) -> list[str]:
    """Alter one row of the audit log in a private copy of it, and return what verification says of that."""
    home = home_of(settings)
    public = checkpoint_key((home.public / "checkpoint.pem").read_bytes())
    with tempfile.TemporaryDirectory(prefix="casemate-audit-") as folder:
        copy = Path(folder) / "copy.db"
        source, target = home.open_database(read_only=True), open_database(f"sqlite:///{copy}")
        migrate(target)
        copy_log(source, target)
        with target.begin() as connection:
            middle = select(func.max(entries.c.seq) / 2).scalar_subquery()
            connection.execute(update(entries).where(entries.c.seq == cast(middle, Integer)).values(actor="nobody"))
        log = LogReader(target, origin=origin_of(home), public=public)
        report = verify_log(log, kept={}, open_tiles=not is_append_only(source))
        for engine in (source, target):
            engine.dispose()
    return [f"entry {problem.seq}: {problem.problem}" for problem in report.problems]
