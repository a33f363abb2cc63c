"""Deployments: approved and verified before they switch, undone when the switch fails, rolled back one by one."""

from __future__ import annotations

from concurrent.futures import ThreadPoolExecutor
from functools import partial

import pytest
from registry_house import ANA, BEN, a_house, copy_house, flip, keep_house, push_model
from sqlalchemy import delete, select, update

from casemate.core import (
    ConflictError,
    Environment,
    InputError,
    NotFoundError,
    PolicyError,
    Profile,
    SandboxError,
    StorageError,
    VerificationError,
    parse_ref,
)
from casemate.registry import Deployments, models, took_effect
from casemate.registry.approvals import approvals_of
from casemate.storage.database import ledger, version_blobs, versions


@pytest.fixture(scope="module")
def made():
    """Houses by where their rows lie; scanned once, and copied for each test."""
    return {}


@pytest.fixture
def ready(made, home_database, tmp_path_factory, tmp_path):
    """Versions 1 to 3 of one model, approved for dev."""
    if home_database not in made:
        folder = tmp_path_factory.mktemp("three")
        with a_house(folder) as house:
            for number in (1, 2, 3):
                push_model(house, float(number), intent=f"evt_push{number}")
                ref = parse_ref(f"diagnosis@{number}")
                house.models.approve(ref, Environment.DEV, actor=ANA, intent=f"evt_ok{number}")
        keep_house(folder)
        made[home_database] = folder
    copy_house(made[home_database], tmp_path / "copy")
    with a_house(tmp_path / "copy") as house:
        assert house.stores.engine.dialect.name == home_database
        yield house


def deploy(house, number, **more):
    return house.deployments.deploy("live", parse_ref(f"diagnosis@{number}"), actor=ANA, intent="evt_d", **more)


def rollback(house):
    return house.deployments.rollback("live", actor=ANA, intent="evt_r")


def refused(code, kind, call, *args, **kwargs):
    with pytest.raises(kind) as caught:
        call(*args, **kwargs)
    assert caught.value.code == code
    return caught.value


def blob_of(house, number):
    with house.stores.engine.begin() as c:
        blob = c.execute(
            select(version_blobs.c.blob_id)
            .join(versions, versions.c.id == version_blobs.c.version_id)
            .where(versions.c.number == number)
        ).scalar()
    return next(path for path in house.blob_files() if path.name == blob)


def test_deploy_and_roll_back_one_by_one(ready):
    assert deploy(ready, 1)["previous"] is None
    assert deploy(ready, 2)["previous"] == 1
    assert deploy(ready, 2)["previous"] == 2  # again the same: nothing more to roll back to
    assert deploy(ready, 3)["version"] == 3
    back = rollback(ready)
    assert (back["version"], back["previous"]) == (2, 3)
    assert rollback(ready)["version"] == 1
    refused("nothing-earlier", ConflictError, rollback, ready)
    found, model = ready.deployments.load("live")
    with model:
        assert (model.about.number, found.profile, found.environment) == (1, Profile.STANDARD, Environment.DEV)
    history = ready.deployments.show("live")["history"]
    assert [line["version"] for line in history] == [1, 2, 2, 3, 2, 1]
    assert [number for _, number in ready.gateway.told] == [line["number"] for line in history]
    assert ready.deployments.newest()[0]["state"] == "serving"
    assert took_effect(ready.stores, "evt_r")


def test_a_gateway_reads_with_no_pen(ready):
    deploy(ready, 2)
    found, model = Deployments(ready.stores).load("live")
    with model:
        assert found.digest == model.about.digest


def test_unapproved_is_refused(house):
    push_model(house)
    refused("not-approved", PolicyError, deploy, house, 1)
    assert house.gateway.told == []
    assert house.deployments.all() == {}


def test_an_approval_is_for_one_environment(ready):
    refused("not-approved", PolicyError, deploy, ready, 1, environment=Environment.PRODUCTION)
    ref = parse_ref("diagnosis@1")
    refused("self-approval", PolicyError, ready.models.approve, ref, Environment.PRODUCTION, actor=ANA, intent="evt_a")
    said = ready.models.approve(ref, Environment.PRODUCTION, actor=BEN, intent="evt_b")
    assert said["self_approved"] is False
    assert deploy(ready, 1, environment=Environment.PRODUCTION)["version"] == 1
    assert [a.self_approved for a in approvals_of(ready.stores, ready.models.find(ref))] == [True, False]
    refused("environment-fixed", ConflictError, deploy, ready, 1, environment=Environment.DEV)


