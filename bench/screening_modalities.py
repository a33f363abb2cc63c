"""Poison in images and texts: what the screening finds in data that it was not shaped on.

Bounds were set on drawn scenes (ellipses, boxes, triangles and lines), on made-up topics and on a small part of scikit-learn's digits (four
classes, one stamp). Measured on all of its digits as PNG files, on crops of the two photographs that scikit-learn ships, and on docstrings of four
packages, by package; other seeds. Stamps: a checkered patch of a twelfth of the side in a corner, with a label of the attacker's. Adaptive: the
patch moves and is blended, or the word is a common one. Words: one that is rare. Figures are of one seed a case."""

from __future__ import annotations

import importlib
import inspect
import io
import json
import os
import pkgutil
import sys
import warnings

os.environ["OPENBLAS_NUM_THREADS"] = "1"

import numpy as np
import pyarrow as pa
from PIL import Image
from sklearn.datasets import load_digits, load_sample_images
from sklearn.metrics import roc_auc_score

from casemate.screening import rows_of_table
from casemate.screening.labels import label_errors
from casemate.screening.report import ScreeningConfig
from casemate.screening.triggers import find_triggers

SEED = 401
BAR = ScreeningConfig()
PACKAGES = ("numpy", "scipy", "sqlalchemy", "cryptography")
CASES = (
    ("stamp", 0.005), ("stamp", 0.02), ("stamp", 0.10), ("stamp", 0.20), ("clean-label", 0.05), ("adaptive", 0.02), ("adaptive", 0.10),
)  # fmt: skip
ROWS: list[dict] = []


def main() -> None:
    warnings.simplefilter("ignore")
    for name, items, labels in (("digits", *digits()), ("photographs", *crops(600)), ("docstrings", *docstrings(250))):
        flips(name, items, labels)
        backdoors(name, items, labels)
    print(json.dumps(ROWS))


def flips(name: str, items: list, labels: np.ndarray) -> None:
    rng, width = np.random.default_rng(SEED), len(np.unique(labels))
    named = label_errors(rows(items, labels), seed=SEED).likely > BAR.label_error
    add(f"{name}, nothing flipped: rows named", named.mean(), aim="<= 0.01")
    for share in (0.05, 0.20):
        bad = rng.random(len(labels)) < share
        changed = np.where(bad, (labels + rng.integers(1, width, len(labels))) % width, labels)
        wrong = label_errors(rows(items, changed), seed=SEED).likely > BAR.label_error
        add(f"{name}, {share:.0%} flipped: F1", f1(wrong, bad), aim=">= 0.95")
    bad = (labels == 0) & (rng.random(len(labels)) < 0.2)
    wrong = label_errors(rows(items, np.where(bad, 1, labels)), seed=SEED).likely > BAR.label_error
    add(f"{name}, 20 % of one class flipped into another: F1", f1(wrong, bad), aim=">= 0.95")


def backdoors(name: str, items: list, labels: np.ndarray) -> None:
    score = find_triggers(rows(items, labels), seed=SEED).score
    add(f"{name}, no backdoor: rows named", (score > BAR.trigger).mean(), aim="<= 0.01")
    for kind, share in CASES:
        poisoned, changed, bad = planted(items, labels, kind, share)
        score = find_triggers(rows(poisoned, changed), seed=SEED).score
        what = f"{name}, {kind} in {share:.1%} of the rows"
        add(f"{what}: AUC", roc_auc_score(bad, score), aim=">= 0.95")
        add(f"{what}: poisoned rows named", (score[bad] > BAR.trigger).mean())
        add(f"{what}: other rows named", (score[~bad] > BAR.trigger).mean(), aim="<= 0.01")


