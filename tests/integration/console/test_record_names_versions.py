"""The audit log says which version was taken, tried or ended, and what the walls refused to a script."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest
from tiny_models import doubling_model

from casemate.client import Casemate
from casemate.core import CasemateError

TRIES = """
for n in range(130):
    try:
        open(f"{folder}/{n}")
    except OSError:
        pass
"""


@pytest.fixture(scope="module")
def made(casemate: Casemate, tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("made")
    (folder / "rows.csv").write_text("age,ill\n41,0\n57,1\n68,1\n")
    casemate.push_dataset("people", folder / "rows.csv", target="ill")
    for number in (1, 2):
        (folder / f"{number}.onnx").write_bytes(doubling_model(float(number)))
        casemate.push_model("risk", folder / f"{number}.onnx")
    return folder


def newest(casemate: Casemate, **filters: str) -> dict[str, Any]:
    return next(iter(casemate.audit_entries(**filters)))


def test_what_was_taken_is_named_by_number_and_digest(casemate: Casemate, made: Path) -> None:
    casemate.pull_model("risk", made / "pulled")
    facts = newest(casemate, kind="decision", action="model:export")["facts"]
    assert (facts["version"], facts["digest"]) == (2, casemate.model("risk@2")["digest"])
    casemate.pull_dataset("people@1", made / "people.parquet")
    facts = newest(casemate, kind="decision", action="dataset:export")["facts"]
    assert (facts["version"], facts["digest"]) == (1, casemate.dataset("people@1")["digest"])
    with pytest.raises(CasemateError):
        casemate.pull_model("risk@9", made / "nothing")
    assert newest(casemate, kind="decision", action="model:export")["facts"]["version"] == "9"


def test_a_deployment_that_failed_names_the_model(casemate: Casemate, made: Path) -> None:
    with pytest.raises(CasemateError):
        casemate.deploy("door", "risk@1")  # not approved
    for kind in ("intent", "outcome"):
        facts = newest(casemate, kind=kind, action="deployment:deploy")["facts"]
        assert (facts["model"], facts["version"]) == ("risk", 1)
        assert facts["digest"] == casemate.model("risk@1")["digest"]
    assert facts["error"] == "not-approved"


def test_the_end_of_a_version_is_named_before_it_comes(casemate: Casemate, made: Path) -> None:
    (made / "3.onnx").write_bytes(doubling_model(3.0))
    digest = casemate.push_model("risk", made / "3.onnx")["digest"]
    casemate.revoke_model("risk@3", reason="a test")
    casemate.delete_model("risk@3")
    for action in ("model:revoke", "model:delete"):
        facts = newest(casemate, kind="intent", action=action)["facts"]
        assert (facts["version"], facts["digest"]) == (3, digest)


def test_a_refused_run_names_its_dataset_and_what_it_tried(casemate: Casemate, made: Path) -> None:
    secrets = made / ("a" * 200)
    secrets.mkdir()
    for n in range(130):
        (secrets / str(n)).write_text("x")
    (made / "train.py").write_text(f"folder = {str(secrets)!r}\n{TRIES}")
    result = casemate.train(made / "train.py", dataset="people", model="tried")
    assert result["verdict"] == "refused", result
    assert result["blocked"], result
    facts = newest(casemate, kind="outcome", action="model:train")["facts"]
    assert (facts["dataset"], facts["dataset_digest"]) == ("people@1", casemate.dataset("people@1")["digest"])
    answer = facts["answer"]
    assert answer["blocked_count"] == len(result["blocked"]) >= 130
    assert len(answer["blocked"]) == 100
    targets = [one["target"] for one in answer["blocked"] if one["target"].startswith(str(made))]
    assert targets
    assert all(len(target) == 200 for target in targets)
