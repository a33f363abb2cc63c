"""A dataset that was found bad, and what was made from it."""

from __future__ import annotations

from datetime import timedelta

import pytest
from outside_trainer import Trainer
from registry_house import ANA, BEN, model_bytes, push_model, table

from casemate.core import AssetKind, CasemateError, Environment, VerificationError, parse_ref, seal_bytes
from casemate.registry import Brought, Lineage, Signers
from casemate.registry.dataset_push import Aside
from casemate.registry.model_push import Eyes
from casemate.registry.signers import SignerRequest


def refused(code, call, *args, **kwargs):
    with pytest.raises(CasemateError) as caught:
        call(*args, **kwargs)
    assert caught.value.code == code


def push_rows(house, name="visits", rows=4):
    house.datasets.push(name, table(rows), actor=ANA, intent=f"evt_{name}{rows}")
    return house.datasets.find(parse_ref(name)).about


def revoke(house, ref, *, kind=AssetKind.DATASET, cascade=False):
    return house.deployments.revoke(
        parse_ref(ref), actor=BEN, intent="evt_v", reason="poisoned", kind=kind, cascade=cascade
    )


def named(rows):
    return sorted(f"{one['kind']}:{one['name']}@{one['version']}" for one in rows)


def serve(house, name, ref):
    house.models.approve(parse_ref(ref), Environment.DEV, actor=ANA, intent="evt_a")
    house.deployments.deploy(name, parse_ref(ref), actor=ANA, intent="evt_d")


@pytest.fixture
def family(house):
    """visits@1 -> risk@1; visits@2; visits@3, which is visits@1 restored -> late@1; other rows -> fine@1."""
    first = push_rows(house, rows=4)
    push_model(house, 1.0, name="risk", lineage=Lineage(dataset=first))
    push_rows(house, rows=5)
    house.datasets.restore(parse_ref("visits@1"), actor=ANA, intent="evt_r")
    restored = house.datasets.find(parse_ref("visits@3")).about
    push_model(house, 2.0, name="late", lineage=Lineage(dataset=restored))
    push_model(house, 3.0, name="fine", lineage=Lineage(dataset=push_rows(house, "other", rows=6)))
    for name in ("risk", "late", "fine"):
        serve(house, name, f"{name}@1")
    return house


def test_alone_it_names_what_was_made_from_it_and_ends_nothing_else(family):
    said = revoke(family, "visits@1")
    assert named(said["descendants"]) == ["dataset:visits@3", "model:late@1", "model:risk@1"]
    assert (said["paused"], said["cascade"], said["altered"]) == ([], False, [])
    assert family.datasets.show(parse_ref("visits@1"))["revoked"] is True
    assert family.datasets.show(parse_ref("visits@3"))["revoked"] is False
    family.models.load(parse_ref("risk@1")).close()


def test_nothing_is_made_from_it_any_more(family):
    revoke(family, "visits@1")
    about = family.datasets.find(parse_ref("visits@1")).about
    refused("revoked", push_model, family, 9.0, name="new", lineage=Lineage(dataset=about))
    refused("revoked", family.datasets.check_trainable, parse_ref("visits@1"))
    refused("revoked", family.datasets.restore, parse_ref("visits@1"), actor=ANA, intent="evt_x")
    assert family.models.lineage(parse_ref("risk@1"))["from"][0]["state"] == "revoked"
    same = family.datasets.push("visits", table(4), actor=ANA, intent="evt_again")  # the same rows are as bad
    refused("revoked", family.datasets.check_trainable, parse_ref(f"visits@{same['version']}"))


def test_what_was_made_from_it_ends_with_it_in_one_commit(family):
    before = len(family.stores.state.entries())
    said = revoke(family, "visits@1", cascade=True)
    assert sorted(said["paused"]) == ["late", "risk"]
    assert len(family.stores.state.entries()) == before + 6  # four versions, two pauses
    for name in ("risk", "late"):
        assert family.deployments.find(name).paused
        refused("revoked", family.models.load, parse_ref(name))
        refused("revoked", family.deployments.resume, name, actor=ANA, intent="evt_x")
    assert not family.deployments.find("fine").paused
    family.datasets.check_trainable(parse_ref("visits@2"))
    refused("revoked", family.datasets.check_trainable, parse_ref("visits@3"))
    again = revoke(family, "visits@1", cascade=True)  # asked twice, nothing more ends
    assert again["paused"] == []


