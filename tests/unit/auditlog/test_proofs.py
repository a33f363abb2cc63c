"""Proofs, and the verifier that knows nothing of us."""

from __future__ import annotations

import base64
import copy
import json
import shutil
import subprocess
import sys
from pathlib import Path

import pytest
from log_house import LogHouse, event

from casemate.auditlog import offline
from casemate.auditlog.tree import verify_consistency
from casemate.core import NotFoundError
from casemate.keys import Purpose


@pytest.fixture
def proven(house: LogHouse) -> tuple[LogHouse, str, dict]:
    events = [event(number) for number in range(700)]
    house.log.append(events)
    return house, events[333].id, house.log.reader.prove(events[333].id)


def test_a_proof_holds_for_every_entry_of_a_small_log(house: LogHouse) -> None:
    key = house.keeper.public_pem(Purpose.CHECKPOINT)
    events = [event(number) for number in range(20)]
    for one in events:
        house.log.append([one])
    for one in events:
        assert offline.check(house.log.reader.prove(one.id), key)["id"] == one.id


def test_the_single_file_proves_without_casemate(proven: tuple[LogHouse, str, dict], tmp_path: Path) -> None:
    house, event_id, proof = proven
    shutil.copy(Path(offline.__file__), tmp_path / "verifier.py")
    (tmp_path / "proof.json").write_text(json.dumps(proof))
    (tmp_path / "key.pem").write_bytes(house.keeper.public_pem(Purpose.CHECKPOINT))
    command = [sys.executable, "verifier.py", "proof.json", "--key", "key.pem"]
    done = subprocess.run(command, cwd=tmp_path, capture_output=True, text=True, check=True)
    assert done.stdout.startswith("proven: ")
    assert event_id in done.stdout
    proof["index"] += 1
    (tmp_path / "proof.json").write_text(json.dumps(proof))
    done = subprocess.run(command, cwd=tmp_path, capture_output=True, text=True, check=False)
    assert (done.returncode, done.stderr.startswith("NOT PROVEN")) == (1, True)


def flipped(text: str) -> str:
    data = bytearray(base64.b64decode(text))
    data[len(data) // 2] ^= 1
    return base64.b64encode(data).decode()


@pytest.mark.parametrize(
    "change",
    [
        lambda proof: proof.update(entry=flipped(proof["entry"])),
        lambda proof: proof.update(index=proof["index"] - 1),
        lambda proof: proof.update(index=-1),
        lambda proof: proof.update(size=proof["size"] + 1),
        lambda proof: proof["hashes"].pop(),
        lambda proof: proof["hashes"].append(proof["hashes"][0]),
        lambda proof: proof["hashes"].reverse(),
        lambda proof: proof.update(checkpoint=proof["checkpoint"].replace("700", "701")),
        lambda proof: proof.update(checkpoint="nonsense"),
        lambda proof: proof.update(hashes="none"),
    ],
)
def test_an_altered_proof_is_refused(proven: tuple[LogHouse, str, dict], change) -> None:
    house, _, proof = proven
    altered = copy.deepcopy(proof)
    change(altered)
    with pytest.raises((ValueError, KeyError, TypeError)):
        offline.check(altered, house.keeper.public_pem(Purpose.CHECKPOINT))


def test_another_logs_key_is_refused(proven: tuple[LogHouse, str, dict]) -> None:
    house, _, proof = proven
    with pytest.raises(ValueError, match="Ed25519"):
        offline.check(proof, house.keeper.public_pem(Purpose.RELEASE))


def test_the_log_continues_its_older_self(proven: tuple[LogHouse, str, dict]) -> None:
    house, _, _ = proven
    old = house.log.reader.newest_checkpoint()
    house.log.append([event(number) for number in range(321)])
    new = house.log.reader.newest_checkpoint()
    assert old is not None
    assert new is not None
    proof = house.log.reader.consistency(old.size, new.size)
    assert verify_consistency(old.size, new.size, proof, old.root, new.root)
    assert not verify_consistency(old.size, new.size, proof, new.root, new.root)


def test_what_is_not_in_the_log_has_no_proof(proven: tuple[LogHouse, str, dict]) -> None:
    with pytest.raises(NotFoundError):
        proven[0].log.reader.prove("evt_nothing")
