"""The log is kept for ever and read by many: no row of data, and no output of a script, is ever in it."""

from __future__ import annotations

from pathlib import Path

import pytest
from database_words import stored_bytes

from casemate.client import Casemate
from casemate.core import CasemateError
from casemate.settings import Settings

SECRETS = [f"patient-{number}-8d1f" for number in range(3)]
ROWS = "name,age,ill\n" + "".join(f"{name},{40 + i},{i % 2}\n" for i, name in enumerate(SECRETS))
PRINTS = b"""import os, pathlib, sys
import pyarrow.parquet
rows = pyarrow.parquet.read_table(pathlib.Path(os.environ["CASEMATE_DATASET"]) / "data.parquet").to_pydict()
print(rows)
sys.stderr.write(str(rows) + "\\n")
"""
TOUCHES = b"""
for name in rows["name"]:
    try:
        open("/" + name)
    except OSError:
        pass
"""


def on_record(settings: Settings) -> bytes:
    return stored_bytes(settings.home)


@pytest.mark.parametrize("then", [b"", TOUCHES, b"raise ValueError(str(rows))", b"os.kill(os.getpid(), 9)"])
def test_what_a_training_script_prints_stays_out_of_the_database(
    casemate: Casemate, settings: Settings, tmp_path: Path, then: bytes
) -> None:
    (tmp_path / "rows.csv").write_text(ROWS)
    casemate.push_dataset("patients", tmp_path / "rows.csv", target="ill")
    (tmp_path / "train.py").write_bytes(PRINTS + then)
    headers, query = {"Idempotency-Key": f"train {then!r}"}, {"dataset": "patients"}
    send = {"query": query, "headers": headers, "content": PRINTS + then}
    first = casemate._connection.send("POST", "/models/leaky/train", **send).json()
    assert SECRETS[0] in first["log"], first
    outcome = casemate.audit_entries(action="model:train", kind="outcome", limit=1)[0]
    assert outcome["facts"]["answer"]["verdict"] == first["verdict"]
    again = casemate._connection.send("POST", "/models/leaky/train", **send).json()
    assert (again["name"], again["verdict"]) == (first["name"], first["verdict"])
    assert "log" not in again
    stored = on_record(settings)
    for secret in SECRETS:
        assert secret.encode() not in stored


def test_a_value_that_a_dataset_is_refused_for_stays_out_too(
    casemate: Casemate, settings: Settings, tmp_path: Path
) -> None:
    (tmp_path / "rows.jsonl").write_text(f'{{"age": 1}}\n{{"age": "{SECRETS[0]}"}}\n')
    (tmp_path / "rows.csv").write_text(f"age,name\n{SECRETS[1]},1\n{SECRETS[2]},1,2\n")
    for name in ("rows.jsonl", "rows.csv"):
        with pytest.raises(CasemateError):
            casemate.push_dataset("broken", tmp_path / name)
    stored = on_record(settings)
    for secret in SECRETS:
        assert secret.encode() not in stored
