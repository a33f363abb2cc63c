"""Pickles become models that can be served, in the real sandbox; a pickle that lies about the result is found out."""

from __future__ import annotations

import json
import pickle  # noqa: TID251 writes pickles of our own making; loads none
import re
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from click.testing import CliRunner
from opcodes import MARKER, call, import_4, proto, text
from pickled_models import HOLDS, JUNK, LIE, REACHES, SHORT, TELLS, fitted, with_code

from casemate.cli import cli
from casemate.core import CasemateError, InputError, VerificationError, digest_of, seal_bytes
from casemate.registry.conversions import Tolerance
from casemate.runtime import conversion
from casemate.runtime.conversion import convert_model
from casemate.runtime.conversion_compare import compared
from casemate.runtime.conversion_rows import read_rows


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


@pytest.mark.parametrize("kind", ["two classes", "three classes", "a number", "two numbers"])
def test_a_linear_model_is_its_weights(kind: str) -> None:
    from sklearn.linear_model import LinearRegression, LogisticRegression

    rows = np.random.default_rng(0).normal(size=(90, 3))
    target = {
        "two classes": np.where(rows[:, 0] > 0, "yes", "no"),
        "three classes": np.digitize(rows[:, 1], [-0.5, 0.5]),
        "a number": rows @ [1.0, 2.0, 3.0] + 4,
        "two numbers": rows[:, :2] * 2,
    }[kind]
    model = (LogisticRegression() if "classes" in kind else LinearRegression()).fit(rows, target)
    with seal_bytes([pickle.dumps(model)]) as source, convert_model(source, "m.pkl", to="safetensors") as converted:
        assert converted.signature is None
        assert converted.record["compared"]["max_difference"] < 1e-9
        data = converted.file.read()
    size = int.from_bytes(data[:8], "little")
    header = json.loads(data[8 : 8 + size])
    assert header["coef"]["shape"] == list(np.atleast_2d(model.coef_).shape)
    assert np.array_equal(
        np.frombuffer(data[8 + size :][: header["coef"]["data_offsets"][1]]), np.atleast_2d(model.coef_).ravel()
    )
    if kind == "two classes":
        assert json.loads(header["__metadata__"]["classes"]) == ["no", "yes"]


def test_weights_that_are_not_all_of_a_model_are_no_conversion() -> None:
    from sklearn.linear_model import PoissonRegressor
    from sklearn.tree import DecisionTreeRegressor

    rows = np.abs(np.random.default_rng(0).normal(size=(60, 3)))
    for model, code in (
        (PoissonRegressor().fit(rows, rows[:, 0]), "convert-differs"),  # its answer is not its score
        (DecisionTreeRegressor(max_depth=2).fit(rows, rows[:, 0]), "convert-unsupported"),
    ):
        with seal_bytes([pickle.dumps(model)]) as source, pytest.raises(CasemateError) as refused:
            convert_model(source, "m.pkl", to="safetensors")
        assert refused.value.code == code


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
        (with_code(HOLDS), "convert-attempt"),
        (with_code(REACHES), "convert-attempt"),
    ],
    ids=["lies about its predictions", "writes something else", "starts a program", "holds its export", "reaches out"],
)
def test_a_hostile_pickle_gains_nothing_by_its_conversion(data: bytes, code: str) -> None:
    with seal_bytes([data]) as source, pytest.raises(VerificationError) as refused:
        convert_model(source, "m.pkl", to="skops", despite_findings=True)
    assert refused.value.code == code
    assert not Path(MARKER).exists()


ROW = 271.828125  # exact in 32 bits, and in no model


@pytest.mark.parametrize(
    ("code", "refusal"),
    [(TELLS, "convert-sample"), (REACHES, "convert-attempt"), (SHORT, "sandbox-protocol")],
    ids=["in its error", "in a path", "in how much it says"],
)
def test_a_process_that_has_seen_rows_tells_none(code: str, refusal: str) -> None:
    rows = np.full((5, 3), ROW)
    with seal_bytes([with_code(code)]) as source, pytest.raises(CasemateError) as refused:
        convert_model(source, "m.pkl", to="skops", sample=rows, despite_findings=True)
    assert refused.value.code == refusal
    assert "271" not in refused.value.message


