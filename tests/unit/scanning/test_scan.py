"""Each evil file is refused for its own reason, nothing of it runs, and honest models pass."""

from __future__ import annotations

import os
import pickle  # noqa: TID251 makes what users bring; nothing here is loaded
from pathlib import Path

import numpy as np
import pytest
import skops.io
from evil_files import CALL, EVIL, GOOD, MARKER, onnx_model, safetensors
from skl2onnx import to_onnx
from sklearn.ensemble import RandomForestClassifier
from sklearn.linear_model import LinearRegression, LogisticRegression
from sklearn.neighbors import KNeighborsClassifier
from sklearn.neural_network import MLPClassifier
from sklearn.pipeline import make_pipeline
from sklearn.preprocessing import StandardScaler
from sklearn.svm import SVC
from sklearn.tree import DecisionTreeClassifier

from casemate.core import CasemateError, InputError, Severity, seal_bytes
from casemate.scanning import ScanReport, convert_dataset, scan, scan_path

RNG = np.random.default_rng(3)
ROWS, LABELS = RNG.normal(size=(60, 4)).astype(np.float32), RNG.integers(0, 2, 60)
ESTIMATORS = [
    LogisticRegression(),
    make_pipeline(StandardScaler(), LogisticRegression()),
    RandomForestClassifier(n_estimators=3),
    DecisionTreeClassifier(),
    KNeighborsClassifier(),
    SVC(),
    MLPClassifier(hidden_layer_sizes=(4,), max_iter=2000),
]
names = [type(estimator).__name__ for estimator in ESTIMATORS]


def scanned(data: bytes, name: str = "model.bin") -> ScanReport:
    with seal_bytes([data]) as file:
        return scan({name: file})


@pytest.mark.parametrize("name", list(EVIL))
def test_an_evil_file_is_refused_for_its_own_reason(name: str) -> None:
    data, reason = EVIL[name]
    report = scanned(data)
    assert report.verdict == "refused"
    assert reason in {finding.id for finding in report.findings}
    assert all(finding.remediation and finding.evidence for finding in report.findings)
    assert not Path(MARKER).exists()


def fitted(estimator: object) -> object:
    return estimator.fit(ROWS, LABELS)  # type: ignore[attr-defined]


@pytest.mark.parametrize("estimator", [one for one in ESTIMATORS if not isinstance(one, SVC)])
def test_honest_onnx_passes(estimator: object) -> None:
    graph = to_onnx(fitted(estimator), ROWS[:1], options={"zipmap": False})
    report = scanned(graph.SerializeToString(), "model.onnx")
    assert (report.verdict, report.format) == ("clean", "onnx"), report.findings


@pytest.mark.parametrize("estimator", ESTIMATORS, ids=names)
def test_honest_skops_passes(estimator: object) -> None:
    report = scanned(skops.io.dumps(fitted(estimator)), "model.skops")
    assert (report.verdict, report.format) == ("clean", "skops"), report.findings


@pytest.mark.parametrize("estimator", [*ESTIMATORS, LinearRegression()], ids=[*names, "LinearRegression"])
def test_an_honest_pickle_is_refused_only_for_being_one(estimator: object) -> None:
    report = scanned(pickle.dumps(fitted(estimator)))
    serious = {finding.id for finding in report.findings if finding.severity in (Severity.HIGH, Severity.CRITICAL)}
    assert (report.verdict, serious) == ("refused", {"pickle-not-served"})


def test_honest_safetensors_pass() -> None:
    header = {"w": {"dtype": "F32", "shape": [2], "data_offsets": [0, 8]}}
    assert scanned(safetensors(header, bytes(8))).verdict == "clean"


def test_a_model_with_side_files_passes_and_evil_among_them_does_not() -> None:
    with seal_bytes([GOOD]) as model, seal_bytes([b'{"accuracy": 0.9}']) as side, seal_bytes([CALL]) as evil:
        assert scan({"model.onnx": model, "metrics.json": side}).verdict == "clean"
        report = scan({"model.onnx": model, "extra.bin": evil})
    assert "pickle-forbidden-import" in {finding.id for finding in report.findings}


def test_facts_tell_what_a_model_takes() -> None:
    facts = scanned(onnx_model(repeat=3)).facts
    assert "X" in str(facts)


@pytest.mark.parametrize("kind", ["link", "folder link", "pipe", "missing"])
def test_only_plain_files_are_read(kind: str, tmp_path: Path) -> None:
    place = tmp_path / "model"
    if kind == "link":
        place.symlink_to("/etc/passwd")
    elif kind == "folder link":
        place.mkdir()
        (place / "inner").symlink_to("/etc")
    elif kind == "pipe":
        os.mkfifo(place)
    with pytest.raises(InputError):
        scan_path(place)


TABLES = [
    (b"a,b,label\n1,2.5,0\n3,4,1\n", 2),
    ("\ufeffa;b\n1;\u00e9\n".encode(), 1),
    (b'{"a":1,"b":"x"}\n{"a":2,"b":null}\n', 2),
]


@pytest.mark.parametrize(("data", "rows"), TABLES)
def test_tables_become_parquet(data: bytes, rows: int) -> None:
    with seal_bytes([data]) as file, convert_dataset(file, "table") as converted:
        assert converted.schema["rows"] == rows
        assert converted.parquet.read()[:4] == b"PAR1"


@pytest.mark.parametrize(
    "data",
    [
        b"",
        b"a,b\n",
        b"a,b\n1,2\n3\n",
        b"a,a\n1,2\n",
        b"a,b\n1,\xff\xfe\n",
        b"PAR1",
        b"\x80\x04.",
        b'{"a":1\n',
        GOOD,
    ],
)
def test_a_bad_table_gets_one_sentence(data: bytes) -> None:
    with seal_bytes([data]) as file, pytest.raises(CasemateError) as refused:
        convert_dataset(file, "table")
    assert refused.value.code.startswith("dataset-"), refused.value
    assert "\n" not in refused.value.message


def test_a_target_that_is_not_there_is_named() -> None:
    with seal_bytes([TABLES[0][0]]) as file, pytest.raises(InputError, match="absent"):
        convert_dataset(file, "table", target="absent")
