"""Each hostile file is refused for its own reason, nothing of it runs, and honest models pass."""

from __future__ import annotations

import os
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from evil_models import add_model, weight
from make_benign import benign_models, benign_pickles, estimators
from make_evil import evil_cases
from opcodes import MARKER, TOUCH, call_4

from casemate.core import InputError, SandboxError, Severity, TooLargeError, Verdict, seal_bytes, verdict_of
from casemate.sandbox import Limits, run_confined
from casemate.scanning import ScanLimits, ScanReport, scan, scan_path

HERE = Path(__file__).parent
EVIL = evil_cases()
FITTED = estimators()
MODELS = benign_models(FITTED)
PICKLES = benign_pickles(FITTED)
GOOD = add_model(weight()).SerializeToString()
ONE_OF_EACH = {finding: name for name, (_, finding) in EVIL.items()}  # the last case of each kind of finding


@pytest.fixture(autouse=True)
def _nothing_runs() -> Iterator[None]:
    Path(MARKER).unlink(missing_ok=True)
    yield
    assert not Path(MARKER).exists(), "a payload has run"


def confined(cases: dict[str, dict[str, bytes]]) -> dict[str, ScanReport]:
    """All of them in one confined process."""
    frame = run_confined(
        "confined:scan_all",
        {name: list(files) for name, files in cases.items()},
        buffers=[data for files in cases.values() for data in files.values()],
        paths=[HERE],
        limits=Limits(memory=2 << 30, file_bytes=0),
        timeout=300,
    )
    return {name: reported(answer) for name, answer in frame.message.items()}


def reported(answer: dict[str, Any]) -> ScanReport:
    import msgspec

    from casemate.core import Finding, ServedFile

    findings = msgspec.convert(answer["findings"], tuple[Finding, ...])
    return ScanReport(
        verdict=verdict_of(list(findings)),
        findings=findings,
        format=answer["format"],
        served=msgspec.convert(answer["served"], ServedFile | None),
        facts=answer["facts"],
    )


def scanned(files: dict[str, bytes], /, **limits: Any) -> ScanReport:
    sealed = {path: seal_bytes([data]) for path, data in files.items()}
    try:
        return scan(sealed, limits=ScanLimits(**limits))
    finally:
        for file in sealed.values():
            file.close()


def ids(report: ScanReport) -> set[str]:
    return {finding.id for finding in report.findings}


@pytest.fixture(scope="module")
def evil_reports() -> dict[str, ScanReport]:
    return confined({name: files for name, (files, _) in EVIL.items()})


@pytest.fixture(scope="module")
def benign_reports() -> dict[str, ScanReport]:
    pickles = {name: {"model.pkl": data} for name, data in PICKLES.items()}
    return confined({name: files for name, (files, _) in MODELS.items()} | pickles)


def test_there_are_as_many_cases_as_promised() -> None:
    distinct = {tuple(sorted(files.items())) for files, _ in EVIL.values()}
    assert len(distinct) >= 250
    assert len(MODELS) + len(PICKLES) >= 50


@pytest.mark.parametrize("name", EVIL)
def test_a_hostile_file_is_refused_for_its_own_reason(name: str, evil_reports: dict[str, ScanReport]) -> None:
    report = evil_reports[name]
    assert report.verdict is Verdict.REFUSED
    assert EVIL[name][1] in ids(report)
    assert "pickle-not-served" not in ids(report), "that is for pickles with nothing suspicious in them"
    assert all(finding.remediation and finding.evidence.isprintable() for finding in report.findings)


@pytest.mark.parametrize("name", MODELS)
def test_an_honest_model_passes(name: str, benign_reports: dict[str, ScanReport]) -> None:
    report = benign_reports[name]
    assert (report.verdict, report.findings, report.format) == (Verdict.CLEAN, (), MODELS[name][1])


@pytest.mark.parametrize("name", PICKLES)
def test_an_honest_pickle_is_refused_only_for_being_one(name: str, benign_reports: dict[str, ScanReport]) -> None:
    report = benign_reports[name]
    assert (report.verdict, ids(report)) == (Verdict.REFUSED, {"pickle-not-served"}), report.findings
    assert "skops" in report.findings[0].remediation


