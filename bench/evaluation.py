"""How much of what is there an evaluation finds. Membership: models that learn by heart and stiff ones, on rows whose membership is known, with the likelihood-ratio attack that `model evaluate` runs beside the loss attack (Yeom 2018) on the same rows; the threshold is set on one half of the outsiders and the false positive rate measured on the other. Evasion: linear models, on which the distance of every row to the boundary can be computed, so that what an attack misses is known; with scores, and with classes alone. Attributes: a model that stands on a column and one that does not. Fingerprint: copies (exact, rounded, fine-tuned, distilled) and models that were trained apart on other rows of the same kind. Seeds are others than those of the tests; the attacks were shaped on `make_classification` with small seeds and on `breast_cancer`.
"""  # fmt: skip

from __future__ import annotations

import json
import os
import sys
import warnings

os.environ.setdefault("OMP_NUM_THREADS", "1")  # read when the libraries load; the machine is shared

import numpy as np
from scipy import stats
from sklearn.datasets import load_breast_cancer, load_digits, make_classification
from sklearn.ensemble import ExtraTreesClassifier, RandomForestClassifier
from sklearn.linear_model import LogisticRegression
from sklearn.naive_bayes import GaussianNB
from sklearn.neural_network import MLPClassifier
from sklearn.pipeline import make_pipeline
from sklearn.preprocessing import StandardScaler
from sklearn.svm import SVC
from sklearn.tree import DecisionTreeClassifier

from casemate.evaluation.answers import Oracle, RawAnswer
from casemate.evaluation.attributes import guess_attribute
from casemate.evaluation.claims import AT_MOST
from casemate.evaluation.evasion import BUDGETS, evasion
from casemate.evaluation.fingerprints import make_questions
from casemate.evaluation.membership import likelihood_ratios, odds, told
from casemate.evaluation.shadows import fit_shadows, likeliest_family

SEEDS = (301, 302)  # of what is quick; the others take the first
SHADOWS = 16
ROWS: list[dict] = []


def main() -> None:
    warnings.simplefilter("ignore")
    remembered()
    evaded()
    guessed()
    fingerprinted()
    print(json.dumps(ROWS))


def add(name: str, value: float, **rest: object) -> None:
    ROWS.append({"name": name, "value": round(float(value), 4), **rest})
    print(ROWS[-1], file=sys.stderr, flush=True)


def scaled(model):
    return make_pipeline(StandardScaler(), model)


# Membership.

MODELS = {
    "random forest, learns by heart": lambda seed: RandomForestClassifier(60, random_state=seed),
    "single tree, learns by heart": lambda seed: DecisionTreeClassifier(random_state=seed),
    "random forest, 40 rows a leaf": lambda seed: RandomForestClassifier(60, min_samples_leaf=40, random_state=seed),
    "logistic regression": lambda seed: scaled(LogisticRegression(max_iter=500)),
}


def remembered() -> None:
    for name, make in MODELS.items():
        ours, theirs, false, kinds = [], [], [], []
        for seed in SEEDS[:1]:
            features, truth = make_classification(4400, 12, n_informative=6, flip_y=0.1, random_state=seed)
            inside = np.arange(4400) < 1400
            model = make(seed).fit(features[inside], truth[inside])
            target = model.predict_proba(features)[np.arange(4400), truth]
            scores, kind = attack(features, truth, target, inside, seed)
            kinds.append(kind)
            ours.append(told(scores, inside)[0])
            theirs.append(told(odds(target), inside)[0])
            false.append(held_out_rate(scores, inside, seed))
        for figure, what in (
            ("membership_auc", "AUC"), ("membership_tpr_1pct", "true positives at 1 % false ones"),
            ("membership_tpr_01pct", "true positives at 0.1 % false ones"),
        ):  # fmt: skip
            mine, peer = (float(np.median([one[figure] for one in some])) for some in (ours, theirs))
            add(f"membership, {name}: {what}", mine, beside=f"loss attack {peer:.3f}")
        add(
            f"membership, {name}: false positives on outsiders that set no threshold, at 1 %",
            np.mean(false),
            aim="<= 0.02",
        )
        print(kinds, file=sys.stderr)
    outsiders()


