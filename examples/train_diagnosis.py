"""Trains the diagnosis model: a scaled logistic regression that tells malignant from benign.

    casemate train examples/train_diagnosis.py --dataset diagnosis --model diagnosis

Runs inside the sandbox: it sees its dataset and its output folder, and no network.
Parameters: {"C": inverse strength of regularisation, 1.0 by default}.
"""

from __future__ import annotations

import json
import os
from pathlib import Path

import numpy as np
import pyarrow.parquet as pq
from skl2onnx import to_onnx
from sklearn.linear_model import LogisticRegression
from sklearn.model_selection import train_test_split
from sklearn.pipeline import make_pipeline
from sklearn.preprocessing import StandardScaler

SEED = 7
HELD_BACK = 0.25  # share of the rows that the model never sees

dataset, output = Path(os.environ["CASEMATE_DATASET"]), Path(os.environ["CASEMATE_OUTPUT"])
parameters = json.loads(os.environ["CASEMATE_PARAMETERS"])

# The schema says which columns are features and which one is the target.
columns = json.loads((dataset / "schema.json").read_text())["columns"]
features = [column["name"] for column in columns if column["role"] == "feature"]
(target,) = [column["name"] for column in columns if column["role"] == "target"]

table = pq.read_table(dataset / "data.parquet")
rows = np.column_stack([table[name].to_numpy() for name in features]).astype(np.float32)
labels = table[target].to_numpy().astype(np.int64)
seen, unseen, seen_labels, unseen_labels = train_test_split(
    rows, labels, test_size=HELD_BACK, random_state=SEED, stratify=labels
)

model = make_pipeline(StandardScaler(), LogisticRegression(C=parameters.get("C", 1.0), max_iter=1000))
model.fit(seen, seen_labels)
accuracy = float(model.score(unseen, unseen_labels))
print(f"accuracy {accuracy:.3f} on {len(unseen)} held-back rows")

# Without ZipMap the probabilities are one tensor, which is what a server can check and round.
graph = to_onnx(model, seen[:1], options={"zipmap": False}, target_opset=17)
(output / "model.onnx").write_bytes(graph.SerializeToString())
(output / "metrics.json").write_text(json.dumps({"accuracy": accuracy, "rows": len(seen), "held_back": len(unseen)}))