def test_no_rollback_returns_to_it(family):
    push_model(family, 4.0, name="risk")
    serve(family, "risk", "risk@2")
    revoke(family, "visits@1", cascade=True)
    assert not family.deployments.find("risk").paused  # it serves what was made from nothing known
    refused("revoked", family.deployments.rollback, "risk", actor=ANA, intent="evt_x")


def test_a_revocation_that_comes_while_a_model_is_pushed_counts(house, monkeypatch):
    about = push_rows(house)
    examine = Eyes.examine

    def late(self, sealed):
        done = examine(self, sealed)
        revoke(house, "visits@1")
        return done

    monkeypatch.setattr(Eyes, "examine", late)
    refused("revoked", push_model, house, name="risk", lineage=Lineage(dataset=about))
    assert house.models.count() == 0


def test_a_model_takes_the_same_file_under_another_name_along(house):
    push_model(house, 1.0, name="risk")
    push_model(house, 1.0, name="copy")
    push_model(house, 2.0, name="other")
    serve(house, "copy", "copy@1")
    assert named(revoke(house, "risk@1", kind=AssetKind.MODEL)["descendants"]) == ["model:copy@1"]
    assert revoke(house, "risk@1", kind=AssetKind.MODEL, cascade=True)["paused"] == ["copy"]
    refused("revoked", house.models.load, parse_ref("copy@1"))
    house.models.load(parse_ref("other@1")).close()


def test_every_kind_of_edge_is_followed(house):
    """raw@1 -> restored -> clean (quarantined) and anonymous -> models: trained, pushed elsewhere under the same file, from outside.

    Each is served; all end with raw@1, and no rollback returns to any.
    """
    raw = push_rows(house, "raw", rows=4)
    push_rows(house, "raw", rows=5)
    house.datasets.restore(parse_ref("raw@1"), actor=ANA, intent="evt_r")
    restored = house.datasets.find(parse_ref("raw@3"))
    with seal_bytes([b"x"]) as suspects:
        aside = Aside(suspects=suspects, report=b"{}", facts={"aside": 1}, widening=False)
        house.datasets.push_clean(restored, table(3), aside, actor=ANA, intent="evt_q")
    clean = house.datasets.find(parse_ref("raw@4")).about
    house.datasets.push("anonymous", table(7), actor=ANA, intent="evt_an", origin=parse_ref("raw@4"))
    assert house.datasets.show(parse_ref("anonymous"))["made_from"]["version"] == 4
    anonymous = house.datasets.find(parse_ref("anonymous")).about
    push_model(house, 1.0, name="trained", lineage=Lineage(dataset=clean))
    push_model(house, 2.0, name="of-anonymous", lineage=Lineage(dataset=anonymous))
    push_model(house, 2.0, name="copied")  # by whoever says nothing of where the file is from
    trainer = Trainer()
    Signers(house.stores, house.pen).add(
        "ci",
        SignerRequest(key=trainer.pem, models=("*",)),
        life=timedelta(days=1),
        actor=ANA,
        intent="evt_s",
    )
    rows = house.datasets.export(parse_ref("raw@4")).digest
    said = trainer.says({"model.onnx": model_bytes(3.0)}, rows, at=house.clock.now())
    push_model(house, 3.0, name="elsewhere", brought=Brought(data=said))  # which names the rows, not the version
    models = ("trained", "of-anonymous", "copied", "elsewhere")
    for slope, name in enumerate(models, 50):
        serve(house, name, f"{name}@1")
        push_model(house, float(slope), name=name)
    push_model(house, 90.0, name="trained")
    serve(house, "trained", "trained@2")
    told = revoke(house, "raw@1", cascade=True)
    assert named(told["descendants"]) == [
        "dataset:anonymous@1", "dataset:raw@3", "dataset:raw@4",
        "model:copied@1", "model:elsewhere@1", "model:of-anonymous@1", "model:trained@1",
    ]  # fmt: skip
    assert sorted(told["paused"]) == ["copied", "elsewhere", "of-anonymous"]
    for name in models:
        refused("revoked", house.models.load, parse_ref(f"{name}@1"))
        serve(house, name, f"{name}@2")
        refused("revoked", house.deployments.rollback, name, actor=ANA, intent="evt_rb")
    refused("revoked", house.datasets.push, "more", table(8), actor=ANA, intent="evt_m", origin=parse_ref("raw@4"))
    assert raw.number == 1


