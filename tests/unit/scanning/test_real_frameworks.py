"""What PyTorch, Keras and TensorFlow themselves write: nothing is held against it but, of some, that no runtime loads it. `make test-formats`."""

from __future__ import annotations

from pathlib import Path

import msgspec
import numpy as np
import pytest

from casemate.core import Finding
from casemate.scanning import ScanLimits
from casemate.scanning.inspection import inspect_files

EXPECTED = {"format-unsupported", "pickle-not-served", "archive-not-served"}
pytestmark = [pytest.mark.slow, pytest.mark.filterwarnings("ignore")]


def held_against(path: Path) -> set[str]:
    files = {path.name: path}
    if path.is_dir():
        files = {str(file.relative_to(path)): file for file in path.rglob("*") if file.is_file()}
    answer = inspect_files(
        {name: memoryview(file.read_bytes()).toreadonly() for name, file in files.items()}, ScanLimits()
    )
    findings = msgspec.convert(answer["findings"], list[Finding])
    assert findings or answer["served"]
    return {f"{finding.id}: {finding.evidence}" for finding in findings if finding.id not in EXPECTED}


def test_pytorch(tmp_path: Path) -> None:
    torch = pytest.importorskip("torch", reason="PyTorch is installed by `make test-formats` alone")
    nn = torch.nn

    class Folding(nn.Module):
        def forward(self, x):
            half = torch.cat([x, x], 1)[:, : x.shape[1] // 2 + 1]
            return half.reshape(-1, half.shape[1] * 2)

    model = nn.Sequential(nn.Conv2d(1, 4, 3), nn.BatchNorm2d(4), nn.ReLU(), nn.Flatten(), nn.Linear(144, 3)).eval()
    rows = torch.zeros(2, 1, 8, 8)
    state = model.state_dict()
    torch.save(state, tmp_path / "state.pt")
    torch.save(state, tmp_path / "legacy.pt", _use_new_zipfile_serialization=False)
    torch.save(
        {"model": state, "optimiser": torch.optim.Adam(model.parameters()).state_dict()}, tmp_path / "checkpoint.pt"
    )
    torch.save(model, tmp_path / "whole.pt")
    torch.jit.trace(model, rows).save(tmp_path / "traced.pt")
    torch.jit.script(model).save(tmp_path / "scripted.pt")
    torch.jit.script(nn.LSTM(4, 5)).save(tmp_path / "lstm.pt")
    torch.export.save(torch.export.export(model, (rows,)), tmp_path / "program.pt2")
    auto = torch.export.Dim.AUTO
    free = torch.export.export(Folding().eval(), (torch.ones(4, 6),), dynamic_shapes=[{0: auto, 1: auto}])
    assert free._guards_code, "guards and sizes are arithmetic in text"
    torch.export.save(free, tmp_path / "free.pt2")
    assert {path.name: held for path in tmp_path.iterdir() if (held := held_against(path))} == {}


def test_keras_and_tensorflow(tmp_path: Path) -> None:
    keras = pytest.importorskip("keras", reason="Keras and TensorFlow are installed by `make test-formats` alone")
    tensorflow = pytest.importorskip("tensorflow")
    layers = keras.layers
    plain = keras.Sequential(
        [layers.Input((8, 8, 1)), layers.Conv2D(4, 3, activation="relu"), layers.BatchNormalization(), layers.Flatten(),
         layers.Dropout(0.1), layers.Dense(3, activation="softmax", kernel_regularizer="l2")]
    )  # fmt: skip
    plain.compile("adam", "sparse_categorical_crossentropy", metrics=["accuracy"])
    plain.fit(np.zeros((4, 8, 8, 1)), np.zeros(4), verbose=0)
    given = keras.Input((10,))
    out = layers.Dense(1)(layers.Bidirectional(layers.LSTM(4))(layers.Embedding(50, 8)(given)))
    functional = keras.Model(given, out)
    functional.compile(
        keras.optimizers.SGD(keras.optimizers.schedules.ExponentialDecay(0.1, 10, 0.9)), keras.losses.MeanSquaredError()
    )
    for name, model in (("plain", plain), ("functional", functional)):
        model.save(tmp_path / f"{name}.keras")
        model.save(tmp_path / f"{name}.h5")
        model.export(tmp_path / name, verbose=False)
    assert tensorflow.__version__
    assert {path.name: held for path in tmp_path.iterdir() if (held := held_against(path))} == {}
