"""Trains the diagnosis model with differential privacy: what it tells of any one patient is bounded by epsilon.

    casemate train examples/train_private.py --dataset diagnosis --model diagnosis-private --seed 7

Logistic regression by gradient descent on all rows, each row's gradient clipped and Gaussian noise added to their sum (DP-SGD
with the whole set as its batch). Two sets of rows are neighbours if one row's content differs; how many rows there are, and the
ranges below, count as known. So a step has the sensitivity 2 * clip, and T of them with noise sigma * clip are one Gaussian
mechanism with mu = 2 * sqrt(T) / sigma, exactly; its delta is Balle and Wang's. The accuracy is of rows that the model never saw,
counted with Laplace noise of the same epsilon: each row is in one part alone, so epsilon and delta hold for both together.

Parameters: {"epsilon": 1.0, "delta": 1e-5, "steps": 50, "clip": 1.0, "rate": 4.0}. Metrics: epsilon, delta, sigma, accuracy.

Source: Abadi et al. 2016 (DP-SGD); Dong, Roth and Su 2022, corollary 3.3 (composition); Balle and Wang 2018, theorem 8 (delta).
"""

from __future__ import annotations

import json
import math
import os
import secrets
from pathlib import Path

import numpy as np
import pyarrow.parquet as pq
from skl2onnx import to_onnx
from sklearn.linear_model import LogisticRegression

HELD_BACK = 0.25  # share of the rows that the model never sees

# What a measurement can be at all, known before any row was looked at: scaling by the rows' own mean and spread would tell of
# them. Mean, standard error and worst value of each of ten features of a cell's nucleus, in the units of the data.
RANGES = {
    "radius": (30, 3, 40),
    "texture": (40, 5, 50),
    "perimeter": (200, 22, 260),
    "area": (2600, 550, 4300),
    "smoothness": (0.2, 0.04, 0.25),
    "compactness": (0.4, 0.15, 1.1),
    "concavity": (0.5, 0.4, 1.3),
    "concave_points": (0.25, 0.06, 0.3),
    "symmetry": (0.35, 0.08, 0.7),
    "fractal_dimension": (0.1, 0.03, 0.21),
}
KINDS = ("mean", "error", "worst")


def highest(name: str) -> float:
    """The top of a feature's range. Args: name: as in `mean_radius`, `radius_error`, `worst_radius`."""
    for feature, tops in RANGES.items():
        for kind, top in zip(KINDS, tops, strict=True):
            if name in (f"{kind}_{feature}", f"{feature}_{kind}"):
                return float(top)
    raise SystemExit(f"No range is known for the column {name}: add it to RANGES, from what is known without the rows.")


def delta_of(epsilon: float, mu: float) -> float:
    """The delta at which a Gaussian mechanism with this mu (sensitivity over noise) is (epsilon, delta)-private, exactly."""
    first = _phi(-epsilon / mu + mu / 2)
    log_second = epsilon + math.log(max(_phi(-epsilon / mu - mu / 2), 1e-300))
    return max(0.0, first - math.exp(log_second))


def sigma_for(epsilon: float, delta: float, steps: int) -> float:
    """The least noise, as a multiple of the clip, for which `steps` steps are (epsilon, delta)-private."""
    if delta_of(epsilon, 2 * math.sqrt(steps) / 1e6) > delta:
        raise SystemExit("No noise gives so small an epsilon and delta: ask for less privacy, or fewer steps.")
    low, high = 1e-3, 1e6
    for _ in range(200):
        middle = math.sqrt(low * high)
        low, high = (low, middle) if delta_of(epsilon, 2 * math.sqrt(steps) / middle) <= delta else (middle, high)
    return high


def _phi(x: float) -> float:
    return 0.5 * math.erfc(-x / math.sqrt(2))


