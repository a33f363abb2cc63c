"""The private example's epsilon: its accountant against an integral, and the training itself against an attack."""

from __future__ import annotations

import importlib.util
import math
from pathlib import Path
from types import ModuleType

import numpy as np
import pytest
from scipy import integrate, stats
from sklearn.datasets import load_breast_cancer

PATH = Path(__file__).parents[3] / "examples" / "train_private.py"


def loaded() -> ModuleType:
    spec = importlib.util.spec_from_file_location("train_private", PATH)
    assert spec is not None
    assert spec.loader is not None
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module


PRIVATE = loaded()


@pytest.mark.parametrize("mu", [0.1, 0.5, 1.0, 3.0])
@pytest.mark.parametrize("epsilon", [0.1, 0.5, 1.0, 4.0])
def test_delta_is_what_the_two_distributions_differ_by(epsilon: float, mu: float) -> None:
    def over(x: float) -> float:
        return max(0.0, stats.norm.pdf(x, mu) - math.exp(epsilon) * stats.norm.pdf(x))

    edge = epsilon / mu + mu / 2  # beyond it the first is the larger
    found, _ = integrate.quad(over, edge, edge + 20 + mu, limit=200)
    assert PRIVATE.delta_of(epsilon, mu) == pytest.approx(found, rel=1e-4, abs=1e-12)


def test_the_noise_is_the_least_that_keeps_the_claim() -> None:
    for epsilon, delta, steps in ((1.0, 1e-5, 50), (0.1, 1e-6, 1), (8.0, 1e-3, 500)):
        sigma = PRIVATE.sigma_for(epsilon, delta, steps)
        assert PRIVATE.delta_of(epsilon, 2 * math.sqrt(steps) / sigma) <= delta
        assert PRIVATE.delta_of(epsilon, 2 * math.sqrt(steps) / (sigma * 0.999)) > delta


def test_one_row_moves_a_step_by_no_more_than_twice_the_clip() -> None:
    """A step without noise, from the weights that the last one left: what the accountant takes for granted."""
    numbers = np.random.default_rng(3)
    rows, labels = numbers.normal(size=(20, 4)) * 50, numbers.integers(0, 2, 20)
    options = {"sigma": 0.0, "steps": 1, "clip": 0.5, "rate": 20.0, "noise": numbers}
    before = PRIVATE.fit_private(rows, labels, **options)
    for _ in range(50):
        other, told = rows.copy(), labels.copy()
        other[7], told[7] = numbers.normal(size=4) * 1000, 1 - told[7]
        moved = np.linalg.norm(PRIVATE.fit_private(other, told, **options) - before)
        assert moved <= 2 * 0.5 * (20.0 / 20) + 1e-9


def audited(*, sigma: float, runs: int = 3000) -> float:
    """The epsilon that an attack proves, at 99 % each way: it knows all rows but one, and tells which of two that one is.

    The threshold is chosen on the first half of the runs and judged on the second.
    """
    rows, labels = np.zeros((8, 1)), np.array([0, 1] * 4)
    sides = []
    for extreme, label in ((10.0, 1), (10.0, 0)):
        mine, told = rows.copy(), labels.copy()
        mine[0], told[0] = extreme, label
        seeds = np.random.default_rng(label).spawn(runs)
        # After one step from zero the sum of the gradients is all that there is to know, and the attack has it.
        fitted = [
            PRIVATE.fit_private(mine, told, sigma=sigma, steps=1, clip=1.0, rate=1.0, noise=one)[0] for one in seeds
        ]
        sides.append(np.array(fitted))
    half = runs // 2
    best, threshold = -math.inf, 0.0
    for candidate in np.quantile(sides[0][:half], np.linspace(0.02, 0.98, 49)):
        hit, false = (sides[0][:half] > candidate).mean(), (sides[1][:half] > candidate).mean()
        if hit and math.log(hit / max(false, 10 / half)) > best:
            best, threshold = math.log(hit / max(false, 10 / half)), float(candidate)
    hit, false = (int((side[half:] > threshold).sum()) for side in sides)
    low = stats.beta.ppf(0.01, hit, half - hit + 1) if hit else 0.0
    high = stats.beta.ppf(0.99, false + 1, half - false)
    return math.log(max(low - 1e-5, 1e-9) / high)


def test_an_attack_proves_no_more_than_the_claim_and_more_where_the_noise_is_too_small() -> None:
    epsilon = 2.0
    sigma = PRIVATE.sigma_for(epsilon, 1e-5, 1)
    assert audited(sigma=sigma) <= epsilon
    assert audited(sigma=sigma / 4) > epsilon  # so the attack would have told


def test_private_is_worse_than_plain_and_far_better_than_a_guess() -> None:
    data = load_breast_cancer()
    tops = np.array([PRIVATE.highest(str(name).replace(" ", "_")) for name in data.feature_names])
    rows, labels = np.clip(data.data / tops, 0, 1) * 2 - 1, 1 - data.target
    assert (data.data <= tops).all()

    def accuracy(sigma: float) -> float:
        found = []
        for seed in range(5):
            numbers = np.random.default_rng(seed)
            unseen, seen = np.split(numbers.permutation(len(rows)), [len(rows) // 4])
            weights = PRIVATE.fit_private(
                rows[seen], labels[seen], sigma=sigma, steps=50, clip=1.0, rate=4.0, noise=numbers
            )
            found.append(((rows[unseen] @ weights[:-1] + weights[-1] > 0) == labels[unseen]).mean())
        return float(np.mean(found))

    plain, private, hidden = (accuracy(s) for s in (0.0, PRIVATE.sigma_for(1.0, 1e-5, 50), 1e4))
    assert plain > 0.94
    assert 0.85 < private < plain
    assert hidden < private


def test_a_column_without_a_range_is_refused() -> None:
    assert PRIVATE.highest("worst_concave_points") == 0.3
    assert PRIVATE.highest("area_error") == 550
    with pytest.raises(SystemExit):
        PRIVATE.highest("age")
    with pytest.raises(SystemExit):
        PRIVATE.sigma_for(1e-9, 1e-12, 1000)
