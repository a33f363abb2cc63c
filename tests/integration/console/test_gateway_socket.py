"""What the keeper gives a gateway: keys of what is deployed and not revoked, whatever unsigned rows say; its own events in."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from datetime import timedelta
from typing import Any

import msgspec
import pytest
from sqlalchemy import insert, select
from tiny_models import ROWS, doubling_model

from casemate.app.control import build_services
from casemate.app.ground import Ground, LocalKeeper, open_ground
from casemate.app.keeper import gateway_methods, open_keeper
from casemate.app.local import init_home, serving
from casemate.client import Casemate
from casemate.core import Event, PolicyError, new_id, rfc3339
from casemate.settings import load_settings
from casemate.storage import HomeLock, open_home, reading
from casemate.storage.database import blobs, version_blobs, versions
from casemate.storage.pending import blob_context

Methods = dict[str, Callable[..., Any]]


@pytest.fixture(scope="module")
def parts(tmp_path_factory: pytest.TempPathFactory) -> Iterator[tuple[Ground, Methods, Casemate]]:
    """A home with rows, a deployed model and one that is not."""
    folder = tmp_path_factory.mktemp("gateway")
    settings = load_settings({}, home=folder / "home", keys=folder / "keys")
    init_home(settings)
    home = open_home(settings.home)
    (folder / "rows.csv").write_text(ROWS)
    with HomeLock(home.path):
        keeper: LocalKeeper = open_keeper(settings, home)
        ground = open_ground(settings, keeper, read_only=False)
        with serving(home, build_services(ground)) as socket, Casemate(socket=socket) as casemate:
            casemate.push_dataset("rows", folder / "rows.csv")
            for factor, name in enumerate(("served", "other"), 2):
                (folder / "model.onnx").write_bytes(doubling_model(float(factor)))
                casemate.push_model(name, folder / "model.onnx")
            casemate.approve("served@1")
            casemate.deploy("twice", "served@1")
            yield ground, gateway_methods(keeper, ground.stores, home), casemate
        ground.engine.dispose()


def key_of(ground: Ground, name: str) -> tuple[str, bytes, bytes]:
    """The id, wrapped key and context of one blob of an asset."""
    query = (
        select(blobs)
        .join(version_blobs, version_blobs.c.blob_id == blobs.c.id)
        .join(versions, versions.c.id == version_blobs.c.version_id)
        .where(versions.c.name == name)
        .order_by(blobs.c.id)
    )
    with reading(ground.engine) as connection:
        row = connection.execute(query).first()
    assert row is not None
    return row.id, bytes(row.wrapped_key), blob_context(row.project, row.asset, row.id)


def test_forged_rows_open_no_other_key(parts: tuple[Ground, Methods, Casemate]) -> None:
    ground, methods, _ = parts
    _, wrapped, context = key_of(ground, "served")
    assert len(methods["keys.unwrap"](wrapped, context)) == 32
    with reading(ground.engine) as connection:
        held = connection.execute(
            select(version_blobs)
            .join(versions, versions.c.id == version_blobs.c.version_id)
            .where(versions.c.name == "served")
        ).first()
    assert held is not None
    for name in ("rows", "other"):
        blob, wrapped, context = key_of(ground, name)
        with ground.engine.begin() as connection:
            connection.execute(insert(version_blobs).values({**held._mapping, "path": name, "blob_id": blob}))
        with pytest.raises(PolicyError) as refused:
            methods["keys.unwrap"](wrapped, context)
        assert refused.value.code == "key-not-deployed"
        with ground.engine.begin() as connection:
            connection.execute(version_blobs.delete().where(version_blobs.c.path == name))


@pytest.mark.parametrize("context", [b"{}", b'"served"', b"[]", b'{"blob": []}', b"no json"])
def test_an_odd_context_gets_nothing(parts: tuple[Ground, Methods, Casemate], context: bytes) -> None:
    ground, methods, _ = parts
    with pytest.raises(PolicyError):
        methods["keys.unwrap"](key_of(ground, "served")[1], context)


def event(ground: Ground, **changes: Any) -> bytes:
    about = {"id": new_id("evt"), "at": rfc3339(ground.clock.now()), "kind": "prediction", **changes}
    return msgspec.msgpack.encode([Event(**about)])


def test_a_gateway_records_its_own_events_only(parts: tuple[Ground, Methods, Casemate]) -> None:
    ground, methods, casemate = parts
    before = casemate.status()["audit_entries"]
    for kind in ("prediction", "decision", "worker.started", "worker.stopped", "worker.crashed", "worker.hung"):
        methods["log.append"](event(ground, kind=kind))
    taken = ground.log.size()
    now = ground.clock.now()
    for changes in (
        {"kind": "intent"},
        {"kind": "outcome"},
        {"kind": ""},
        {"id": new_id("out")},
        {"id": new_id("int")},
        {"at": rfc3339(now + timedelta(minutes=2))},
        {"at": "now"},
        {"at": "2026-01-01"},
    ):
        with pytest.raises(PolicyError) as refused:
            methods["log.append"](event(ground, **changes))
        assert refused.value.code == "not-its-event"
    assert ground.log.size() == taken > before


def test_what_waited_for_the_log_is_taken_however_late(parts: tuple[Ground, Methods, Casemate]) -> None:
    ground, methods, casemate = parts
    methods["log.append"](event(ground))
    floor, now = ground.log.latest_time(), ground.clock.now()
    ids = [new_id("evt") for _ in range(2)]
    for event_id, ago in zip(ids, (timedelta(days=400), timedelta(seconds=2)), strict=True):
        methods["log.append"](event(ground, id=event_id, at=rfc3339(now - ago)))
        if ago.days:
            assert ground.log.latest_time() == floor  # no clock goes back to the time of an entry that came late
    facts = {entry["id"]: entry.get("facts", {}) for entry in casemate.audit_entries(kind="prediction", limit=2)}
    assert [facts[event_id].get("late") for event_id in ids] == [True, None]


def test_a_revoked_model_gets_no_key(parts: tuple[Ground, Methods, Casemate]) -> None:
    ground, methods, casemate = parts
    _, wrapped, context = key_of(ground, "served")
    casemate.revoke_model("served@1", reason="found bad")
    with pytest.raises(PolicyError):
        methods["keys.unwrap"](wrapped, context)