def fit_private(
    rows: np.ndarray,
    labels: np.ndarray,
    *,
    sigma: float,
    steps: int,
    clip: float,
    rate: float,
    noise: np.random.Generator,
) -> np.ndarray:
    """Weights, the last for the constant. Args: rows: float64 (n, d). labels: 0 or 1 (n,)."""
    padded = np.column_stack([rows, np.ones(len(rows))])
    weights = np.zeros(padded.shape[1])
    averaged = np.zeros_like(weights)
    for step in range(steps):
        errors = (1 + np.tanh(padded @ weights / 2)) / 2 - labels  # the logistic function, whatever the size
        gradients = errors[:, None] * padded
        sizes = np.linalg.norm(gradients, axis=1, keepdims=True)
        clipped = gradients * np.minimum(1.0, clip / np.maximum(sizes, 1e-12))
        noisy = clipped.sum(axis=0) + noise.normal(0.0, sigma * clip, size=weights.shape)
        weights = weights - rate * noisy / len(rows)
        if step >= steps // 2:  # what comes after the noise costs no privacy: the second half is averaged
            averaged += weights / (steps - steps // 2)
    return averaged


def main() -> None:
    dataset, output = Path(os.environ["CASEMATE_DATASET"]), Path(os.environ["CASEMATE_OUTPUT"])
    asked = json.loads(os.environ["CASEMATE_PARAMETERS"])
    epsilon, delta = float(asked.get("epsilon", 1.0)), float(asked.get("delta", 1e-5))
    steps, clip, rate = int(asked.get("steps", 50)), float(asked.get("clip", 1.0)), float(asked.get("rate", 4.0))
    if not (epsilon > 0 and 0 < delta < 1 and steps > 0 and clip > 0 and rate > 0):
        raise SystemExit("epsilon, steps, clip and rate are above 0, and delta lies between 0 and 1.")
    columns = json.loads((dataset / "schema.json").read_text())["columns"]
    features = [column["name"] for column in columns if column["role"] == "feature"]
    (target,) = [column["name"] for column in columns if column["role"] == "target"]
    tops = np.array([highest(name) for name in features])
    table = pq.read_table(dataset / "data.parquet")
    raw = np.column_stack([table[name].to_numpy() for name in features]).astype(np.float64)
    rows = np.clip(raw / tops, 0, 1) * 2 - 1
    labels = table[target].to_numpy().astype(np.int64)
    # By position alone: a split that looks at labels would move other rows when one label differs.
    order = np.random.default_rng(int(os.environ["CASEMATE_SEED"])).permutation(len(rows))
    unseen, seen = np.split(order, [int(len(rows) * HELD_BACK)])
    sigma = sigma_for(epsilon, delta, steps)
    # The noise is the secret that privacy rests on: a seed that is on record would take it off again. So a private training
    # is another one each time; `model reproduce` says so.
    noise = np.random.default_rng(secrets.randbits(128))
    weights = fit_private(rows[seen], labels[seen], sigma=sigma, steps=steps, clip=clip, rate=rate, noise=noise)

    # The model takes plain measurements: the scaling, which no row had a say in, is folded into the weights.
    model = LogisticRegression().fit(np.vstack([np.zeros(len(tops)), np.ones(len(tops))]), [0, 1])
    model.coef_ = (2 * weights[:-1] / tops)[None, :]
    model.intercept_ = np.array([weights[-1] - weights[:-1].sum()])
    right = int(((rows[unseen] @ weights[:-1] + weights[-1] > 0) == (labels[unseen] == 1)).sum())
    accuracy = float(np.clip((right + noise.laplace(0.0, 1 / epsilon)) / len(unseen), 0, 1))
    with open(os.environ["CASEMATE_METRICS"], "a") as metrics:  # noqa: PTH123 a pipe
        print(json.dumps({"epsilon": epsilon, "delta": delta, "sigma": sigma, "accuracy": accuracy}), file=metrics)
    print(f"accuracy about {accuracy:.2f} on {len(unseen)} held-back rows, with epsilon {epsilon:g} at delta {delta:g}")
    graph = to_onnx(model, raw[:1].astype(np.float32), options={"zipmap": False}, target_opset=17)
    (output / "model.onnx").write_bytes(graph.SerializeToString())


if __name__ == "__main__":
    main()