def test_an_approval_of_another_version_does_not_count(ready):
    push_model(ready, 9.0, intent="evt_p")
    entry = next(e for e in ready.stores.state.entries() if e.kind == "approval")
    forged = {**entry.body, "about": {**entry.body["about"]}}
    target = ready.models.find(parse_ref("diagnosis@4")).about
    forged["about"] |= {"number": 4, "digest": target.digest}
    ready.commit([("approval", forged)], "evt_forged")
    refused("name-mismatch", VerificationError, deploy, ready, 4)


def test_an_approval_whose_record_says_more_does_not_count(house):
    push_model(house)
    house.models.approve(parse_ref("diagnosis@1"), Environment.DEV, actor=ANA, intent="evt_ok")
    (entry,) = (e for e in house.stores.state.entries() if e.kind == "approval")
    house.commit([("approval", {**entry.body, "environment": "production"})], "evt_forged")
    refused("approval-mismatch", VerificationError, deploy, house, 1, environment=Environment.PRODUCTION)


def test_revoked_is_refused_for_deploy_and_rollback(ready):
    deploy(ready, 1)
    deploy(ready, 2)
    ready.deployments.revoke(parse_ref("diagnosis@1"), actor=BEN, intent="evt_v", reason="backdoor")
    refused("revoked", VerificationError, rollback, ready)
    refused("revoked", VerificationError, deploy, ready, 1)
    assert ready.deployments.find("live").model.number == 2


def test_revoking_pauses_what_serves_it_and_says_why(ready):
    deploy(ready, 1)
    deploy(ready, 2)
    ready.deployments.deploy("other", parse_ref("diagnosis@1"), actor=ANA, intent="evt_o")
    ref = parse_ref("diagnosis@2")
    refused("no-reason", InputError, ready.deployments.revoke, ref, actor=BEN, intent="evt_v", reason="")
    ready.gateway.broken = True  # a gateway that does not answer keeps nobody from revoking
    said = ready.deployments.revoke(ref, actor=BEN, intent="evt_v", reason="backdoor")
    ready.gateway.broken = False
    assert (said["version"], said["state"], said["paused"]) == (2, "revoked", ["live"])
    live, other = ready.deployments.find("live"), ready.deployments.find("other")
    assert (live.paused, other.paused) == (True, False)
    assert (live.history[-1]["change"], live.history[-1]["reason"]) == ("paused", "backdoor")
    assert not said["confirmed"]
    refused("revoked", VerificationError, ready.deployments.resume, "live", actor=ANA, intent="evt_x")
    assert rollback(ready)["version"] == 1
    assert not ready.deployments.find("live").paused


def test_an_approver_whom_the_gate_counts_as_the_pusher_signs_so(ready):
    ref = parse_ref("diagnosis@1")
    said = ready.models.approve(ref, Environment.DEV, actor=BEN, intent="evt_b", self_approved=True)
    assert said["self_approved"] is True
    assert approvals_of(ready.stores, ready.models.find(ref))[-1].facts()["self_approved"] is True
    with pytest.raises(PolicyError):
        ready.models.approve(ref, Environment.STAGING, actor=BEN, intent="evt_b", self_approved=True)


def test_open_is_for_dev_only(ready):
    assert deploy(ready, 1, profile=Profile.OPEN)["version"] == 1
    ready.models.approve(parse_ref("diagnosis@1"), Environment.STAGING, actor=BEN, intent="evt_s")
    refused(
        "open-outside-dev",
        PolicyError,
        ready.deployments.deploy,
        "stage",
        parse_ref("diagnosis@1"),
        actor=ANA,
        intent="e",
        profile=Profile.OPEN,
        environment=Environment.STAGING,
    )


@pytest.mark.parametrize("act", [rollback, lambda house: deploy(house, 1)])
def test_a_tampered_version_is_not_switched_to(ready, act):
    deploy(ready, 1)
    deploy(ready, 2)
    told = list(ready.gateway.told)
    flip(blob_of(ready, 1))
    with pytest.raises(VerificationError):
        act(ready)
    assert ready.gateway.told == told
    assert ready.deployments.find("live").model.number == 2


def test_a_rewritten_row_is_not_switched_to(ready):
    deploy(ready, 1)
    deploy(ready, 2)
    with ready.stores.engine.begin() as c:
        c.execute(update(versions).where(versions.c.number == 1).values(digest="sha256:" + "0" * 64))
    refused("digest-mismatch", VerificationError, rollback, ready)


