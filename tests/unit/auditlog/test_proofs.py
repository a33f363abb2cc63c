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
import sqlalchemy
from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey
from cryptography.hazmat.primitives.serialization import Encoding, PublicFormat
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from log_house import LogHouse, event

from casemate.auditlog import offline
from casemate.auditlog.tree import TILE
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


OTHER_KEY = (
    Ed25519PrivateKey.generate().public_key().public_bytes(Encoding.PEM, PublicFormat.SubjectPublicKeyInfo).decode()
)


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
        lambda proof: proof.update(hashes=[*proof["hashes"][:-1], proof["hashes"][-1].replace("=", "")]),
        lambda proof: proof.update(schema=2),
        lambda proof: proof.update(schema=True),
        lambda proof: proof.update(index=str(proof["index"])),
        lambda proof: proof.update(size=700.0),
        lambda proof: proof.update(another=1),
        lambda proof: proof.pop("public_key"),
        lambda proof: proof.update(public_key="none"),
        lambda proof: proof.update(public_key=OTHER_KEY),
        lambda proof: proof.update(checkpoint=proof["checkpoint"][:-1]),
        lambda proof: proof.update(checkpoint=proof["checkpoint"] + proof["checkpoint"]),
    ],
)
def test_an_altered_proof_is_refused(proven: tuple[LogHouse, str, dict], change) -> None:
    house, _, proof = proven
    altered = copy.deepcopy(proof)
    change(altered)
    with pytest.raises(ValueError, match=r"^[a-z]"):
        offline.check(altered, house.keeper.public_pem(Purpose.CHECKPOINT))


@given(field=st.sampled_from(["entry", "hashes", "checkpoint"]), data=st.data())
@settings(deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
def test_any_flipped_character_of_a_proof_is_refused(
    proven: tuple[LogHouse, str, dict], field: str, data: st.DataObject
) -> None:
    house, _, proof = proven
    altered = copy.deepcopy(proof)
    where = data.draw(st.integers(0, len(proof["hashes"]) - 1)) if field == "hashes" else field
    holder = altered["hashes"] if field == "hashes" else altered
    text = holder[where]
    at = data.draw(st.integers(0, len(text) - 1))
    holder[where] = text[:at] + chr(ord(text[at]) ^ 1 << data.draw(st.integers(0, 6))) + text[at + 1 :]
    with pytest.raises(ValueError, match=r"."):
        offline.check(altered, house.keeper.public_pem(Purpose.CHECKPOINT))


@pytest.mark.parametrize("text", ["", "[]", "7", "{}", "[" * 100_000, '{"public_key": 1}', "\udc80"])
def test_a_file_that_is_no_proof_gets_one_sentence(tmp_path: Path, text: str) -> None:
    (tmp_path / "proof.json").write_bytes(text.encode(errors="surrogateescape"))
    command = [sys.executable, "-m", "casemate.auditlog.offline", str(tmp_path / "proof.json")]
    done = subprocess.run(command, capture_output=True, text=True, check=False)
    assert (done.returncode, done.stdout) == (1, "")
    assert done.stderr.startswith("NOT PROVEN: ")
    assert done.stderr.count("\n") == 1


def test_a_proof_reads_a_few_rows_however_long_the_log(house: LogHouse) -> None:
    events = [event(number) for number in range(40 * TILE + 9)]
    house.log.append(events)
    read: list[int] = []

    @sqlalchemy.event.listens_for(house.engine, "after_cursor_execute")
    def _read(connection: object, cursor: object, statement: str, *_: object) -> None:
        read.append(1)

    proof = house.log.reader.prove(events[17 * TILE + 3].id)
    most = 8 if house.engine.dialect.name == "sqlite" else 10  # its transactions begin with a statement
    assert len(read) <= most  # transactions, the checkpoint, the entry, and a tile of each level at each side
    assert offline.check(proof, house.keeper.public_pem(Purpose.CHECKPOINT))["id"] == events[17 * TILE + 3].id


def test_another_logs_key_is_refused(proven: tuple[LogHouse, str, dict]) -> None:
    house, _, proof = proven
    with pytest.raises(ValueError, match="Ed25519"):
        offline.check(proof, house.keeper.public_pem(Purpose.RELEASE))


def test_what_is_not_in_the_log_has_no_proof(proven: tuple[LogHouse, str, dict]) -> None:
    with pytest.raises(NotFoundError):
        proven[0].log.reader.prove("evt_nothing")
