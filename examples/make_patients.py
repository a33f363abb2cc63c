"""Writes patients.csv, 569 real diagnoses, and model.onnx, a model that was trained on them elsewhere, into a folder.

    python examples/make_patients.py build

Source of the rows: breast cancer Wisconsin (diagnostic), as scikit-learn ships them; `ill` is 1 for malignant.
"""

from __future__ import annotations

import csv
import sys
from pathlib import Path

import numpy as np
from skl2onnx import to_onnx
from sklearn.datasets import load_breast_cancer
from sklearn.linear_model import LogisticRegression
from sklearn.pipeline import make_pipeline
from sklearn.preprocessing import StandardScaler

folder = Path(sys.argv[1])
folder.mkdir(parents=True, exist_ok=True)
data = load_breast_cancer()
rows, ill = data.data.astype(np.float32), 1 - data.target

with (folder / "patients.csv").open("w", newline="") as file:
    writer = csv.writer(file)
    writer.writerow([*(name.replace(" ", "_") for name in data.feature_names), "ill"])
    writer.writerows([*row.tolist(), label] for row, label in zip(data.data, ill.tolist(), strict=True))

# Another strength than that of train_diagnosis.py, so that this is another version.
model = make_pipeline(StandardScaler(), LogisticRegression(C=0.1, max_iter=1000)).fit(rows, ill)
graph = to_onnx(model, rows[:1], options={"zipmap": False}, target_opset=17)
(folder / "model.onnx").write_bytes(graph.SerializeToString())
