"""What a training run is judged by: attempts against the walls, its end, and what it left behind."""

from __future__ import annotations

import re
from collections.abc import Iterable

from casemate.core import Finding, Severity
from casemate.runtime.formats import is_servable
from casemate.runtime.outputs import checkpoints_in, without_checkpoints
from casemate.runtime.training import TrainingResult
from casemate.runtime.training_limits import hit
from casemate.sandbox import Denial, ExitReason
from casemate.sandbox.exits import error_of

MAX_ATTEMPTS = 50  # findings of attempts in one report; one more says how many were left out

# Public facts about the machine that libraries read to size pools, name users and find time zones. Everything else
# that is refused is an attempt. Whole names under /proc, because other ones there lead to any file.
_PROBES = frozenset(
    """/etc/host.conf /etc/hosts /etc/ld.so.preload /etc/machine-id /etc/mime.types /etc/nsswitch.conf /etc/os-release
    /etc/passwd /etc/timezone /proc/1/cgroup /proc/cmdline /proc/filesystems /proc/loadavg /proc/mounts
    /proc/self/auxv /proc/self/cmdline /proc/self/limits /proc/self/mountinfo /proc/self/mounts /proc/self/smaps
    /proc/sys/kernel/osrelease /proc/sys/kernel/random/boot_id /proc/sys/vm/max_map_count /proc/uptime /proc/version
    /usr/lib/ssl/cert.pem""".split()  # noqa: SIM905 a table to read, not a column of quotes
)
_PROBED_FOLDERS = ("/sys/devices/", "/sys/fs/cgroup/", "/sys/kernel/mm/", "/usr/local/share/", "/usr/share/")

FAILED = 1  # exit status of a script that raised, as in `script.py`
_FRAME = re.compile(r'^  File "[^"\n/]+", line (\d+)', re.MULTILINE)  # of the script itself: its name has no folder

_ATTEMPTS = {  # kind -> (title, references)
    "socket": ("The script tried to use the network", ("ATLAS:AML.T0025",)),
    "connect": ("The script tried to reach a host that it is not let out to", ("ATLAS:AML.T0025",)),
    "exec": ("The script tried to start a program", ("ATLAS:AML.T0050",)),
    "fork": ("The script tried to start a process", ("ATLAS:AML.T0050",)),
    "ptrace": ("The script tried to look into another process", ("ATLAS:AML.T0105",)),
    "signal": ("The script tried to signal another process", ("ATLAS:AML.T0029",)),
    "kernel": ("The script tried to reach into the kernel", ("ATLAS:AML.T0105",)),
    "read": ("The script tried to read outside its folders", ("ATLAS:AML.T0037",)),
    "write": ("The script tried to write outside its folders", ("ATLAS:AML.T0050",)),
}


def findings_of(result: TrainingResult) -> list[Finding]:
    """Every reason to refuse what this run made, and what is worth knowing; any HIGH one refuses."""
    return [*_attempts(result.blocked), *_end(result), *_leavings(result), *_unmeasured(result)]


def attempts_of(denials: Iterable[Denial]) -> list[Finding]:
    """What the walls refused, as findings; what libraries ask for by themselves is INFO."""
    return _attempts({"kind": one.kind, "target": one.target, "mode": one.mode} for one in denials)


def _attempts(blocked: Iterable[dict[str, str]]) -> list[Finding]:
    blocked = list(blocked)
    findings = sorted(map(_attempt, blocked), key=lambda finding: finding.severity is Severity.INFO)
    if len(findings) > MAX_ATTEMPTS:
        more = Finding(
            id="training-many-attempts",
            title="The script ran against the walls again and again",
            severity=Severity.HIGH,
            evidence=f"{len(findings) - MAX_ATTEMPTS} more attempts",
            remediation="Read the script before you run it again; the audit log names the first hundred of them.",
        )
        findings = [*findings[:MAX_ATTEMPTS], more]
    return findings


