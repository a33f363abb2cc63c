"""Other scanners are asked in the sandbox: what they find is added, their failure refuses, their silence clears nothing."""

from __future__ import annotations

import json
import pickle  # noqa: TID251 writes one
from importlib.util import find_spec
from pathlib import Path

import pytest
from opcodes import TOUCH, call_4

from casemate.core import InputError, Verdict
from casemate.scanning import scan_path
from casemate.scanning.second_opinions import TOOLS, find_tool

EVIL = call_4("posix", "system", TOUCH)


def found(path: Path, *tools: str) -> dict[str, list[str]]:
    report = scan_path(path, opinions=tools)  # type: ignore[arg-type]
    by_id: dict[str, list[str]] = {}
    for finding in report.findings:
        by_id.setdefault(finding.id, []).append(finding.evidence)
    return by_id | {"verdict": [report.verdict.value]}


@pytest.fixture
def pretend(tmp_path: Path, monkeypatch: pytest.MonkeyPatch):
    """A command on the PATH, whose library in an environment of its own does what is asked."""
    if find_spec("modelscan"):
        pytest.skip("the real one lies in this environment, and comes first")

    def install(tool: str, source: str, part: str) -> None:
        import sys

        library = tmp_path / f"env/lib/python{sys.version_info.major}.{sys.version_info.minor}/site-packages/{tool}"
        library.mkdir(parents=True)
        (library / "__init__.py").touch()
        (library / f"{part}.py").write_text(source)
        (tmp_path / "env/bin").mkdir()
        (tmp_path / f"env/bin/{tool}").write_text("#!/bin/sh\n")
        (tmp_path / f"env/bin/{tool}").chmod(0o755)
        monkeypatch.setenv("PATH", str(tmp_path / "env/bin"))
        monkeypatch.setattr("importlib.util.find_spec", lambda _name: None)

    return install


MODELSCAN = """
class ModelScan:
    def scan(self, folder):
        import os
        {act}
        return {{"summary": {{"scanned": {{"total_scanned": {looked}}}}}, "issues": {issues}, "errors": {errors}}}
"""


def modelscan(act: str = "pass", looked: int = 1, issues: object = (), errors: object = ()) -> str:
    return MODELSCAN.format(act=act, looked=looked, issues=list(issues), errors=list(errors))  # type: ignore[call-overload]


@pytest.fixture
def clean(tmp_path: Path) -> Path:
    from tiny_models import doubling_model

    path = tmp_path / "model.onnx"
    path.write_bytes(doubling_model(2.0))
    return path


@pytest.mark.parametrize(
    ("source", "id_", "verdict"),
    [
        (modelscan(), None, "clean"),
        (modelscan(looked=0), "second-opinion-none", "clean"),
        (
            modelscan(issues=[{"severity": "HIGH", "description": "os.system", "source": "x"}]),
            "second-opinion",
            "refused",
        ),
        (modelscan(errors=["cannot read"]), "second-opinion-failed", "refused"),
        (modelscan("raise ValueError('broken')"), "second-opinion-failed", "refused"),
        (modelscan("os._exit(0)"), "second-opinion-failed", "refused"),
        (modelscan("os.kill(os.getpid(), 11)"), "second-opinion-failed", "refused"),
        (modelscan("open(folder + '/model.onnx', 'w')"), "second-opinion-failed", "refused"),
    ],
)
def test_what_it_says_counts_and_what_it_does_not_say_does_not(pretend, clean, source, id_, verdict) -> None:
    pretend("modelscan", source, "modelscan")
    said = found(clean, "modelscan")
    assert said.pop("verdict") == [verdict]
    assert set(said) == ({id_} if id_ else set())


def test_its_silence_takes_nothing_from_what_we_found(pretend, tmp_path: Path) -> None:
    pretend("modelscan", modelscan(), "modelscan")
    path = tmp_path / "model.pkl"
    path.write_bytes(EVIL)
    assert found(path, "modelscan") == found(path)


def test_a_file_of_the_model_that_is_called_like_a_library_is_not_run_for_it(pretend, tmp_path: Path) -> None:
    """modelscan tries to import tensorflow, for one."""
    tried = modelscan(
        "\n        try:\n            import tensorflow_of_the_model\n        except ImportError:\n            pass\n"
    )
    pretend("modelscan", tried + "\n", "modelscan")
    folder = tmp_path / "model"
    folder.mkdir()
    (folder / "model.pkl").write_bytes(pickle.dumps({}))
    (folder / "tensorflow_of_the_model.py").write_text("raise SystemExit(7)\n")
    assert "second-opinion-failed" not in found(folder, "modelscan")


def test_one_that_is_missing_is_named(clean: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("PATH", "/nonexistent")
    monkeypatch.setattr("importlib.util.find_spec", lambda _name: None)
    with pytest.raises(InputError) as missing:
        scan_path(clean, opinions=["modelscan"])
    assert missing.value.code == "scanner-missing"
    assert "casemate[scanners]" in missing.value.message


@pytest.mark.parametrize("tool", TOOLS)
def test_the_real_tools_where_they_are_installed(tool, tmp_path: Path, clean: Path) -> None:
    try:
        find_tool(tool)
    except InputError:
        pytest.skip(f"{tool} is not installed: `make .venv-scanners/done`, and its bin on the PATH")
    path = tmp_path / "evil.pkl"
    path.write_bytes(EVIL)
    said = found(path, tool)
    assert said["verdict"] == [Verdict.REFUSED.value]
    assert any(tool in evidence for evidence in said["second-opinion"]), json.dumps(said)
    assert found(clean, tool)["verdict"] == ["clean"]