def test_what_is_known_of_a_conversion_is_no_words_of_the_pickle() -> None:
    with (
        seal_bytes([with_code("import importlib.metadata as m\nm.version = lambda name: 'forged'\n")]) as source,
        convert_model(source, "m.pkl", to="skops", despite_findings=True) as converted,
    ):
        told = converted.record
    assert "forged" not in told["libraries"].values()
    assert {"casemate", "python", "scikit-learn"} <= set(told["libraries"])
    assert told["despite_findings"] is True
    assert "pickle-forbidden-import" in told["source"]["findings"]


def test_a_sample_is_as_many_rows_as_are_needed_in_the_order_asked_for() -> None:
    sink = pa.BufferOutputStream()
    pq.write_table(
        pa.table({"a": np.arange(12_000), "label": np.zeros(12_000), "b": np.ones(12_000)}), sink, row_group_size=700
    )
    with seal_bytes([sink.getvalue().to_pybytes()]) as file:
        rows = read_rows(file, ["b", "a"])
    assert rows.shape == (10_000, 2)
    assert rows[[0, -1]].tolist() == [[1.0, 0.0], [1.0, 9999.0]]


@pytest.mark.parametrize("name", ["", "a" * 201, "a\nb", "a\x1b[31m"])
def test_a_name_that_cannot_be_shown(name: str) -> None:
    with seal_bytes([b"x"]) as source, pytest.raises(InputError) as refused:
        convert_model(source, name, to="onnx")
    assert refused.value.code == "bad-filename"


@pytest.mark.parametrize(
    ("said", "given"),
    [
        ({"label": np.zeros(4)}, {"label": np.array([0, 0, 0, 0.1])}),
        ({"label": np.zeros(4)}, {"label": np.array([0, 0, 0, np.nan])}),
        ({"label": np.zeros(4, int)}, {"label": np.array([0, 0, 0, 1])}),
        ({"label": np.zeros(4)}, {"score": np.zeros(4)}),
        ({"label": np.zeros(4)}, {"label": np.zeros(3)}),
        ({"label": np.zeros(4), "probabilities": np.zeros((4, 2))}, {"label": np.zeros(4)}),
        ({"label": np.zeros(4), "probabilities": np.zeros((4, 2))}, {"probabilities": np.zeros((4, 3))}),
        ({"label": np.zeros(4)}, {"label": np.array(["a"] * 4, object)}),
        ({"label": np.array(["a"] * 4)}, {"label": np.zeros(4)}),
        ({"label": np.zeros(4), "probabilities": np.zeros(4)}, {"probabilities": np.zeros(4)}),
        ({"label": np.zeros(4), "probabilities": np.zeros((4, 0))}, {"probabilities": np.zeros((4, 0))}),
        ({"label": np.zeros(4), "probabilities": np.zeros((4, 2))}, {"probabilities": np.full((4, 2), b"a", object)}),
    ],
)
def test_what_differs_is_not_kept(said: Any, given: Any) -> None:
    with pytest.raises(VerificationError) as refused:
        compared(said, given, Tolerance())
    assert refused.value.code == "convert-differs"


def test_a_refusal_tells_no_figure_that_rows_of_a_dataset_could_be_in() -> None:
    """A process that has seen the rows would choose the figure."""
    said, given = {"label": np.zeros(4)}, {"label": np.array([0, 0, 0, 4.2e-1])}
    with pytest.raises(VerificationError, match=re.escape("4.2e-01")):
        compared(said, given, Tolerance())
    with pytest.raises(VerificationError) as refused:
        compared(said, given, Tolerance(), figures=False)
    assert not re.search(r"\d", refused.value.message)
