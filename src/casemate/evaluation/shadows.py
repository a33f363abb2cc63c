"""Models of our own, fitted on rows of which we know which were in: what an attacker compares the model with."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import msgspec
import numpy as np
import numpy.typing as npt

from casemate.evaluation.answers import Floats

Ints = npt.NDArray[np.int64]
Make = Callable[[int], Any]  # a seed -> an estimator that is not fitted

_MOST_TRIED = 600  # rows on which families are tried


class Shadows(msgspec.Struct, frozen=True, kw_only=True):
    """Args: inside: bool (models, n): which rows each was fitted on. probabilities: (models, n) of the true class. family: of all."""

    inside: npt.NDArray[np.bool_]
    probabilities: Floats
    family: str


def families(rows: int) -> dict[str, Make]:
    """What a table is usually fitted with. The first ones are stiff and the last ones learn by heart."""
    from sklearn.ensemble import HistGradientBoostingClassifier, RandomForestClassifier
    from sklearn.linear_model import LogisticRegression
    from sklearn.neighbors import KNeighborsClassifier
    from sklearn.neural_network import MLPClassifier
    from sklearn.pipeline import make_pipeline
    from sklearn.preprocessing import StandardScaler
    from sklearn.tree import DecisionTreeClassifier

    def scaled(estimator: Any) -> Any:
        return make_pipeline(StandardScaler(), estimator)

    return {
        "logistic regression": lambda _: scaled(LogisticRegression(max_iter=300)),
        "boosted trees": lambda seed: HistGradientBoostingClassifier(
            max_iter=60, min_samples_leaf=max(2, min(20, rows // 20)), random_state=seed
        ),
        "neural network": lambda seed: scaled(MLPClassifier((64,), max_iter=150, random_state=seed)),
        "nearest neighbours": lambda _: scaled(KNeighborsClassifier(5)),
        "random forest": lambda seed: RandomForestClassifier(100, random_state=seed),
        "single tree": lambda seed: DecisionTreeClassifier(random_state=seed),
    }


def likeliest_family(
    features: Floats, truth: Ints, *, inside: npt.NDArray[np.bool_], target: Floats, classes: int, seed: int
) -> str:
    """The family that behaves most like the model: fitted on the same members, its confidence in the truth is nearest to
    the model's, on members and on others alike.

    Args: inside: (n,) members. target: (n,) the model's probability of the true class.
    """
    random = np.random.default_rng(seed)
    fitted = _some(np.flatnonzero(inside), random)
    asked = np.concatenate([fitted, _some(np.flatnonzero(~inside), random)])
    apart = {}
    for name, make in families(len(fitted)).items():
        said = _confidence(
            make(seed), (features[fitted], truth[fitted]), (features[asked], truth[asked]), classes=classes
        )
        half = len(fitted)
        first, second = np.abs(said - target[asked])[:half].mean(), np.abs(said - target[asked])[half:].mean()
        apart[name] = float(first + second)
    return min(apart, key=lambda name: apart[name])


def fit_shadows(
    features: Floats, truth: Ints, *, count: int, size: int, family: str, classes: int, seed: int
) -> Shadows:
    """Models that were each fitted on `size` of the rows at random: each row is in some and out of others.

    Args: features: (n, d), finite. count: even; each second one is fitted on rows that the one before left out, as far as there are.
    """
    random = np.random.default_rng(seed)
    make = families(size)[family]
    inside = np.zeros((count, len(truth)), bool)
    said = np.zeros((count, len(truth)))
    order = np.arange(len(truth))
    for place in range(count):
        order = random.permutation(len(truth)) if place % 2 == 0 else order[::-1]
        inside[place, order[:size]] = True
        chosen = inside[place]
        said[place] = _confidence(
            make(seed + place), (features[chosen], truth[chosen]), (features, truth), classes=classes
        )
    return Shadows(inside=inside, probabilities=said, family=family)


def _confidence(model: Any, seen: tuple[Floats, Ints], asked: tuple[Floats, Ints], *, classes: int) -> Floats:
    """(n,) probability of the true class of `asked`, of a model fitted on `seen`; a class that it never saw has none."""
    (rows, truth), labels = asked, seen[1]
    found = np.zeros((len(rows), classes))
    if len(np.unique(labels)) < 2:
        found[:, labels[0]] = 1.0
    else:
        model.fit(seen[0], labels)
        found[:, model.classes_] = model.predict_proba(rows)
    return np.asarray(found[np.arange(len(truth)), truth])


def _some(places: npt.NDArray[np.intp], random: np.random.Generator) -> npt.NDArray[np.intp]:
    return places if len(places) <= _MOST_TRIED else random.choice(places, _MOST_TRIED, replace=False)
