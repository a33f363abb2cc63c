"""The scanner through its public door, a sandbox for each scan: hostile files found, honest models let through, and GB/s of large files (read, sealed, inspected), beside SHA-256 alone on one core. The hostile files were written beside the scanner, by the same people, and the tests demand that each is found: what nobody here thought of is not among them. The figure says that nothing was lost, not what share of the world's hostile files is found.

Honest pickles are refused for being pickles, by decision; that nothing else is held against them is counted too. A refusal
because a scan crashed or reached a bound counts as found only where that is the finding expected.
"""

from __future__ import annotations

import hashlib
import json
import os
import statistics
import sys
import tempfile
import time
from concurrent.futures import ThreadPoolExecutor
from contextlib import ExitStack
from pathlib import Path

sys.path.insert(0, str(Path(__file__).parents[1] / "tests" / "assets"))

import numpy as np
from evil_models import tensors_file
from make_benign import benign_models, benign_pickles, estimators
from make_evil import evil_cases
from onnx import TensorProto, helper

from casemate.core import Verdict, seal_bytes
from casemate.scanning import ScanReport, scan, scan_path

MEBIBYTES = 1024
ROUNDS = 5
Files = dict[str, bytes]


def scanned(files: Files) -> tuple[ScanReport, float]:
    """The report, and the seconds that it took."""
    with ExitStack() as stack:
        sealed = {path: stack.enter_context(seal_bytes([data])) for path, data in files.items()}
        start = time.perf_counter()
        return scan(sealed), time.perf_counter() - start


def reports(cases: dict[str, Files]) -> dict[str, tuple[ScanReport, float]]:
    """All of them, two at a time: most of a scan is its sandbox's start."""
    say(f"scanning {len(cases)} models")
    with ThreadPoolExecutor(2) as threads:
        return dict(zip(cases, threads.map(scanned, cases.values()), strict=True))


def ids(report: ScanReport) -> set[str]:
    return {finding.id for finding in report.findings}


def corpus() -> list[dict]:
    evil, fitted = evil_cases(), estimators()
    honest, pickles = benign_models(fitted), benign_pickles(fitted)
    hostile = reports({name: files for name, (files, _) in evil.items()})
    benign = reports({name: files for name, (files, _) in honest.items()})
    pickled = reports({name: {"model.pkl": data} for name, data in pickles.items()})
    refused = [name for name, (report, _) in hostile.items() if report.verdict is Verdict.REFUSED]
    reasoned = [name for name in refused if evil[name][1] in ids(hostile[name][0])]
    missed = sorted(set(evil) - set(reasoned))
    if missed:
        say(f"not found, or not for the right reason: {missed}")
    wrong = [name for name, (report, _) in benign.items() if report.verdict is not Verdict.CLEAN]
    second = [name for name, (report, _) in pickled.items() if ids(report) != {"pickle-not-served"}]
    seconds = statistics.median(taken for found in (hostile, benign) for _, taken in found.values())
    return [
        counted("hostile files refused", refused, evil, "1"),
        counted("hostile files refused for the reason that they were written for", reasoned, evil, "1"),
        counted("honest models refused", wrong, honest, "0"),
        counted("honest pickles with another finding than being one", second, pickles, "0"),
        {"name": "one small model, two scans at a time", "value": round(seconds, 3), "unit": "s"},
    ]


def counted(name: str, found: list[str], cases: dict, aim: str) -> dict:
    ratio = len(found) / len(cases)
    return {"name": name, "value": len(found), "beside": f"of {len(cases)}", "ratio": ratio, "aim": aim}


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
