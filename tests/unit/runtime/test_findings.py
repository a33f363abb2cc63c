from __future__ import annotations

import pytest

from casemate.core import SealedFile, Severity, Verdict, seal_bytes, verdict_of
from casemate.runtime import TrainingResult, findings_of
from casemate.sandbox import Exit, ExitReason

FINISHED = Exit(0, None, ExitReason.FINISHED)


@pytest.fixture
def model() -> SealedFile:
    with seal_bytes([b"x"]) as file:
        yield file


def result(
    model: SealedFile,
    *attempts: tuple[str, str, str],
    refused: tuple[str, ...] = (),
    exit_: Exit = FINISHED,
    log: str = "first\n\nlast\n",
) -> TrainingResult:
    return TrainingResult(
        exit=exit_,
        files=[("model.onnx", model)],
        refused=refused,
        blocked=[{"kind": kind, "target": target, "mode": mode} for kind, target, mode in attempts],
        log_tail=log,
        seconds=1.0,
        environment={},
    )


def test_a_good_run_has_no_findings(model: SealedFile) -> None:
    assert findings_of(result(model)) == []


@pytest.mark.parametrize(
    ("attempt", "expected"),
    [
        (("socket", "AF_INET stream", ""), "training-socket"),
        (("exec", "/bin/sh", ""), "training-exec"),
        (("fork", "clone", ""), "training-fork"),
        (("ptrace", "ptrace", ""), "training-ptrace"),
        (("signal", "kill", ""), "training-signal"),
        (("kernel", "bpf", ""), "training-kernel"),
        (("something-new", "x", ""), "training-something-new"),
        (("open", "/etc/passwd", "write"), "training-write"),
        (("open", "/etc/shadow", "read"), "training-read"),
        (("open", "/proc/1/environ", "read"), "training-read"),
        (("open", "/proc/self/root/etc/passwd", "read"), "training-read"),
        (("open", "/root/.ssh/id_ed25519", "read"), "training-read"),
        (("open", "/sys/devices/../../etc/shadow", "write"), "training-write"),
    ],
)
def test_an_attempt_refuses_the_model(model: SealedFile, attempt: tuple[str, str, str], expected: str) -> None:
    (finding,) = findings = findings_of(result(model, attempt))
    assert finding.id == expected
    assert attempt[1] in finding.evidence
    assert "Remove it from the script" in finding.remediation
    assert verdict_of(findings) is Verdict.REFUSED


@pytest.mark.parametrize("target", ["/etc/passwd", "/proc/self/cmdline", "/sys/devices/virtual/dmi/id/product_name"])
def test_what_libraries_probe_is_told_and_refuses_nothing(model: SealedFile, target: str) -> None:
    (finding,) = findings = findings_of(result(model, ("open", target, "read")))
    assert finding.severity is Severity.INFO
    assert verdict_of(findings) is Verdict.CLEAN


def test_a_probe_does_not_hide_an_attempt_and_many_are_summed_up(model: SealedFile) -> None:
    probes = [("open", f"/usr/share/{n}", "read") for n in range(100)]
    findings = findings_of(result(model, *probes, ("exec", "/bin/sh", "")))
    assert findings[0].id == "training-exec"
    assert len(findings) == 51
    assert findings[-1].evidence == "51 more attempts"


def test_leavings_and_a_bad_end_refuse(model: SealedFile) -> None:
    killed = Exit(None, 9, ExitReason.MEMORY)
    findings = findings_of(result(model, refused=("'x': a link",), exit_=killed))
    assert [finding.id for finding in findings] == ["training-limit", "training-output-refused"]
    assert "memory" in findings[0].evidence
    assert "last" in findings[0].evidence
    assert verdict_of(findings) is Verdict.REFUSED


TRACEBACK = """Traceback (most recent call last):
  File "train.py", line 12, in <module>
    fit()
  File "/usr/lib/python3/sklearn/base.py", line 900, in fit
    raise ValueError("no rows")
ValueError: no rows
"""


@pytest.mark.parametrize(
    ("code", "log", "evidence"),
    [
        (1, TRACEBACK, "line 12: ValueError: no rows"),
        (3, "almost\n", "exit code 3; last line: almost"),
        (1, "no traceback\n", "exit code 1; last line: no traceback"),
    ],
)
def test_a_failed_script_says_where_and_how(model: SealedFile, code: int, log: str, evidence: str) -> None:
    findings = findings_of(result(model, exit_=Exit(code, None, ExitReason.FAILED), log=log))
    assert findings[0].evidence == evidence