@pytest.mark.parametrize("name", ONE_OF_EACH.values(), ids=ONE_OF_EACH)
def test_the_public_door_refuses_each_kind(name: str, tmp_path: Path) -> None:
    files, finding = EVIL[name]
    for path, data in files.items():
        (tmp_path / path).parent.mkdir(exist_ok=True)
        (tmp_path / path).write_bytes(data)
    report = scan_path(tmp_path)
    assert report.verdict is Verdict.REFUSED
    assert finding in ids(report)


def test_evidence_says_what_and_where() -> None:
    data = call_4("posix", "system", TOUCH)
    (finding,) = scanned({"data.pkl": data}).findings
    assert finding.severity is Severity.CRITICAL
    assert finding.evidence.startswith(f"posix.system at byte {data.index(bytes([0x93]))} of data.pkl")
    assert "ATLAS:AML.T0011.000" in finding.references


def test_facts_of_onnx_and_skops() -> None:
    facts = scanned({"model.onnx": GOOD}).facts
    spec = {"datatype": "FP32", "shape": [-1, 4]}
    assert facts["inputs"] == [{"name": "X", **spec}]
    assert facts["outputs"] == [{"name": "Y", **spec}]
    assert facts["opset"] == {"": 18}
    estimator = scanned(MODELS["skops-forest"][0]).facts["estimator"]
    assert estimator == "sklearn.ensemble._forest.RandomForestClassifier"


@pytest.mark.parametrize(
    ("limits", "data"),
    [
        ({"memory": 16 << 20}, GOOD),
        ({"seconds": 0.05}, b"N0" * 3_000_000 + b"N."),
        ({"operations": 10}, PICKLES["pickle-protocol-0"]),
    ],
    ids=["memory", "time", "operations"],
)
def test_what_cannot_be_inspected_within_the_bounds_is_refused(limits: dict[str, Any], data: bytes) -> None:
    try:
        report = scanned({"model.bin": data}, **limits)
    except SandboxError as error:
        assert error.code == "sandbox-start"  # it could not even start: nothing foreign was touched
    else:
        assert report.verdict is Verdict.REFUSED
        assert ids(report) & {"scan-failed", "scan-limit"}


def test_an_inspection_that_crashes_is_a_finding(monkeypatch: pytest.MonkeyPatch) -> None:
    from casemate.scanning import scan as module

    monkeypatch.setattr(sys.modules[module.__module__], "_ENTRY", "casemate.scanning.dataset_conversion:main")
    report = scanned({"model.onnx": GOOD})
    assert (report.verdict, ids(report)) == (Verdict.REFUSED, {"scan-failed"})


def test_unsafe_names_and_too_many_files_are_refused() -> None:
    with pytest.raises(InputError):
        scanned({"../model.onnx": GOOD})
    with pytest.raises(TooLargeError):
        scanned({"a.json": b"{}", "b.json": b"{}"}, files=1)
    with pytest.raises(TooLargeError):
        scanned({"model.onnx": GOOD}, total_bytes=10)


@pytest.mark.parametrize("kind", ["link", "folder link", "pipe", "missing", "empty folder", "device"])
def test_only_plain_files_are_read(kind: str, tmp_path: Path) -> None:
    place = tmp_path / "model"
    if kind == "link":
        place.symlink_to("/etc/passwd")
    elif kind == "folder link":
        place.mkdir()
        (place / "inner").symlink_to("/etc")
    elif kind == "pipe":
        os.mkfifo(place)
    elif kind == "empty folder":
        place.mkdir()
    elif kind == "device":
        place = Path("/dev/null")
    with pytest.raises(InputError) as refused:
        scan_path(place)
    assert refused.value.code == "scan-path"
    assert "\n" not in refused.value.message


def test_a_folder_is_read_whole_and_within_its_bounds(tmp_path: Path) -> None:
    (tmp_path / "deep").mkdir()
    (tmp_path / "deep" / "model.onnx").write_bytes(GOOD)
    (tmp_path / "README.md").write_text("# A model\n")
    assert scan_path(tmp_path).verdict is Verdict.CLEAN
    with pytest.raises(TooLargeError):
        scan_path(tmp_path, limits=ScanLimits(files=1))
    with pytest.raises(TooLargeError):
        scan_path(tmp_path, limits=ScanLimits(total_bytes=100))
