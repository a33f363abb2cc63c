"""What was deleted stays deleted, whatever rows and files are put back into the home."""

from __future__ import annotations

import shutil
from contextlib import contextmanager

import pytest
from registry_house import ANA, BEN, model_bytes, push_model, table
from sqlalchemy import delete, insert, select

from casemate.core import AssetKind, Environment, NotFoundError, StorageError, parse_ref
from casemate.registry import deleted_of, finish_deletions, took_effect
from casemate.storage import reading
from casemate.storage.database import attestations, blobs, version_blobs, versions

RISK = parse_ref("risk@1")
TABLES = (versions, blobs, version_blobs, attestations)


@contextmanager
def put_back(house):
    """An intruder's copy of rows and files, made now and put back at the end."""
    with reading(house.stores.engine) as c:
        rows = {one: [dict(row._mapping) for row in c.execute(select(one))] for one in TABLES}
    copy = shutil.copytree(house.folder / "blobs", house.folder.parent / "copy", dirs_exist_ok=True)
    yield
    with house.stores.engine.begin() as c:
        for one in reversed(TABLES):
            for row in rows[one]:
                key = [column == row[column.name] for column in one.primary_key]
                c.execute(delete(one).where(*key))
        for one in TABLES:
            if rows[one]:
                c.execute(insert(one), rows[one])
    shutil.copytree(copy, house.folder / "blobs", dirs_exist_ok=True)


def assert_gone(house):
    for ask in (house.models.load, house.models.find, house.models.show, house.models.lineage, house.models.pusher):
        with pytest.raises(NotFoundError):
            ask(RISK)
    with pytest.raises(NotFoundError):
        house.models.load(parse_ref("risk"))
    with pytest.raises(NotFoundError):
        house.deployments.deploy("door", RISK, actor=ANA, intent="evt_d")
    with pytest.raises(NotFoundError):
        house.models.approve(RISK, Environment.DEV, actor=BEN, intent="evt_a")
    assert house.models.newest() == []


def test_a_deleted_model_does_not_come_back_with_its_rows_and_files(house):
    push_model(house, name="risk")
    house.models.approve(RISK, Environment.DEV, actor=BEN, intent="evt_2")
    with put_back(house):
        house.models.delete(RISK, intent="evt_3")
    assert len(house.blob_files()) == 1
    assert_gone(house)
    report = house.models.verify()
    assert not report["ok"]
    assert [(one.id, one.location) for one in report["problems"]] == [("deleted-version-back", "model:risk@1")]
    house.models.delete(RISK, intent="evt_4")  # as the finding says
    assert house.blob_files() == []
    assert house.models.verify()["ok"]


def test_the_same_content_pushed_anew_is_another_version_and_outlives_the_old_one(house):
    push_model(house, name="risk", intent="evt_1")
    with put_back(house):
        house.models.delete(RISK, intent="evt_2")
        assert push_model(house, name="risk", intent="evt_3").version == 2
    assert house.models.find(parse_ref("risk")).number == 2
    house.models.delete(RISK, intent="evt_4")
    with house.models.load(parse_ref("risk@2")) as model:
        assert model.files["model.onnx"].read() == model_bytes()
    assert house.models.verify()["ok"]


def test_a_number_is_not_given_again_when_the_deleted_row_is_taken_away(house):
    push_model(house, name="risk")
    house.models.delete(RISK, intent="evt_2")
    with house.stores.engine.begin() as c:
        c.execute(delete(versions))
    assert push_model(house, name="risk", intent="evt_3").version == 2


def test_a_deleted_dataset_does_not_come_back(house):
    with table() as data:
        house.datasets.push("people", data, actor=ANA, intent="evt_1")
    ref = parse_ref("people@1")
    with put_back(house):
        house.datasets.delete(ref, intent="evt_2")
    for ask in (house.datasets.open, house.datasets.find, house.datasets.show, house.datasets.export):
        with pytest.raises(NotFoundError):
            ask(ref)
    assert [one.id for one in house.datasets.verify()["problems"]] == ["deleted-version-back"]


def test_a_deletion_that_was_cut_short_is_on_record_and_finished_at_the_next_start(house, monkeypatch):
    push_model(house, name="risk", intent="evt_1")

    def killed(*_):
        raise SystemError

    with monkeypatch.context() as patched:
        patched.setattr("casemate.registry.releases._remove", killed)
        with pytest.raises(SystemError):
            house.models.delete(RISK, intent="evt_2")
    assert took_effect(house.stores, "evt_2")
    assert_gone(house)
    finish_deletions(house.stores, {"evt_other"})
    assert len(house.blob_files()) == 1  # no crash left it: `verify` names it
    finish_deletions(house.stores, {"evt_2"})
    assert house.blob_files() == []
    assert house.models.verify()["ok"]


def test_a_deletion_whose_rows_cannot_be_removed_says_what_holds(house, monkeypatch):
    push_model(house, name="risk", intent="evt_1")

    def full(*_):
        raise OSError(28, "No space left on device")

    with monkeypatch.context() as patched:
        patched.setattr("casemate.registry.releases._remove", full)
        with pytest.raises(StorageError, match="counts as deleted") as caught:
            house.models.delete(RISK, intent="evt_2")
    assert caught.value.code == "deletion-unfinished"
    assert_gone(house)
    house.models.delete(RISK, intent="evt_3")
    assert house.models.verify()["ok"]


def test_the_record_names_the_blobs_whose_keys_were_destroyed(house):
    push_model(house, name="risk")
    with reading(house.stores.engine) as c:
        ids = set(c.execute(select(blobs.c.id)).scalars())
    house.models.delete(RISK, intent="evt_2")
    gone = deleted_of(house.stores)
    assert gone.blobs == ids
    assert gone.holds("default", AssetKind.MODEL, "risk", 1)


def test_a_deletion_without_its_outcome_is_no_missing_version(house):
    push_model(house, name="risk")
    house.models.delete(RISK, intent="evt_2")
    recorded = frozenset({(AssetKind.MODEL, "risk", 1), (AssetKind.MODEL, "other", 1)})
    assert [one.location for one in house.models.verify(recorded=recorded)["problems"]] == ["model:other@1"]


def test_a_deletion_waits_for_no_reader_and_holds_up_no_decision(house):
    push_model(house, name="risk")
    with reading(house.stores.engine) as reader:
        reader.execute(select(versions)).all()  # the write-ahead log cannot be emptied while this view is open
        answer = house.models.delete(RISK, intent="evt_2")
    traces = house.stores.engine.dialect.name == "sqlite"  # PostgreSQL keeps its own log, and a reader changes nothing
    assert (answer["state"], "write-ahead log" in answer.get("warning", "")) == ("deleted", traces)
    assert not house.pen.deciding.locked()
    push_model(house, 2.0, name="risk", intent="evt_3")
    assert "warning" not in house.models.delete(parse_ref("risk@2"), intent="evt_4")


def test_rows_are_removed_after_the_decision(house, monkeypatch):
    push_model(house, name="risk")
    held = []

    def removed(*_, **__):
        held.append(house.pen.deciding.locked())
        return {}

    monkeypatch.setattr("casemate.registry.models.remove_version", removed)
    house.models.delete(RISK, intent="evt_2")
    assert held == [False]  # a pause need not wait for the disk
