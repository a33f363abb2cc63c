"""The keeper's process: keys and pens, and what a gateway may have of them."""

from __future__ import annotations

import threading
from collections.abc import Callable
from contextlib import ExitStack
from datetime import datetime, timedelta
from functools import partial
from typing import Any

import msgspec
from sqlalchemy import select

from casemate.app.ground import Ground, LocalKeeper, decode_events, home_of, keys_folder, open_ground
from casemate.core import LATE, Action, AssetKind, CasemateError, Event, PolicyError, parse_rfc3339, rfc3339
from casemate.core.wire import Caller, listen, serve_calls
from casemate.iam import reconcile
from casemate.keys import KeyService, Purpose
from casemate.registry import (
    Deployment,
    Stores,
    admitted,
    deleted_of,
    deployments_of,
    finish_deletions,
    known_blobs,
    revoked_digests,
    took_effect,
)
from casemate.runtime import clean_scratch
from casemate.settings import Settings
from casemate.storage import Home, KeptPlace, create_people_key, reading, upgrade_home
from casemate.storage.database import version_blobs, versions

_SHARED = frozenset(
    {"keys.public_pem", "keys.head", "approvers.read"}
)  # what a gateway may ask as the control plane may
_WRITTEN = frozenset(  # kinds of what a gateway records
    {"prediction", "decision", "worker.started", "worker.stopped", "worker.crashed", "worker.hung"}
)
_AHEAD = timedelta(minutes=1)  # of our clock; both read the same machine's
_LATE = timedelta(
    minutes=1
)  # behind our clock: what the log could not take, on a full disk say, waits with the gateway
_UNSETTLED = 1000  # entries that each start may read again, which takes some 10 ms
CONTROL, GATEWAY = "keeper.sock", "keeper-gateway.sock"


def open_keeper(settings: Settings, home: Home, *, adopt: bool = False) -> LocalKeeper:
    """Open the keys and pens of a home, and clean up what a crash left: half pushes, scratch folders, open intents.

    Only where a home starts: the caller holds its lock and nobody acts, or what is under way would be taken for a
    crash's. Args: adopt: as `LocalKeeper` takes it. Raises: StorageError; VerificationError.
    """
    if not adopt:
        KeptPlace(home, keys_folder(settings, home)).check()  # a copy stays as it is
    upgrade_home(home)
    keeper = LocalKeeper(settings, home, adopt=adopt)
    with ExitStack() as failed:
        failed.callback(keeper.close)
        ground = open_ground(settings, keeper, read_only=False)
        used = any(entry.kind == "principal" and entry.body.get("op") == "totp" for entry in ground.ledger.entries())
        create_people_key(home.path, home.id, keeper.keys, used=used)  # for a home that an older release made
        ground.stores.blobs.clean(known_blobs(ground.stores))
        clean_scratch()
        _settle(keeper, ground)
        ground.engine.dispose()
        failed.pop_all()
    return keeper


def _settle(keeper: LocalKeeper, ground: Ground) -> None:
    """Close the acts that a crash left open. What was settled before is not read again, or starts would grow slow."""
    settled = keeper.keeper.settled()
    left = ground.log.open_intents(settled)
    finish_deletions(ground.stores, {intent.id for intent in left})
    reconcile(left, keeper.sink, partial(_effect, ground.stores), ground.clock)
    size = ground.log.size()
    if size - settled >= _UNSETTLED:
        keeper.keeper.keep_settled(size)


def _effect(stores: Stores, intent: Event) -> bool | None:
    """Whether it took effect; nobody can tell of a rotation, which leaves no row and goes on where it was cut short."""
    return None if intent.action == Action.KEYS_ROTATE else took_effect(stores, intent.id)


def run_keeper(
    settings: Settings,
    ready: Callable[[str], None],
    stop: threading.Event,
    progress: Callable[[str], None],
    *,
    again: bool,
) -> None:
    """Serve keys and pens to the other processes of this home until `stop` is set.

    Args: progress: told before what takes longer the more is on record. again: it takes the place of one that died. The others went on acting, so nothing is cleaned up: what they
        could not finish meanwhile is closed when the home starts next.
    """
    home = home_of(settings)
    progress("reading the log")
    keeper = LocalKeeper(settings, home) if again else open_keeper(settings, home)
    ground = open_ground(settings, keeper, read_only=False)
    doors = {CONTROL: keeper.methods(), GATEWAY: gateway_methods(keeper, ground.stores, home)}
    for name, methods in doors.items():
        threading.Thread(target=serve_calls, args=(listen(home.run / name), methods), daemon=True).start()
    ready("")
    stop.wait()