def test_a_failed_rollout_is_undone(ready):
    deploy(ready, 1)
    before = ready.deployments.find("live")
    ready.gateway.broken = True
    undone = partial(ready.deployments.deploy, "live", parse_ref("diagnosis@2"), actor=ANA, intent="evt_undone")
    refused("worker-start", SandboxError, undone)
    assert not took_effect(ready.stores, "evt_undone")
    after = ready.deployments.find("live")
    assert (after.model, after.profile, after.earlier) == (before.model, before.profile, before.earlier)
    assert [line["change"] for line in after.history] == ["deployed", "deployed", "restored"]
    assert [line["version"] for line in after.history] == [1, 2, 1]
    assert after.history[-1]["undoes"] == after.history[-2]["number"]
    assert ready.gateway.told[-1] == ("live", after.number)
    ready.gateway.broken = False
    assert deploy(ready, 2)["previous"] == 1
    assert rollback(ready)["version"] == 1


def test_a_failed_first_rollout_leaves_no_deployment(ready):
    ready.gateway.broken = True
    refused("worker-start", SandboxError, deploy, ready, 1)
    refused("not-found", NotFoundError, ready.deployments.find, "live")


def test_no_entry_undoes_one_of_another_deployment(ready):
    """What answers under a name is never what another name is admitted for."""
    deploy(ready, 1)
    other = ready.deployments.deploy("other", parse_ref("diagnosis@2"), actor=ANA, intent="evt_o")["number"]
    ready.deployments.pause("other", actor=ANA, intent="evt_p")
    pause = ready.deployments.find("other").number
    assert pause > other
    body = next(one.body for one in ready.stores.state.entries() if one.kind == "deployment")
    forged = {**body, "change": "restored", "undoes": pause}
    ready.commit([("deployment", forged)], "evt_forged")
    assert body["name"] not in ready.deployments.all()
    assert ready.deployments.find("other").number == pause


def test_pause_and_resume(ready):
    deploy(ready, 1)
    said = ready.deployments.pause("live", actor=ANA, intent="e")
    assert (said["state"], said["confirmed"], ready.gateway.heeded) == ("paused", True, 1)
    assert ready.deployments.find("live").paused
    assert ready.deployments.resume("live", actor=ANA, intent="e")["version"] == 1
    assert not ready.deployments.find("live").paused
    refused("nothing-earlier", ConflictError, rollback, ready)


def test_a_pause_stands_though_no_gateway_confirms_it(ready):
    deploy(ready, 1)
    ready.gateway.broken = True
    said = ready.deployments.pause("live", actor=ANA, intent="evt_p")
    assert (said["state"], said["confirmed"]) == ("paused", False)
    assert ready.deployments.find("live").paused
    assert took_effect(ready.stores, "evt_p")


class Between:
    """A gateway that loads until something else has happened, and then fails or not."""

    def __init__(self, act, error=None):
        self.act, self.error, self.said = act, error, None

    def converge(self, name, number):
        del name, number
        act, self.act = self.act, None
        if act is None:
            return
        with ThreadPoolExecutor(1) as other:  # as another request would
            self.said = other.submit(act).result(30)
        if self.error:
            raise self.error

    def heed(self):
        pass


def pause_live(house):
    return house.deployments.pause("live", actor=BEN, intent="evt_p", reason="an emergency")


def test_a_pause_waits_for_no_rollout_and_outlives_one_that_is_undone(ready):
    deploy(ready, 1)
    gateway = Between(lambda: pause_live(ready), SandboxError("It does not start.", code="worker-start"))
    ready.deployments = Deployments(ready.stores, ready.pen, rollout=gateway)
    refused("worker-start", SandboxError, deploy, ready, 2)
    assert gateway.said["state"] == "paused"
    found = ready.deployments.find("live")
    assert (found.model.number, found.paused) == (1, True)
    assert [line["change"] for line in found.history] == ["deployed", "deployed", "paused", "restored"]


def test_a_revocation_waits_for_no_rollout(ready):
    def revoke():
        return ready.deployments.revoke(parse_ref("diagnosis@1"), actor=BEN, intent="evt_v", reason="backdoor")

    gateway = Between(revoke)
    ready.deployments = Deployments(ready.stores, ready.pen, rollout=gateway)
    deploy(ready, 2)
    assert gateway.said["state"] == "revoked"
    assert ready.deployments.revoked() == {ready.models.find(parse_ref("diagnosis@1")).digest}


def between_check_and_commit(monkeypatch, act):
    """A deploy has verified its version; then `act` happens; then it goes on."""
    verified = Deployments._promoted

    def verified_then(*args):
        model = verified(*args)
        monkeypatch.undo()
        act()
        return model

    monkeypatch.setattr(Deployments, "_promoted", verified_then)


def test_a_deploy_that_a_pause_overtook_does_not_end_it(ready, monkeypatch):
    deploy(ready, 1)
    between_check_and_commit(monkeypatch, lambda: pause_live(ready))
    refused("changed-meanwhile", ConflictError, deploy, ready, 2)
    assert ready.deployments.find("live").paused


