"""Models fitted on a sample of a large table, that judge any block of its other rows by itself: here, or on another machine."""

from __future__ import annotations

import msgspec
import numpy as np
import numpy.typing as npt

from casemate.screening.clusters import cell_keys, nearest_apart
from casemate.screening.columns import Floats, Rows
from casemate.screening.labels import MOST_LIKELY, label_errors, sharpest, weighed_by
from casemate.screening.opinions import FITTED, Scale, models_of, said_by
from casemate.screening.trigger_model import TriggerModel

_HELD = 0.15  # of the sample, on which the models are tried and not fitted
_ROUNDS = 2  # fits of the sample without its suspects


class Judgement(msgspec.Struct, frozen=True, kw_only=True):
    """Of the rows of a block. Args: likely, trigger, odd: float32 (n,), as `label_errors`, `find_triggers` and `outlier_scores` say.
    meant: int32 (n,). cells: uint64 (n, 3), equal for near duplicates. late: float32 (n,), what the oldest rows teach against the label."""

    likely: npt.NDArray[np.float32]
    meant: npt.NDArray[np.int32]
    trigger: npt.NDArray[np.float32]
    odd: npt.NDArray[np.float32]
    cells: npt.NDArray[np.uint64]
    late: npt.NDArray[np.float32] | None


class Opinion:
    """What models of some rows say of others. Args: rows: whose labels are believed but for `without`, bool (n,)."""

    def __init__(self, rows: Rows, seed: int, without: npt.NDArray[np.bool_] | None = None) -> None:
        usable = np.ones(len(rows), bool) if without is None else ~without
        rng = np.random.default_rng(seed)
        places = np.flatnonzero(usable)
        learnt = rng.choice(places, FITTED, replace=False) if len(places) > FITTED else places
        self._scale, self._width = Scale(rows, usable), len(rows.classes)
        self._models = models_of(self._scale.of(rows)[learnt], rows.labels[learnt], seed, many=True)

    def of(self, rows: Rows) -> Floats:
        """float64 (n, classes), > 0, rows sum to 1."""
        return said_by(self._models, self._scale.of(rows), self._width)


class Judge:
    """Fitted once. Deterministic for the same sample and seed."""

    def __init__(self, sample: Rows, *, seed: int, oldest: Rows | None = None) -> None:
        """Args: sample: rows drawn from all, with all classes by name. oldest: rows of the oldest time, believed."""
        errors = label_errors(sample, seed=seed, rounds=_ROUNDS)
        suspects = errors.likely > MOST_LIKELY
        held = np.random.default_rng(seed).random(len(sample)) < _HELD
        self._opinion = Opinion(sample, seed + 1000, suspects | held)
        tried = sample.only(held)
        said = self._opinion.of(tried)
        self._power = sharpest(said, tried.labels, said.argmax(1) != tried.labels)
        self._rates = errors.rates
        self._triggers = TriggerModel(sample, seed=seed)
        self._scale = Scale(sample)
        rng = np.random.default_rng(seed)
        self._known = self._scale.of(sample)[rng.permutation(len(sample))[:FITTED]]
        self._usual = max(float(np.quantile(nearest_apart(self._known[:1000], self._known, 11), 0.75)), 1e-9)
        self._oldest = None if oldest is None else Opinion(oldest, seed + 2000)

    @property
    def has_oldest(self) -> bool:
        """Whether a judgement says what the oldest rows teach."""
        return self._oldest is not None

    def judge(self, rows: Rows) -> Judgement:
        """What these rows look like, each by itself."""
        own = np.arange(len(rows))
        likely, meant = weighed_by(self._opinion.of(rows), rows.labels, self._power, self._rates)
        scaled = self._scale.of(rows)
        late = None if self._oldest is None else 1 - self._oldest.of(rows)[own, rows.labels]
        return Judgement(
            likely=likely.astype(np.float32),
            meant=meant.astype(np.int32),
            trigger=self._triggers.score(rows).astype(np.float32),
            odd=(nearest_apart(scaled, self._known, 10) / self._usual / 4.0).astype(np.float32),
            cells=cell_keys(scaled),
            late=None if late is None else late.astype(np.float32),
        )
