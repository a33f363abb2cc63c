"""The keeper's process: keys and pens, and what a gateway may have of them."""

from __future__ import annotations

import threading
from collections.abc import Callable
from typing import Any

import msgspec
from sqlalchemy import select

from casemate.app.ground import LocalKeeper, open_ground
from casemate.core import Event, PolicyError
from casemate.core.wire import Caller, listen, serve_calls
from casemate.iam import reconcile
from casemate.keys import KeyService, Purpose
from casemate.registry import Stores, deployments_of, known_blobs, took_effect
from casemate.runtime import clean_scratch
from casemate.settings import Settings
from casemate.storage import Home, open_home, reading, upgrade_home
from casemate.storage.database import version_blobs, versions

_SHARED = frozenset({"keys.public_pem", "keys.head", "log.append"})  # what a gateway may ask as the control plane may
CONTROL, GATEWAY = "keeper.sock", "keeper-gateway.sock"


def open_keeper(settings: Settings, home: Home) -> LocalKeeper:
    """Open the keys and pens of a home, and clean up what a crash left: half pushes, scratch folders, open intents.

    The caller holds the home's lock. Raises: StorageError; VerificationError.
    """
    upgrade_home(home)
    keeper = LocalKeeper(settings, home)
    ground = open_ground(settings, keeper, read_only=False)
    ground.stores.blobs.clean(known_blobs(ground.stores))
    clean_scratch()
    effect: Callable[[Event], bool | None] = lambda intent: took_effect(ground.stores, intent.id)  # noqa: E731
    reconcile(ground.log.open_intents(), keeper.sink, effect, ground.clock)
    ground.engine.dispose()
    return keeper


def run_keeper(settings: Settings, ready: Callable[[str], None], stop: threading.Event) -> None:
    """Serve keys and pens to the other processes of this home until `stop` is set."""
    home = open_home(settings.home)
    keeper = open_keeper(settings, home)
    ground = open_ground(settings, keeper, read_only=False)
    doors = {CONTROL: keeper.methods(), GATEWAY: gateway_methods(keeper, ground.stores, home)}
    for name, methods in doors.items():
        threading.Thread(target=serve_calls, args=(listen(home.run / name), methods), daemon=True).start()
    ready("")
    stop.wait()


def gateway_methods(keeper: LocalKeeper, stores: Stores, home: Home) -> dict[str, Callable[..., Any]]:
    """Events in; the state's key and those of deployed models out, never a dataset's."""

    def unwrap(wrapped: bytes, context: bytes) -> bytes:
        if not _is_state(context, home) and not _is_deployed(context, stores):
            raise PolicyError("A gateway gets the keys of deployed models only.", code="key-not-deployed")
        return keeper.keeper.unwrap(wrapped, context)

    shared = {name: method for name, method in keeper.methods().items() if name in _SHARED}
    return {**shared, "keys.unwrap": unwrap}


def _is_state(context: bytes, home: Home) -> bool:
    return bool(msgspec.json.decode(context) == {"home": home.id, "key": "state"})


def _is_deployed(context: bytes, stores: Stores) -> bool:
    about = msgspec.json.decode(context)
    query = (
        select(versions.c.digest)
        .join(version_blobs, version_blobs.c.version_id == versions.c.id)
        .where(version_blobs.c.blob_id == str(about.get("blob", "")), versions.c.kind == "model")
    )
    with reading(stores.engine) as connection:
        holders = set(connection.execute(query).scalars())
    return not holders.isdisjoint(deployment.digest for deployment in deployments_of(stores).values())


class DeployedKeys:
    """What a gateway has of the keeper's keys: it unwraps what is deployed, and nothing else."""

    def __init__(self, caller: Caller) -> None:
        self._caller = caller

    def unwrap(self, wrapped: bytes, context: bytes) -> bytes:
        return bytes(self._caller.call("keys.unwrap", wrapped, context))

    def wrap(self, key: bytes, context: bytes) -> bytes:  # noqa: ARG002
        raise PolicyError("A gateway stores nothing.", code="key-not-deployed")

    def sign(self, purpose: Purpose, payload: bytes) -> bytes:  # noqa: ARG002
        raise PolicyError("A gateway signs nothing.", code="key-not-deployed")


def deployed_keys(caller: Caller) -> KeyService:
    return DeployedKeys(caller)