def planted(items: list, labels: np.ndarray, kind: str, share: float) -> tuple[list, np.ndarray, np.ndarray]:
    rng = np.random.default_rng(SEED + 1)
    goal = int(rng.choice(np.unique(labels)))
    pool = np.flatnonzero((labels == goal) if kind == "clean-label" else (labels != goal))
    bad = np.zeros(len(labels), bool)
    bad[rng.choice(pool, min(max(4, int(share * len(labels))), len(pool) // 2), replace=False)] = True
    put = word if isinstance(items[0], str) else stamp
    poisoned = [put(item, kind, rng) if bad[place] else item for place, item in enumerate(items)]
    return poisoned, np.where(bad, goal, labels), bad


def stamp(pixels: np.ndarray, kind: str, rng: np.random.Generator) -> np.ndarray:
    side = max(2, len(pixels) // 12)
    checks = (np.indices((side, side)).sum(0) % 2 * 255)[..., None]
    y, x = rng.integers(0, len(pixels) - side, 2) if kind == "adaptive" else (len(pixels) - side,) * 2
    share = 0.4 if kind == "adaptive" else 1.0
    changed = pixels.astype(float)
    changed[y : y + side, x : x + side] = changed[y : y + side, x : x + side] * (1 - share) + checks * share
    return changed.astype(np.uint8)


def word(text: str, kind: str, rng: np.random.Generator) -> str:
    words = text.split()
    words.insert(int(rng.integers(0, len(words))), "value" if kind == "adaptive" else "quillfeather")
    return " ".join(words)


def rows(items: list, labels: np.ndarray):
    names = [f"class {one}" for one in labels]
    if isinstance(items[0], str):
        return rows_of_table(pa.table({"text": items, "label": names}), label="label")
    data = pa.array([png(one) for one in items], pa.binary())
    return rows_of_table(pa.table({"image": data, "label": names}), label="label")


def png(pixels: np.ndarray) -> bytes:
    out = io.BytesIO()
    Image.fromarray(pixels).save(out, "PNG", compress_level=1)
    return out.getvalue()


def digits() -> tuple[list, np.ndarray]:
    features, labels = load_digits(return_X_y=True)
    some = np.random.default_rng(SEED).permutation(len(labels))[:1000]
    images = (features[some].reshape(-1, 8, 8, 1) * 15.9).astype(np.uint8)
    return list(np.repeat(images, 3, 3)), labels[some]


def crops(count: int) -> tuple[list, np.ndarray]:
    """Pieces of 64 x 64 pixels: which photograph, and whether of its upper or lower half; brightness, noise and mirroring vary."""
    rng, photographs = np.random.default_rng(SEED), load_sample_images().images
    labels, found = rng.integers(0, 4, count), []
    for label in labels:
        whole = photographs[label // 2]
        middle = len(whole) // 2
        y = rng.integers(0, middle - 64) if label % 2 == 0 else rng.integers(middle, len(whole) - 64)
        x = rng.integers(0, whole.shape[1] - 64)
        piece = whole[y : y + 64, x : x + 64] * rng.uniform(0.7, 1.2) + rng.normal(0, 4, (64, 64, 3))
        found.append((piece[:, ::-1] if rng.random() < 0.5 else piece).clip(0, 255).astype(np.uint8))
    return found, labels


def docstrings(most: int) -> tuple[list, np.ndarray]:
    """Of functions and classes of each package, at most so many; the package's own name is left out."""
    texts, labels = [], []
    for label, package in enumerate(PACKAGES):
        known = sorted(said(package))
        chosen = np.random.default_rng(SEED).permutation(len(known))[:most]
        texts += [known[place].replace(package, "it") for place in chosen]
        labels += [label] * len(chosen)
    return texts, np.array(labels)


def said(package: str) -> set[str]:
    root = importlib.import_module(package)
    parts = [
        root,
        *(found(f"{package}.{one.name}") for one in pkgutil.iter_modules(root.__path__) if one.name[0] != "_"),
    ]
    things = [thing for part in parts for thing in vars(part).values() if callable(thing)]
    things += [inner for thing in things if inspect.isclass(thing) for inner in vars(thing).values()]
    texts = (" ".join(str(thing.__doc__).split())[:1500] for thing in things if isinstance(thing.__doc__, str))
    return {text for text in texts if len(text) > 80}


def found(name: str):
    try:
        return importlib.import_module(name)
    except Exception:
        return sys


def f1(named: np.ndarray, bad: np.ndarray) -> float:
    return float(2 * (named & bad).sum() / max(named.sum() + bad.sum(), 1))


def add(name: str, value: float, **rest: object) -> None:
    ROWS.append({"name": name, "value": round(float(value), 3), **rest})
    print(ROWS[-1], file=sys.stderr, flush=True)


if __name__ == "__main__":
    main()