def test_a_version_that_was_deleted_meanwhile_is_not_deployed(ready, monkeypatch):
    deploy(ready, 1)
    between_check_and_commit(monkeypatch, lambda: ready.models.delete(parse_ref("diagnosis@2"), intent="e"))
    refused("not-found", NotFoundError, deploy, ready, 2)
    assert [line["change"] for line in ready.deployments.find("live").history] == ["deployed"]


def test_nothing_is_deployed_between_a_deletions_check_and_its_end(ready, monkeypatch):
    held = []
    look = models.deployments_of
    monkeypatch.setattr(
        models, "deployments_of", lambda stores: held.append(ready.pen.deciding.locked()) or look(stores)
    )
    ready.models.delete(parse_ref("diagnosis@1"), intent="e")
    assert held == [True]


def test_what_is_served_is_not_deleted(ready):
    deploy(ready, 1)
    refused("in-use", ConflictError, ready.models.delete, parse_ref("diagnosis@1"), intent="e")
    deploy(ready, 2)
    ready.models.delete(parse_ref("diagnosis@1"), intent="e")
    refused("not-found", NotFoundError, rollback, ready)


def while_it_switches(ready, monkeypatch, act, *, fails):
    """Let `act` happen after the switch is on record and before it is done."""

    def converge(name, number):
        monkeypatch.undo()
        act()
        if fails:
            raise SandboxError("The worker did not start.", code="worker-start")

    monkeypatch.setattr(ready.gateway, "converge", converge)


@pytest.mark.parametrize("fails", [True, False])
@pytest.mark.parametrize("replaced", ["diagnosis@2", "diagnosis@1"], ids=["serving", "earlier"])
def test_what_a_switch_may_return_to_is_not_deleted_while_it_runs(ready, monkeypatch, fails, replaced):
    deploy(ready, 1)
    deploy(ready, 2)

    def deletes():
        refused("switching", ConflictError, ready.models.delete, parse_ref(replaced), intent="e")

    while_it_switches(ready, monkeypatch, deletes, fails=fails)
    if fails:
        refused("worker-start", SandboxError, deploy, ready, 3)
        found, model = ready.deployments.load("live")  # its keys are there
        model.close()
        assert found.model.number == 2
        assert rollback(ready)["version"] == 1
    else:
        deploy(ready, 3)
        ready.models.delete(parse_ref(replaced), intent="e")


@pytest.mark.parametrize("name", ["", "Live", "a/b", "-" * 64])
def test_deployment_names_are_checked(ready, name):
    refused("bad-name", InputError, ready.deployments.deploy, name, parse_ref("diagnosis"), actor=ANA, intent="e")


@pytest.mark.parametrize("kind", ["deployment", "approval", "revocation", "trust"])
def test_state_that_cannot_be_read_stops_everything(ready, kind):
    deploy(ready, 1)
    ready.commit([(kind, {"nobody": "understands"})], "e")
    for _ in range(2):  # what could not be folded is not passed over next time
        with pytest.raises(VerificationError):
            ready.deployments.load("live")


def test_what_was_folded_is_kept_and_what_came_since_is_always_seen(ready, monkeypatch):
    deploy(ready, 1)
    asked = []
    entries = type(ready.stores.state).entries
    monkeypatch.setattr(
        type(ready.stores.state), "entries", lambda self, after=0: asked.append(after) or entries(self, after)
    )
    first = ready.deployments.find("live")
    assert ready.deployments.find("live") is first
    assert asked[-1] == first.number
    pause_live(ready)
    assert ready.deployments.find("live").paused
    ready.deployments.all().clear()  # the caller's own copy
    assert ready.deployments.find("live").paused


def test_a_signed_state_that_was_altered_is_not_answered_from_what_was_folded(ready):
    deploy(ready, 1)
    assert ready.deployments.find("live")
    with ready.stores.engine.begin() as connection:
        connection.execute(delete(ledger).where(ledger.c.kind == "deployment"))
    refused("state-rolled-back", VerificationError, ready.deployments.all)
    refused("state-rolled-back", VerificationError, ready.deployments.revoked)


def test_a_change_that_can_neither_be_carried_out_nor_undone_is_said_to_be_unknown(ready):
    deploy(ready, 1)
    ready.gateway.broken = True
    commit, gone = ready.pen.commit, StorageError("Nobody listens at keeper.sock.", code="not-running")

    def killed_at_the_second(entries, intent):
        if any(body.get("change") == "restored" for _, body in entries):
            raise gone
        return commit(entries, intent)

    object.__setattr__(ready.pen, "commit", killed_at_the_second)
    error = refused("outcome-unknown", StorageError, deploy, ready, 2)
    for part in ("not known", "The worker did not start", "Nobody listens", "casemate deployment show live"):
        assert part in error.message
    assert ready.deployments.find("live").model.number == 2  # on record, as it was said
