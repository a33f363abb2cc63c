"""How often a model is right, and how far its confidence can be believed."""

from __future__ import annotations

import numpy as np
import numpy.typing as npt

from casemate.evaluation.answers import Floats
from casemate.evaluation.report import Bin
from casemate.evaluation.statistics import area_under

Ints = npt.NDArray[np.int64]


def class_quality(truth: Ints, given: Ints, classes: int) -> dict[str, float]:
    """accuracy, balanced_accuracy, f1 (the mean over classes), and the accuracy of who always says the commonest class.

    Args: truth, given: (n,) places of classes; -1 given: a class that no row has.
    """
    recalls, scores = [], []
    for one in range(classes):
        is_one, said = truth == one, given == one
        if not is_one.any():
            continue
        hits = float((is_one & said).sum())
        recalls.append(hits / is_one.sum())
        scores.append(2 * hits / (is_one.sum() + said.sum()))
    return {
        "accuracy": float((truth == given).mean()),
        "balanced_accuracy": float(np.mean(recalls)),
        "f1": float(np.mean(scores)),
        "majority": float(np.bincount(truth, minlength=classes).max() / len(truth)),
    }


def ranking_quality(truth: Ints, probabilities: Floats) -> dict[str, float]:
    """auc: of the second of two classes, or the mean over classes, each against the rest."""
    present = [one for one in range(probabilities.shape[1]) if 0 < (truth == one).sum() < len(truth)]
    if len(present) < 2:
        return {}
    told = present[1:] if len(present) == 2 else present
    return {"auc": float(np.mean([area_under(probabilities[:, one], truth == one) for one in told]))}


def calibration(truth: Ints, probabilities: Floats, *, bins: int) -> tuple[dict[str, float], tuple[Bin, ...]]:
    """ece, brier, and the curve: confidence in the likeliest class against how often it was right, in bins of equal size.

    The ECE of a perfectly calibrated model is not 0 on few rows: about `sqrt(bins / rows) / 3`.
    Source: Naeini 2015; bins of equal size as Nixon 2019; Brier 1950, summed over classes and halved, so that it runs from 0 to 1.
    """
    said, best = probabilities.max(axis=1), probabilities.argmax(axis=1)
    right = best == truth
    order = np.argsort(said, kind="stable")
    parts = [part for part in np.array_split(order, min(bins, len(order))) if len(part)]
    curve = tuple(Bin(said=float(said[part].mean()), right=float(right[part].mean()), rows=len(part)) for part in parts)
    error = sum(one.rows * abs(one.said - one.right) for one in curve) / len(truth)
    exact = np.zeros_like(probabilities)
    exact[np.arange(len(truth)), truth] = 1.0
    return {"ece": float(error), "brier": float(((probabilities - exact) ** 2).sum(axis=1).mean() / 2)}, curve


def number_quality(truth: Floats, given: Floats) -> dict[str, float]:
    """rmse, mae and r2 of numbers; r2 is left out where the truth is one number."""
    apart = given - truth
    found = {"rmse": float(np.sqrt((apart**2).mean())), "mae": float(np.abs(apart).mean())}
    spread = float(((truth - truth.mean()) ** 2).mean())
    return found | ({"r2": 1.0 - float((apart**2).mean()) / spread} if spread > 0 else {})
