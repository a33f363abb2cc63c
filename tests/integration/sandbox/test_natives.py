"""The walls leave numerical libraries with threads of their own whole."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
from skl2onnx import to_onnx
from sklearn.datasets import load_breast_cancer
from sklearn.linear_model import LogisticRegression

from casemate.core.sealed import seal_bytes
from casemate.sandbox import ExitReason, Limits, Need, Walls, run_confined, spawn

HERE = Path(__file__).parent
WALLS = [
    pytest.param(Walls(namespaces=Need.NEVER, cgroups=Need.NEVER), id="floor"),
    pytest.param(Walls(namespaces=Need.REQUIRED), id="namespaces", marks=pytest.mark.program("bwrap")),
]
LIMITS = Limits(memory=1 << 30, wall_seconds=100)


@pytest.mark.parametrize("walls", WALLS)
def test_onnxruntime_infers_inside(walls):
    inputs, labels = load_breast_cancer(return_X_y=True)
    scaled = ((inputs - inputs.mean(0)) / inputs.std(0)).astype(np.float32)
    model = LogisticRegression().fit(scaled, labels)
    stored = to_onnx(model, scaled[:1]).SerializeToString()
    with seal_bytes([stored]) as sealed:
        answer = run_confined(
            "natives:infer", None, buffers=[scaled.tobytes()], files=[sealed], paths=[HERE], limits=LIMITS, walls=walls
        )
    assert (np.frombuffer(answer.buffers[0], np.int64) == model.predict(scaled)).all()


@pytest.mark.parametrize("report", [False, True])
@pytest.mark.parametrize("walls", WALLS)
def test_training_runs_inside(walls, report, tmp_path):
    with spawn(
        "natives:train",
        limits=LIMITS,
        walls=walls,
        writable=tmp_path,
        paths=[HERE],
        report=report,
        args={"folder": str(tmp_path)},
    ) as cell:
        answer = cell.channel.recv(timeout=90).message
        assert cell.wait(20).reason is ExitReason.FINISHED, cell.output
        assert cell.denials == []  # honest work is reported as nothing
    assert answer["forest"] > 0.9
    assert answer["same"]
    assert answer["column"]
    assert answer["residual"] < 1e-6
    assert (tmp_path / "model.skops").stat().st_size > 100
