"""Pickles become models that can be served, in the real sandbox; a pickle that lies about the result is found out."""

from __future__ import annotations

import json
import pickle  # noqa: TID251 writes pickles of our own making; loads none
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from click.testing import CliRunner
from opcodes import MARKER, call, import_4, proto, text

from casemate.cli import cli
from casemate.core import InputError, VerificationError, digest_of, seal_bytes
from casemate.runtime import conversion
from casemate.runtime.conversion import Tolerance, convert_model

LIE = """
import casemate.runtime.conversion_job as job, numpy as np
job._predicted = lambda model, rows, np=np: {"label": np.zeros(len(rows)), "probabilities": np.tile([1.0, 0.0], (len(rows), 1))}
"""
JUNK = "import casemate.runtime.conversion_job as job\njob._to_skops = lambda model, rows: b'PK' * 99\n"


def fitted() -> Any:
    from sklearn.linear_model import LogisticRegression

    rows = np.random.default_rng(0).normal(size=(60, 3))
    return LogisticRegression().fit(rows, np.where(rows[:, 0] > 0, "yes", "no"))


def with_code(code: str) -> bytes:
    """A pickle that runs `code` while it loads, and then is the honest model."""
    honest = pickle.dumps(fitted(), 4)
    return (
        proto()
        + call(import_4("builtins", "exec"), b"X" + len(code).to_bytes(4, "little") + code.encode())
        + b"0"
        + honest[2:]
    )


def test_a_pickle_becomes_onnx_with_what_was_done_on_record(tmp_path: Path) -> None:
    source, sample = tmp_path / "model.pkl", tmp_path / "rows.csv"
    source.write_bytes(pickle.dumps(fitted()))
    sample.write_text("a,b,c\n" + "".join(f"{i / 10},{i % 7},{-i / 20}\n" for i in range(40)))
    command = ["model", "convert", str(source), "--to", "onnx", "--sample", str(sample), "--json"]
    done = CliRunner().invoke(cli, command)
    assert done.exit_code == 0, done.output
    record = json.loads((tmp_path / "model" / conversion.RECORD).read_text())
    assert record == json.loads(done.stdout)["record"]
    assert record["source"]["digest"] == digest_of(source.read_bytes())
    assert record["result"]["digest"] == digest_of((tmp_path / "model" / "model.onnx").read_bytes())
    assert record["sample"] == {"origin": "given", "rows": 40, "digest": record["sample"]["digest"]}
    assert record["compared"]["max_difference"] < 1e-5
    assert record["compared"]["labels_differ"] == 0
    assert "scikit-learn" in record["libraries"]
    scan = CliRunner().invoke(cli, ["model", "scan", str(tmp_path / "model")])
    assert scan.exit_code == 0, scan.output
    again = CliRunner().invoke(cli, command)
    assert isinstance(again.exception, InputError)
    assert again.exception.code == "exists"


def test_boosted_trees_leave_their_pickle() -> None:
    xgboost = pytest.importorskip("xgboost")
    rows = np.random.default_rng(0).normal(size=(60, 3))
    model = xgboost.XGBClassifier(n_estimators=3, n_jobs=1).fit(rows, (rows[:, 0] > 0).astype(int))
    with seal_bytes([pickle.dumps(model)]) as source, convert_model(source, "m.pkl", to="xgboost") as converted:
        assert converted.path == "model.ubj"
        assert converted.record["compared"]["max_difference"] < 1e-6
        assert converted.record["sample"]["origin"] == "made up"


@pytest.mark.parametrize(
    ("data", "to", "code"),
    [
        (b"no pickle at all", "onnx", "convert-no-pickle"),
        (with_code("pass"), "skops", "convert-flagged"),
        (pickle.dumps([1, 2]), "skops", "convert-estimator"),
    ],
    ids=["no pickle", "flagged", "no estimator"],
)
def test_what_cannot_be_converted_is_told_in_a_sentence(data: bytes, to: Any, code: str) -> None:
    with seal_bytes([data]) as source, pytest.raises(InputError) as refused:
        convert_model(source, "m.pkl", to=to)
    assert refused.value.code == code
    assert "\n" not in refused.value.message


@pytest.mark.parametrize(
    ("data", "code"),
    [
        (with_code(LIE), "convert-differs"),
        pytest.param(with_code(JUNK), "convert-refused", marks=pytest.mark.slow),
        (proto() + call(import_4("posix", "system"), text(f"touch {MARKER}")) + b".", "convert-attempt"),
    ],
    ids=["lies about its predictions", "writes something else", "starts a program"],
)
def test_a_hostile_pickle_gains_nothing_by_its_conversion(data: bytes, code: str) -> None:
    with seal_bytes([data]) as source, pytest.raises(VerificationError) as refused:
        convert_model(source, "m.pkl", to="skops", despite_findings=True)
    assert refused.value.code == code
    assert not Path(MARKER).exists()


@pytest.mark.parametrize(
    ("said", "given"),
    [
        ({"label": np.zeros(4)}, {"label": np.array([0, 0, 0, 0.1])}),
        ({"label": np.zeros(4)}, {"label": np.array([0, 0, 0, np.nan])}),
        ({"label": np.zeros(4, int)}, {"label": np.array([0, 0, 0, 1])}),
        ({"label": np.zeros(4)}, {"score": np.zeros(4)}),
        ({"label": np.zeros(4), "probabilities": np.zeros((4, 2))}, {"label": np.zeros(4)}),
        ({"label": np.zeros(4), "probabilities": np.zeros((4, 2))}, {"probabilities": np.zeros((4, 3))}),
        ({"label": np.zeros(4)}, {"label": np.array(["a"] * 4, object)}),
    ],
)
def test_what_differs_is_not_kept(said: Any, given: Any) -> None:
    with pytest.raises(VerificationError) as refused:
        conversion._compared(said, given, Tolerance())
    assert refused.value.code == "convert-differs"
