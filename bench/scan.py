"""Hostile files found, a technique each, and honest models let through, a hundred from each framework installed, beside other people's scanners on the same files; then GB/s of large files (read, sealed, inspected) beside SHA-256 alone on one core. The hostile files were written beside the scanner, by the same people, after published bypasses and advisories, and the tests demand that each is found: what nobody here thought of is not among them, and a peer that never claimed a format is counted on it all the same, and one that is slow is asked about every sixth file. The figure says that nothing was lost, not what share of the world's hostile files is found.

Honest pickles are refused for being pickles, by decision; that nothing else is held against them is counted too.
"""

from __future__ import annotations

import hashlib
import json
import os
import statistics
import subprocess
import sys
import tempfile
import time
from collections.abc import Collection
from concurrent.futures import ThreadPoolExecutor
from contextlib import ExitStack
from pathlib import Path

sys.path.insert(0, str(Path(__file__).parents[1] / "tests" / "assets"))

import numpy as np
from evil_models import tensors_file
from make_evil import evil_cases
from onnx import TensorProto, helper

from benign_corpus import corpus as benign
from casemate.core import Verdict, seal_bytes
from casemate.sandbox import Limits, run_confined
from casemate.scanning import ScanReport, scan, scan_path

ROOT = Path(__file__).parents[1]
TESTS = ROOT / "tests"
BATCH = 60  # models in one sandbox
PEERS = {
    "modelscan": 1,
    "picklescan": 1,
    "fickling": 1,
    "modelaudit": 6,
}  # each is asked about every so-manyth file, by its speed
MEBIBYTES = 1024
ROUNDS = 5
Files = dict[str, bytes]


def scanned(files: Files) -> tuple[ScanReport, float]:
    """The report, and the seconds that it took."""
    with ExitStack() as stack:
        sealed = {path: stack.enter_context(seal_bytes([data])) for path, data in files.items()}
        start = time.perf_counter()
        return scan(sealed), time.perf_counter() - start


def confined(cases: dict[str, Files]) -> dict[str, list[dict]]:
    """Findings of each, some dozens in one sandbox: a process for each would take minutes."""
    say(f"scanning {len(cases)} models")
    found, names = {}, list(cases)
    for start in range(0, len(names), BATCH):
        batch = {name: cases[name] for name in names[start : start + BATCH]}
        frame = run_confined(
            "confined:scan_all",
            {name: list(files) for name, files in batch.items()},
            buffers=[data for files in batch.values() for data in files.values()],
            paths=[TESTS / "unit" / "scanning"],
            limits=Limits(memory=2 << 30, file_bytes=0),
            timeout=300,
        )
        found |= {name: answer["findings"] for name, answer in frame.message.items()}
    return found


def is_refused(findings: list[dict]) -> bool:
    return any(finding["severity"] in ("high", "critical") for finding in findings)


def corpus() -> list[dict]:
    cases = evil_cases()
    evil = {name: files for name, (files, _) in cases.items()}
    honest = {f"{kind}-{place}": files for kind, group in benign().items() for place, files in enumerate(group)}
    hostile, clean = confined(evil), confined(honest)
    refused = [name for name, findings in hostile.items() if is_refused(findings)]
    reasoned = [name for name in refused if cases[name][1] in {finding["id"] for finding in hostile[name]}]
    if missed := sorted(set(evil) - set(reasoned)):
        say(f"not found, or not for the right reason: {missed}")
    wrong = [name for name, findings in clean.items() if {one["id"] for one in findings} - {"pickle-not-served"}]
    say(f"honest and refused: {wrong}")
    rows = [
        counted("hostile files refused", refused, evil, "1"),
        counted("hostile files refused for the reason that they were written for", reasoned, evil, "1"),
        counted("honest files with another finding than being a pickle", wrong, honest, "0"),
    ]
    for kind in sorted({name.rpartition("-")[0] for name in honest}):
        of_kind = [name for name in honest if name.rpartition("-")[0] == kind]
        rows.append(counted(f"of these, {kind}", [name for name in wrong if name in of_kind], of_kind, "0"))
    return rows + peers(evil, honest) + [door(list(evil.values())[:24])]