def gateway_methods(keeper: LocalKeeper, stores: Stores, home: Home) -> dict[str, Callable[..., Any]]:
    """A gateway's own events in; the state's key and those of deployed models out, never a dataset's."""

    def unwrap(wrapped: bytes, context: bytes) -> bytes:
        about = _read_context(context)
        if about != {"home": home.id, "key": "state"} and not _is_deployed(about, stores):
            raise PolicyError("A gateway gets the keys of deployed models only.", code="key-not-deployed")
        return keeper.keeper.unwrap(wrapped, context)

    def append(events: bytes) -> None:
        written = decode_events(events)
        now = keeper.clock.now()
        if not all(_is_gateways(event, now) for event in written):
            raise PolicyError(
                "A gateway records predictions, decisions and its workers, as they happen.", code="not-its-event"
            )
        keeper.append([_marked(event, now) for event in written])

    shared = {name: method for name, method in keeper.methods().items() if name in _SHARED}
    return {**shared, **keeper.token_methods(), "keys.unwrap": unwrap, "log.append": append}


def _is_gateways(event: Event, now: datetime) -> bool:
    """Whether a gateway may have written it, by now: no intent, no outcome, nothing in the id of one."""
    try:
        at = parse_rfc3339(event.at)
    except ValueError:
        return False
    in_time = at <= now + _AHEAD and event.at == rfc3339(at)
    return event.kind in _WRITTEN and event.id.startswith("evt_") and in_time


def _marked(event: Event, now: datetime) -> Event:
    """The event; one that waited says so, since its time is the gateway's word alone. However old, it is taken: one
    that never could be would keep all later ones out."""
    if now - parse_rfc3339(event.at) <= _LATE:
        return event
    return msgspec.structs.replace(event, facts={**event.facts, LATE: True})


def _read_context(context: bytes) -> dict[str, str]:
    """What a data key is bound to; nothing where that is no context of ours."""
    try:
        return msgspec.json.decode(context, type=dict[str, str])
    except msgspec.DecodeError:
        return {}


def _is_deployed(about: dict[str, str], stores: Stores) -> bool:
    """Whether a data key, by the context that it is bound to, is of a model that is deployed, approved and not revoked.

    What joins blobs to versions is not signed; the context is, in effect, since no key unwraps under another.
    """
    if about.get("blob") in deleted_of(stores).blobs:
        return False
    query = (
        select(versions.c.digest)
        .join(version_blobs, version_blobs.c.version_id == versions.c.id)
        .where(version_blobs.c.blob_id == about.get("blob", ""), versions.c.kind == AssetKind.MODEL)
    )
    with reading(stores.engine) as connection:
        holders = set(connection.execute(query).scalars()) - revoked_digests(stores)
    return any(
        deployment.digest in holders
        and about.get("project") == deployment.project
        and about.get("asset") == f"{AssetKind.MODEL}/{deployment.model.name}"
        and _is_admitted(stores, deployment)
        for deployment in deployments_of(stores).values()
    )


def _is_admitted(stores: Stores, deployment: Deployment) -> bool:
    """Whether it may serve what it says, by approvals that the keeper verifies itself."""
    try:
        admitted(stores, deployment.name, deployment.model, deployment.environment, deployment.profile)
    except CasemateError:
        return False
    return True


class DeployedKeys:
    """What a gateway has of the keeper's keys: it unwraps what is deployed, and nothing else."""

    def __init__(self, caller: Caller) -> None:
        self._caller = caller

    def unwrap(self, wrapped: bytes, context: bytes) -> bytes:
        return bytes(self._caller.call("keys.unwrap", wrapped, context))

    def wrap(self, key: bytes, context: bytes) -> bytes:  # noqa: ARG002
        raise PolicyError("A gateway stores nothing.", code="key-not-deployed")

    def check_kept(self, wrapped: list[bytes]) -> None:  # noqa: ARG002
        raise PolicyError("A gateway stores nothing.", code="key-not-deployed")

    def sign(self, purpose: Purpose, payload: bytes) -> bytes:  # noqa: ARG002
        raise PolicyError("A gateway signs nothing.", code="key-not-deployed")


def deployed_keys(caller: Caller) -> KeyService:
    return DeployedKeys(caller)
