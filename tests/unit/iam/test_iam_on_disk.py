"""The gate and the grants over the real signed ledger and the real audit log."""

import signal
import subprocess
import sys
from pathlib import Path

import iam_on_disk
import pytest
from iam_on_disk import MODEL, OWNER, DiskHouse

from casemate.auditlog import verify_log
from casemate.core import Action, AuthError, ConflictError, PolicyError, StorageError, VerificationError
from casemate.iam import reconcile, revoke_key


@pytest.fixture
def house(tmp_path: Path):
    made = DiskHouse(tmp_path)
    yield made
    made.engine.dispose()


def test_a_key_works_wherever_the_signed_state_is_read_until_it_is_revoked(house: DiskHouse) -> None:
    other_access, other = house.reader()
    holder, key = house.holder("operator")
    with pytest.raises(AuthError):
        other.authenticate(key)
    assert other_access.refresh()
    assert other.authenticate(key) == holder
    assert other.decide(holder, Action.MODEL_READ, MODEL).allowed
    house.append(revoke_key(house.access, holder.credential, by=OWNER, reason="lost", now=house.clock.now()))
    assert other_access.refresh()
    assert not other.decide(holder, Action.MODEL_READ, MODEL).allowed
    with pytest.raises(AuthError, match="revoked"):
        other.authenticate(key)


def test_an_altered_state_leaves_nobody_allowed(house: DiskHouse) -> None:
    other_access, other = house.reader()
    holder, key = house.holder("owner")
    house.holder("caller")
    with house.engine.begin() as connection:
        connection.exec_driver_sql("update ledger set kind = 'trust' where number = 5")
    with pytest.raises(VerificationError):
        other_access.refresh()
    with pytest.raises(StorageError, match="does not verify"):
        other.authenticate(key)
    assert not other.decide(holder, Action.MODEL_READ, MODEL).allowed


def test_acts_reads_and_refusals_are_in_a_log_that_verifies(house: DiskHouse) -> None:
    caller, key = house.holder("caller")
    with house.gate.open(OWNER, Action.MODEL_PUSH, MODEL, reason=f"with {key}") as entry:
        entry.facts["digest"] = "sha256:00"
    house.gate.read(OWNER, Action.MODEL_READ, MODEL)
    with pytest.raises(PolicyError):
        house.gate.read(caller, Action.MODEL_READ, MODEL)
    found = [(event["kind"], event["outcome"]) for event in house.log.reader.page().items]
    assert found == [("decision", "refused"), ("decision", "allowed"), ("outcome", "done"), ("intent", "allowed")]
    assert house.log.reader.open_intents() == []
    assert all(key.encode() not in body for body in house.log.reader.bodies())
    assert verify_log(house.log.reader, kept={}).ok


def test_a_process_killed_in_the_middle_of_an_act_is_closed_at_start_once(tmp_path: Path) -> None:
    died = subprocess.run([sys.executable, iam_on_disk.__file__, tmp_path], check=False, timeout=300)
    assert died.returncode == -signal.SIGKILL
    house = DiskHouse(tmp_path)
    (intent,) = left = house.log.reader.open_intents()
    assert intent.reason == "dies here"
    (closed,) = reconcile(left, house.log, lambda _: False, house.clock)
    assert (closed.outcome, closed.facts) == ("interrupted", {"intent": intent.id})
    assert reconcile(house.log.reader.open_intents(), house.log, lambda _: False, house.clock) == []
    with pytest.raises(ConflictError):  # an intent has one outcome, whoever asks
        reconcile(left, house.log, lambda _: True, house.clock)
    assert verify_log(house.log.reader, kept={}).ok
    house.engine.dispose()
