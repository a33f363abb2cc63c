"""Pin, unpin and list approvers' keys, and let a deployment leave `strict`: on the machine that has the home's keys."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import ExitStack, contextmanager
from datetime import timedelta
from typing import Any

import msgspec

from casemate.app.approvers_file import ApproversFile
from casemate.app.ground import Ground, home_of, keys_folder, open_ground
from casemate.app.keeper import CONTROL, open_keeper
from casemate.app.remote_keeper import RemoteKeeper
from casemate.core import NotFoundError, forbid_core_dumps, rfc3339
from casemate.core.wire import is_served
from casemate.iam import Access, PasskeyAdded, Person, find_person, relying_party
from casemate.registry import Approver, strict_before
from casemate.settings import Settings
from casemate.signing import load_public_key, public_pem
from casemate.storage import HomeLock


def pin_key(settings: Settings, person: str, pem: bytes, *, life: timedelta) -> dict[str, Any]:
    """Let the holder of this public key approve as `person`. Args: person: id or name.

    Raises: NotFoundError `user-not-found`; InputError `bad-public-key`; as `Approvers.with_pin`.
    """
    key = public_pem(load_public_key(pem))  # what else the file holds is not kept
    with _ground(settings) as ground:
        return _pin(ground, _person(ground, person), life, key=key.decode())


def pin_passkey(settings: Settings, person: str, passkey: str, *, life: timedelta, address: str = "") -> dict[str, Any]:
    """Let a passkey that `person` has now approve as them.

    Args: passkey: its id or the name that they gave it. address: of the pages that may ask for it; `control_url` if empty.

    Raises: as `pin_key`; NotFoundError `no-such-passkey`; InputError `no-host-name`.
    """
    with _ground(settings) as ground:
        found = _person(ground, person)
        mine = [one for one in found.passkeys if passkey in (one.id, one.name)]
        if len(mine) != 1:
            has = ", ".join(f"{one.name} ({one.id})" for one in found.passkeys) or "none"
            raise NotFoundError(f"{found.name} has no passkey {passkey[:80]!r}; theirs: {has}.", code="no-such-passkey")
        url = address or settings.control_url or f"https://localhost:{settings.control_port}"
        return _pin(ground, found, life, passkey=mine[0], origin=relying_party(url).origin)


def unpin(settings: Settings, which: str) -> dict[str, Any]:
    """Nothing signed with it counts from here on; what serves already goes on. Args: which: as `Approvers.without`."""
    home = home_of(settings)
    file = ApproversFile(keys_folder(settings, home), home.id)
    with file.changing() as write:
        before = file.read()
        after = before.without(which)
        write(after)
    return {"unpinned": [_shown(one) for one in before.pinned if one not in after.pinned]}


def list_pins(settings: Settings) -> dict[str, Any]:
    """All that is pinned, and the deployments that may leave `strict`."""
    home = home_of(settings)
    found = ApproversFile(keys_folder(settings, home), home.id).read()
    return {"items": [_shown(one) for one in found.pinned], "relaxed": sorted(found.relaxed)}


def relax(settings: Settings, name: str) -> dict[str, Any]:
    """Let the deployment `name` be deployed as other than `strict`, or elsewhere, until it is deployed as `strict` again.

    Raises: NotFoundError `not-strict`.
    """
    with _ground(settings) as ground:
        before = strict_before(ground.stores, name)
        if not before:
            raise NotFoundError(f"{name[:80]!r} was never deployed as strict.", code="not-strict")
        file = ApproversFile(keys_folder(settings, ground.home), ground.home.id)
        with file.changing() as write:
            found = file.read()
            write(msgspec.structs.replace(found, relaxed={**found.relaxed, name: max(before.values())}))
        return {"deployment": name, "was": "strict in " + ", ".join(before)}


def _pin(
    ground: Ground,
    person: Person,
    life: timedelta,
    *,
    key: str = "",
    passkey: PasskeyAdded | None = None,
    origin: str = "",
) -> dict[str, Any]:
    now = ground.clock.now()
    pin = Approver(
        person=person.id, name=person.name, pinned_at=now, until=now + life, key=key, passkey=passkey, origin=origin
    )
    file = ApproversFile(keys_folder(ground.settings, ground.home), ground.home.id)
    with file.changing() as write:
        write(file.read().with_pin(pin))
    return _shown(pin)


def _shown(pin: Approver) -> dict[str, Any]:
    return {
        "person": pin.person,
        "name": pin.name,
        "kind": "passkey" if pin.passkey else "key",
        "key": pin.keyid,
        "pinned_at": rfc3339(pin.pinned_at),
        "until": rfc3339(pin.until),
    }


def _person(ground: Ground, who: str) -> Person:
    access = Access(ground.ledger)
    access.refresh()
    return find_person(access, who)


@contextmanager
def _ground(settings: Settings) -> Iterator[Ground]:
    """The home's signed state, beside a running server or without one."""
    home = home_of(settings)
    with ExitStack() as left:
        if is_served(home.run / CONTROL):
            ground = open_ground(settings, RemoteKeeper(home.run / CONTROL), read_only=True)
        else:
            forbid_core_dumps()
            left.enter_context(HomeLock(home.path))
            keeper = open_keeper(settings, home)
            left.callback(keeper.close)
            ground = open_ground(settings, keeper, read_only=False)
        left.callback(ground.engine.dispose)
        yield ground
