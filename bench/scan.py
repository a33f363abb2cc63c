"""The scanner on hostile files (found), on honest models (let through) and on large files (GB/s, sandbox included). The hostile files were written beside the scanner, by the same people: what nobody here thought of is not among them.

Honest pickles are refused for being pickles; that nothing else is held against them is counted too.
"""

from __future__ import annotations

import json
import os
import statistics
import sys
import time
from pathlib import Path

sys.path.insert(0, str(Path(__file__).parents[1] / "tests" / "assets"))

import numpy as np
from evil_models import tensors_file
from make_benign import benign_models, benign_pickles, estimators
from make_evil import evil_cases
from onnx import TensorProto, helper

from casemate.core import seal_bytes
from casemate.scanning import ScanLimits, ScanReport, scan
from casemate.scanning.inspection import inspect_files

MEBIBYTES = 256
ROUNDS = 5


def inspected(files: dict[str, bytes]) -> tuple[bool, set[str]]:
    """Whether it is let through, and the findings. In this process: nothing in these files does harm."""
    answer = inspect_files({path: memoryview(data) for path, data in files.items()}, ScanLimits())
    found = {finding["id"] if isinstance(finding, dict) else finding.id for finding in answer["findings"]}
    return not found and bool(answer["format"]), found


def speed(data: bytes, name: str) -> float:
    """GB/s of a scan in its sandbox, its start included."""
    taken = []
    for _ in range(ROUNDS):
        with seal_bytes([data]) as file:
            start = time.perf_counter()
            report: ScanReport = scan({name: file})
            taken.append(time.perf_counter() - start)
        if report.verdict != "clean":
            raise SystemExit(f"{name} was refused: {report.findings}")
    return len(data) / statistics.median(taken) / 1e9


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


def main() -> None:
    evil, fitted = evil_cases(), estimators()
    honest, pickles = benign_models(fitted), benign_pickles(fitted)
    found = sum(expected in inspected(files)[1] for files, expected in evil.values())
    refused = sum(not inspected(files)[0] for files, _ in honest.values())
    other = sum(inspected({"model.pkl": data})[1] != {"pickle-not-served"} for data in pickles.values())
    rows = [
        {"name": "hostile files found, for the right reason", "value": found, "beside": f"of {len(evil)}",
         "ratio": found / len(evil), "aim": "1"},
        {"name": "honest models refused", "value": refused, "beside": f"of {len(honest)}",
         "ratio": refused / len(honest), "aim": "0"},
        {"name": "honest pickles with a second finding", "value": other, "beside": f"of {len(pickles)}",
         "ratio": other / len(pickles), "aim": "0"},
        {"name": f"safetensors of {MEBIBYTES} MiB", "value": speed(large_safetensors(), "model.safetensors"), "unit": "GB/s"},
        {"name": f"ONNX of {MEBIBYTES} MiB", "value": speed(large_onnx(), "model.onnx"), "unit": "GB/s"},
    ]  # fmt: skip
    print(json.dumps(rows))


if __name__ == "__main__":
    main()