def _attempt(attempt: dict[str, str]) -> Finding:
    kind, target = attempt["kind"], attempt["target"]
    probed = target in _PROBES or target.startswith(_PROBED_FOLDERS)
    if probed and (kind, attempt["mode"]) == ("open", "read"):
        return Finding(
            id="training-probe",
            title="A library asked for a fact about the machine and did not get it",
            severity=Severity.INFO,
            evidence=f"read {target}",
            remediation="Nothing to do: libraries go on without it.",
        )
    what = attempt["mode"] if kind == "open" else kind
    title, references = _ATTEMPTS.get(what, ("The script tried what the walls refuse", ()))
    return Finding(
        id=f"training-{what}",
        title=title,
        severity=Severity.HIGH,
        evidence=f"{what} {target}",
        remediation="It was stopped. Remove it from the script; data comes from CASEMATE_DATASET, "
        "results go to CASEMATE_OUTPUT.",
        references=references,
    )


def _end(result: TrainingResult) -> list[Finding]:
    if result.exit.reason is ExitReason.FINISHED:
        return []
    lines = [line.strip() for line in result.log_tail.splitlines() if line.strip()]
    last = lines[-1][:300] if lines else "no output"
    if limit := hit(result.exit, result.limits):
        return [_over(limit, last, kept=bool(result.files))]
    if result.exit.reason is not ExitReason.FAILED:
        evidence = f"{error_of(result.exit).message} Last line: {last}"
    elif result.exit.code == FAILED and (frames := _FRAME.findall(result.log_tail)):
        evidence = f"line {frames[-1]}: {last}"
    else:
        evidence = f"exit code {result.exit.code}; last line: {last}"
    return [
        Finding(
            id="training-failed",
            title="The script did not run to its end",
            severity=Severity.HIGH,
            evidence=evidence,
            remediation="Mend the script, or give it more time or memory, and train again.",
        )
    ]


def _over(limit: str, last: str, *, kept: bool) -> Finding:
    """A run that was stopped at a bound. Args: kept: it left checkpoints."""
    return Finding(
        id="training-limit",
        title="The script was stopped at a limit",
        severity=Severity.MEDIUM if kept else Severity.HIGH,
        evidence=f"{limit}. Last line: {last}",
        remediation="Its checkpoints are kept: go on from them with casemate train --from."
        if kept
        else "Allow it more, or give it less to do; a run that writes checkpoints can go on: casemate train --from.",
    )


def _unmeasured(result: TrainingResult) -> list[Finding]:
    if not result.metrics_left_out:
        return []
    return [
        Finding(
            id="training-metrics-left-out",
            title="The script wrote metrics that were not kept",
            severity=Severity.LOW,
            evidence=f"{result.metrics_left_out} lines",
            remediation="Write JSON objects of finite numbers to CASEMATE_METRICS, a line each, up to 10,000 lines and 100 names.",
        )
    ]


def _leavings(result: TrainingResult) -> list[Finding]:
    findings = [
        Finding(
            id="training-output-refused",
            title="The script left something that cannot be part of a model",
            severity=Severity.HIGH,
            evidence=text[:300],
            remediation="Write plain files only, few and small enough, under CASEMATE_OUTPUT.",
        )
        for text in result.refused[:MAX_ATTEMPTS]
    ]
    names = [path for path, _ in result.files]
    finished, models = result.exit.reason is ExitReason.FINISHED, without_checkpoints(names)
    weights = [path for path in models if path.endswith(".safetensors")]
    if finished and not is_servable(models) and (weights or checkpoints_in(names)):
        findings.append(
            Finding(
                id="training-not-served",
                title="The script wrote weights or checkpoints, and no model that a runtime here serves",
                severity=Severity.LOW,
                evidence=f"files: {', '.join(names)[:200]}",
                remediation="A later run can go on from them: casemate train --from.",
            )
        )
    elif finished and not is_servable(names):
        findings.append(
            Finding(
                id="training-no-model",
                title="The script wrote no model",
                severity=Severity.HIGH,
                evidence=f"files: {', '.join(names)[:200] or 'none'}",
                remediation="Write one .onnx, .skops or .ubj file, or a model.json or model.txt of trees, under CASEMATE_OUTPUT.",
            )
        )
    return findings