def peers(evil: dict[str, Files], honest: dict[str, Files]) -> list[dict]:
    """What other people's scanners say of the same files, where they are installed (`make bench-scanners`)."""
    python = ROOT / ".venv-scanners" / "bin" / "python"
    if not python.exists():
        say("no other scanner installed: make bench-scanners")
        return []
    rows = []
    with tempfile.TemporaryDirectory(prefix="casemate-bench-") as root:
        for group, cases in (("hostile", evil), ("honest", honest)):
            for name, files in cases.items():
                for path, data in files.items():
                    place = Path(root, group, name, peer_name(name, path))
                    place.parent.mkdir(parents=True, exist_ok=True)
                    place.write_bytes(data)
        for tool, step in PEERS.items():
            say(f"asking {tool}")
            said = {group: asked(python, tool, Path(root, group), step) for group in ("hostile", "honest")}
            pickles = [name for name in said["hostile"] if name.startswith("pickle-")]
            found = [name for name, word in said["hostile"].items() if word == "found"]
            errors = sum(word == "error" for word in said["hostile"].values())
            flagged = [name for name, word in said["honest"].items() if word == "found"]
            rows += [
                counted(f"{tool}: hostile files found ({errors} more ended in its own error)", found, said["hostile"]),
                counted(f"{tool}: of these, pickles", [name for name in found if name in pickles], pickles),
                counted(f"{tool}: honest files flagged", flagged, said["honest"]),
            ]
    return rows


def peer_name(case: str, path: str) -> str:
    """The name under which a peer sees a file: some go by endings, and look at a pickle only where it is called one."""
    return "model.pkl" if case.startswith("pickle-") and path == "model.bin" else path


def asked(python: Path, tool: str, folder: Path, step: int) -> dict[str, str]:
    done = subprocess.run(
        [python, Path(__file__).with_name("scan_peers.py"), tool, folder, str(step)],
        capture_output=True,
        text=True,
        timeout=1200,
        check=False,
    )
    if done.returncode:
        raise SystemExit(f"{tool} failed: {done.stderr[-300:]}")
    return json.loads(done.stdout.splitlines()[-1])


def door(cases: list[Files]) -> dict:
    """One scan through the public door, a sandbox of its own, two at a time."""
    with ThreadPoolExecutor(2) as threads:
        seconds = statistics.median(taken for _, taken in threads.map(scanned, cases))
    return {"name": "one small model, two scans at a time", "value": round(seconds, 3), "unit": "s"}


def counted(name: str, found: list[str], cases: Collection[str], aim: str = "") -> dict:
    row = {"name": name, "value": len(found), "beside": f"of {len(cases)}", "ratio": round(len(found) / len(cases), 3)}
    return row | ({"aim": aim} if aim else {})


def large_safetensors() -> bytes:
    size = MEBIBYTES << 20
    return tensors_file({"a": {"dtype": "F32", "shape": [size // 4], "data_offsets": [0, size]}}, os.urandom(size))


def large_onnx() -> bytes:
    side = int((MEBIBYTES << 18) ** 0.5)
    weights = np.random.default_rng(0).random((side, side), np.float32)
    tensor = helper.make_tensor("w", TensorProto.FLOAT, weights.shape, weights.tobytes(), raw=True)
    values = [helper.make_tensor_value_info(name, TensorProto.FLOAT, [None, side]) for name in ("X", "Y")]
    graph = helper.make_graph([helper.make_node("MatMul", ["X", "w"], ["Y"])], "g", values[:1], values[1:], [tensor])
    model = helper.make_model(graph, opset_imports=[helper.make_opsetid("", 17)], ir_version=8)
    return bytes(model.SerializeToString())


def speed(name: str, data: bytes) -> dict:
    """A file on disk (in the page cache) to a verdict, beside SHA-256 of the same bytes, in turns."""
    say(f"scanning {name} of {MEBIBYTES} MiB")
    taken, hashing = [], []
    with tempfile.TemporaryDirectory(prefix="casemate-bench-") as folder:
        path = Path(folder) / name
        path.write_bytes(data)
        for _ in range(ROUNDS):
            start = time.perf_counter()
            report = scan_path(path)
            middle = time.perf_counter()
            hashlib.sha256(data)
            taken.append(middle - start)
            hashing.append(time.perf_counter() - middle)
            if report.verdict is not Verdict.CLEAN:
                raise SystemExit(f"{name} was refused: {report.findings}")
    value, limit = (len(data) / statistics.median(times) / 1e9 for times in (taken, hashing))
    row = {"name": f"{name}, {MEBIBYTES} MiB, beside SHA-256", "value": round(value, 3), "unit": "GB/s"}
    return row | {"beside": round(limit, 3), "ratio": round(value / limit, 3)}


def say(words: str) -> None:
    print(f"  {words}", file=sys.stderr, flush=True)


def main() -> None:
    large = [("model.safetensors", large_safetensors), ("model.onnx", large_onnx)]
    rows = [*corpus(), *(speed(name, make()) for name, make in large)]
    print(json.dumps(rows))


if __name__ == "__main__":
    main()