def test_what_cannot_be_read_is_named(house):
    from sqlalchemy import text

    about = push_rows(house)
    push_model(house, 1.0, name="risk", lineage=Lineage(dataset=about))
    with house.stores.engine.begin() as connection:
        connection.execute(text("UPDATE versions SET manifest = :m WHERE kind = 'model'"), {"m": b"x"})
    said = revoke(house, "visits@1", cascade=True)
    assert (named(said["descendants"]), named(said["altered"])) == ([], ["model:risk@1"])
    with pytest.raises(VerificationError):
        house.models.load(parse_ref("risk@1"))


def test_the_same_rows_come_back_under_no_other_sheet_class_or_number(family):
    revoke(family, "visits@1")
    said = family.datasets.push("visits", table(4), actor=ANA, intent="evt_p", data_class="personal")
    assert (said["created"], said["revoked"]) == (True, True)
    refused("revoked", family.datasets.check_trainable, parse_ref(f"visits@{said['version']}"))
    assert family.datasets.show(parse_ref("visits"))["revoked"] is True
    about = family.datasets.find(parse_ref("visits")).about
    refused("revoked", push_model, family, 9.0, name="new", lineage=Lineage(dataset=about))
    other = family.datasets.push("visits", table(9), actor=ANA, intent="evt_o")
    assert "revoked" not in other
    family.datasets.check_trainable(parse_ref("visits"))
    family.datasets.push(
        "theirs", table(4), actor=ANA, intent="evt_t"
    )  # nobody ends another dataset with rows of their own
    family.datasets.check_trainable(parse_ref("theirs"))


def test_a_deleted_version_between_hides_nothing(family):
    push_model(family, 5.0, name="onward", lineage=Lineage(base=family.models.find(parse_ref("late@1")).about))
    serve(family, "onward", "onward@1")
    push_model(family, 6.0, name="late")
    serve(family, "late", "late@2")
    family.datasets.delete(parse_ref("visits@3"), intent="evt_del")
    family.models.delete(parse_ref("late@1"), intent="evt_del2")
    said = revoke(family, "visits@1", cascade=True)
    assert named(said["descendants"]) == ["model:onward@1", "model:risk@1"]
    assert sorted(said["paused"]) == ["onward", "risk"]
    refused("revoked", family.models.load, parse_ref("onward"))


def test_what_was_deleted_can_still_be_found_bad(family):
    family.datasets.delete(parse_ref("visits@1"), intent="evt_del")
    said = revoke(family, "visits@1", cascade=True)
    assert named(said["descendants"]) == ["dataset:visits@3", "model:late@1", "model:risk@1"]
    assert sorted(said["paused"]) == ["late", "risk"]
    assert family.datasets.push("visits", table(4), actor=ANA, intent="evt_again")["revoked"] is True
    refused("not-found", revoke, family, "visits@99")


def test_a_trainer_elsewhere_who_names_revoked_rows_brings_nothing(house):
    push_rows(house)
    trainer = Trainer()
    Signers(house.stores, house.pen).add(
        "ci", SignerRequest(key=trainer.pem, models=("*",)), life=timedelta(days=1), actor=ANA, intent="evt_s"
    )
    rows = house.datasets.export(parse_ref("visits@1")).digest
    revoke(house, "visits@1")
    said = trainer.says({"model.onnx": model_bytes(3.0)}, rows, at=house.clock.now())
    refused("revoked", push_model, house, 3.0, name="elsewhere", brought=Brought(data=said))
    assert house.models.count() == 0


def test_the_same_model_file_comes_back_under_no_other_origin(family):
    serve(family, "other", "fine@1")
    revoke(family, "fine@1", kind=AssetKind.MODEL)
    again = push_model(
        family, 3.0, name="fine", lineage=Lineage(dataset=family.datasets.find(parse_ref("visits@2")).about)
    )
    assert (again.created, again.version) == (True, 2)
    refused("revoked", family.models.load, parse_ref("fine@2"))
    refused("revoked", family.models.approve, parse_ref("fine@2"), Environment.DEV, actor=ANA, intent="evt_a2")
    assert family.models.show(parse_ref("fine@2"))["revoked"] is True
    push_model(family, 7.0, name="fine")
    family.models.load(parse_ref("fine@3")).close()