def attack(features, truth, target, inside, seed):
    family = likeliest_family(features, truth, inside=inside, target=target, classes=2, seed=seed)
    fitted = fit_shadows(features, truth, count=SHADOWS, size=int(inside.sum()), family=family, classes=2, seed=seed)
    return likelihood_ratios(target, fitted), family


def held_out_rate(scores, inside, seed) -> float:
    outside = np.random.default_rng(seed).permutation(scores[~inside])
    first, second = outside[: len(outside) // 2], outside[len(outside) // 2 :]
    return float((second > np.quantile(first, 0.99)).mean())


def outsiders() -> None:
    """False alarms: the rows called members were no more seen than the others."""
    areas, rates = [], []
    for seed in SEEDS[:1]:
        features, truth = make_classification(4200, 12, n_informative=6, flip_y=0.1, random_state=seed)
        model = RandomForestClassifier(60, random_state=seed).fit(features[2800:], truth[2800:])
        features, truth, inside = features[:2800], truth[:2800], np.arange(2800) < 1400
        target = model.predict_proba(features)[np.arange(2800), truth]
        scores, _ = attack(features, truth, target, inside, seed)
        found = told(scores, inside)[0]
        areas.append(found["membership_auc"])
        rates.append(found["membership_tpr_1pct"])
    add("membership, nothing to find (rows that no model saw, called members): AUC", np.median(areas), aim="<= 0.53")
    add("membership, nothing to find: true positives at 1 % false ones", np.median(rates), aim="<= 0.02")


# Evasion.


def evaded() -> None:
    for labels_only in (False, True):
        found: dict[str, list[float]] = {norm: [] for norm in BUDGETS}
        for seed in SEEDS:
            features, truth = make_classification(400, 15, n_informative=8, random_state=seed)
            model = LogisticRegression(max_iter=500).fit(features, truth)
            rows, spread = features[:120], features.std(axis=0)
            weights = model.coef_[0] * spread
            margin = np.abs(rows @ model.coef_[0] + model.intercept_[0])
            right = model.predict(rows) == truth[:120]

            def answers(given, model=model, labels_only=labels_only):
                said = model.predict_proba(given)
                return np.eye(2)[said.argmax(axis=1)] if labels_only else said

            told_of = evasion(rows, truth[:120], answers=answers, spread=spread, steps=120, seed=seed)
            for norm, dual in (("linf", 1), ("l2", 2)):
                for budget in BUDGETS[norm]:
                    can = (right & (margin <= budget * np.linalg.norm(weights, dual))).sum()
                    fell = right.sum() - told_of[norm][f"{budget:g}"] * len(rows)
                    found[norm].append(fell / max(1, can))
        how = "classes alone" if labels_only else "scores"
        for norm, shares in found.items():
            aim = {"aim": ">= 0.95"} if not labels_only else {}
            add(f"evasion with {how}, {norm}: share of the rows that can fall that fell", np.mean(shares), **aim)


# Attributes.


def guessed() -> None:
    for stands, what in ((True, "stands on the column"), (False, "never reads the column")):
        gains = []
        for seed in SEEDS:
            random = np.random.default_rng(seed)
            features, truth = make_classification(1600, 6, n_informative=5, n_redundant=0, random_state=seed)
            secret = random.integers(0, 2, 1600).astype(float)
            outcome = np.where(random.random(1600) < 0.3, secret, truth).astype(int) if stands else truth
            table = np.column_stack([secret, features])
            inside = np.arange(1600) < 800
            reads = table if stands else np.column_stack([0 * secret, features])
            model = RandomForestClassifier(60, random_state=seed).fit(reads[inside], outcome[inside])

            def answers(given, model=model, stands=stands):
                given = given.copy()
                given[:, 0] *= float(stands)
                return model.predict_proba(given)

            found = guess_attribute(table, outcome, inside=inside, column=0, answers=answers, seed=seed)
            gains.append(found.advantage)
        aim = {"aim": "<= 0.05"} if not stands else {}
        add(
            f"attribute, a forest that {what}: gain over guessing without the model, on members",
            np.median(gains),
            **aim,
        )


# Fingerprint.

ZOO = {
    "logistic": lambda seed: scaled(LogisticRegression(max_iter=500)),
    "forest": lambda seed: RandomForestClassifier(60, random_state=seed),
    "network": lambda seed: scaled(MLPClassifier((48,), max_iter=150, random_state=seed)),
}
APART = {
    **ZOO,
    "kernel machine": lambda seed: scaled(SVC()),
    "extra trees": lambda seed: ExtraTreesClassifier(60, random_state=seed),
    "bayes": lambda seed: scaled(GaussianNB()),
}


def fingerprinted() -> None:
    data = {"breast_cancer": load_breast_cancer(return_X_y=True), "digits": load_digits(return_X_y=True)}
    claims: dict[str, list[bool]] = {}
    shares: dict[str, list[float]] = {}
    for features, truth in data.values():
        for seed in SEEDS[:1]:
            order = np.random.default_rng(seed).permutation(len(truth))
            half = len(truth) // 2
            mine, theirs = order[:half], order[half:]
            classes = tuple(map(str, np.unique(truth)))
            for name, make in ZOO.items():
                model = make(seed).fit(features[mine], truth[mine])
                made = questions(model, features[mine], truth[mine], classes, seed)
                for what, suspect in suspects(name, model, (features, truth), (mine, theirs), seed):
                    agree = int((suspect(made.queries) == made.answers).sum())
                    chance = stats.binom.sf(agree - 1, len(made.answers), made.chance)
                    claims.setdefault(what, []).append(bool(chance <= AT_MOST))
                    shares.setdefault(what, []).append(agree / len(made.answers))
    for what, found in claims.items():
        aims = {"false: ": "<= 0", "the same file": ">= 1", "rounded": ">= 1"}
        aim = next((aim for word, aim in aims.items() if word in what), None)
        median = float(np.median(shares[what]))
        add(
            f"fingerprint, {what}: called a copy, of {len(found)}", np.mean(found),
            beside=f"agrees on {median:.2f}, at most {max(shares[what]):.2f}", **({"aim": aim} if aim else {}),
        )  # fmt: skip


def questions(model, features, truth, classes, seed):
    oracle = Oracle(lambda rows: RawAnswer(scores=model.predict_proba(rows)), classes)
    oracle.learn_columns(RawAnswer(scores=model.predict_proba(features), labels=model.predict(features).astype(str)))
    places = np.searchsorted(np.array(classes), truth.astype(str))
    return make_questions(features, places, oracle, count=200, seed=seed)


def suspects(name, model, rows, halves, seed):
    (features, truth), (mine, theirs) = rows, halves
    random = np.random.default_rng(seed + 1)
    yield "the same file", model.predict
    yield "answers rounded to 2 places", lambda rows: np.round(model.predict_proba(rows), 2).argmax(axis=1)
    asked = features[theirs][random.integers(0, len(theirs), 3000)]
    asked = asked + random.normal(size=asked.shape) * features.std(axis=0) * 0.3
    said = model.predict(asked)
    yield "distilled by 3,000 questions into the same family", ZOO[name](seed + 2).fit(asked, said).predict
    other = next(one for one in ZOO if one != name)
    yield "adaptive: distilled into another family", ZOO[other](seed + 2).fit(asked, said).predict
    if name == "network":
        scaler, network = model[0], model[1]
        fresh = scaler.transform(features[theirs])
        for _ in range(20):
            network.partial_fit(fresh, truth[theirs])
        yield "fine-tuned for 20 epochs on other rows (networks)", model.predict
    for kind, make in APART.items():
        for extra in (11, 12):
            own = make(seed + extra).fit(features[theirs], truth[theirs])
            yield "false: trained apart, on other rows", own.predict
        same = make(seed + 13).fit(features[mine], truth[mine])
        yield "false, adaptive: trained apart, on the very same rows", same.predict
        del kind


if __name__ == "__main__":
    main()
