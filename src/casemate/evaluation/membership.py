"""Whether the model's answers give away which rows it was fitted on.

Source: likelihood-ratio attack (LiRA), Carlini 2021, arXiv 2112.03570, online, with one spread for all rows as it advises for
few shadow models; told by the true positive rate at a low false positive rate, since an average hides the few who are found.
"""

from __future__ import annotations

from typing import Any

import numpy as np
import numpy.typing as npt
from scipy import stats

from casemate.evaluation.answers import Floats
from casemate.evaluation.shadows import Shadows, fit_shadows, likeliest_family
from casemate.evaluation.statistics import area_interval, area_under, proportion_interval

Ints = npt.NDArray[np.int64]
Bools = npt.NDArray[np.bool_]
_CLIP = 1e-6  # of a probability, before its odds are taken
_ENOUGH = 10  # others above the threshold, from which on a rate is told without a warning
RATES = {"membership_tpr_1pct": 0.01, "membership_tpr_01pct": 0.001}


def membership(
    features: Floats, truth: Ints, probabilities: Floats, *, inside: Bools, shadows: int, seed: int
) -> tuple[dict[str, float], dict[str, Any]]:
    """Figures, and how they came about.

    Args: features: (n, d), finite, members and others. probabilities: (n, classes) of the model. inside: (n,) members;
        shadows: how many; below 4 the attack goes by the loss alone.
    """
    target = probabilities[np.arange(len(truth)), truth]
    facts: dict[str, Any] = {"members": int(inside.sum()), "others": int((~inside).sum())}
    if shadows >= 4:
        classes = probabilities.shape[1]
        family = likeliest_family(features, truth, inside=inside, target=target, classes=classes, seed=seed)
        fitted = fit_shadows(
            features, truth, count=shadows, size=int(inside.sum()), family=family, classes=classes, seed=seed
        )
        scores = likelihood_ratios(target, fitted)
        facts |= {
            "attack": "likelihood ratio against shadow models (LiRA, online)",
            "shadows": shadows,
            "family": family,
        }
    else:
        scores = odds(target)
        facts |= {"attack": "loss of each row, without a reference"}
    by_loss = odds(target)
    facts |= {"auc_interval": _plain(area_interval(scores, inside)), "auc_by_loss": area_under(by_loss, inside)}
    figures, facts["rates"] = told(scores, inside)
    plain, facts["rates_by_loss"] = told(by_loss, inside)
    # Where no family is like the model, its shadows mislead; an attacker would take whichever finds more.
    return {name: max(value, plain[name]) for name, value in figures.items()}, facts


def told(scores: Floats, inside: Bools) -> tuple[dict[str, float], dict[str, Any]]:
    """The area, and the true positive rate at each low rate of false positives that the rows can tell.

    A threshold is a score of some outsider: the number of those above it is at most `rate * others`. With fewer than
    `1 / rate` others, none may be above: that rate cannot be told, and is left out.
    """
    others = int((~inside).sum())
    figures, rates = {"membership_auc": area_under(scores, inside)}, {}
    ranked = np.sort(scores[~inside])[::-1]
    for name, rate in RATES.items():
        allowed = int(rate * others)
        found: dict[str, Any] = {"false_positive_rate": rate, "others_above": allowed}
        if allowed < 1:
            rates[name] = {
                **found,
                "told": False,
                "why": f"{int(np.ceil(1 / rate))} rows of no member are needed, {others} are there",
            }
            continue
        hits, members = int((scores[inside] > ranked[allowed]).sum()), int(inside.sum())
        figures[name] = hits / members
        rates[name] = {
            **found,
            "told": True,
            "true_positive_rate": hits / members,
            "interval": _plain(proportion_interval(hits, members)),
            "sure": allowed >= _ENOUGH,
        }
    return figures, rates


def odds(probabilities: Floats) -> Floats:
    """Log odds, which are about normal where probabilities are not."""
    clipped = np.clip(probabilities, _CLIP, 1 - _CLIP)
    return np.asarray(np.log(clipped) - np.log1p(-clipped))


def likelihood_ratios(target: Floats, shadows: Shadows) -> Floats:
    """(n,) how much likelier the model's confidence is if the row was in. One spread for all rows, in and out apart."""
    said = odds(shadows.probabilities)
    within, without = shadows.inside, ~shadows.inside
    mean_in, mean_out = _means(said, within), _means(said, without)
    spread_in = max(1e-3, float(np.std((said - mean_in)[within])))
    spread_out = max(1e-3, float(np.std((said - mean_out)[without])))
    mine = odds(target)
    return np.asarray(stats.norm.logpdf(mine, mean_in, spread_in) - stats.norm.logpdf(mine, mean_out, spread_out))


def _means(said: Floats, chosen: Bools) -> Floats:
    """(n,) over the models where a row was chosen; over all models where it never was."""
    counts = chosen.sum(axis=0)
    sums = np.where(chosen, said, 0.0).sum(axis=0)
    return np.asarray(np.where(counts > 0, sums / np.maximum(counts, 1), said.mean(axis=0)))


def _plain(interval: Any) -> dict[str, float]:
    return {"low": interval.low, "high": interval.high}
