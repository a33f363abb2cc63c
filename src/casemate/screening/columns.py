"""A table's rows as numbers: features, labels, contributors and times, ready for the detectors."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import msgspec
import numpy as np
import numpy.typing as npt

from casemate.core import InputError

Floats = npt.NDArray[np.float64]
Ints = npt.NDArray[np.int64]
Bools = npt.NDArray[np.bool_]

_MAX_CLASSES = 1000
_LEAST_ROWS = 40  # below this, no figure of a detector means anything
_LEAST_OF_CLASS = 4  # rows; a class needs some in every fold


class Rows(msgspec.Struct, frozen=True, kw_only=True):
    """Rows as the detectors read them.

    Args:
        features: float64 (n, d), finite: numbers as ranks or standardised values, text as one-of-many or as how frequent it is.
        labels: int64 (n,), places in `classes`. contributors: int64 (n,), places in `names`; None where no column names them.
        times: float64 (n,), in any unit that grows; None where no column says.
        said: Arrow table (n rows) of the values that features and labels were made from, where they came from a table.
        weights: float64 (d,), how much each feature counts once all have one spread; None: all the same.
        surface: float64 (n, s), the features whose single values mean something, where images or texts have others; None: all.
        views: of (n, v) each: what texts say, by random halves of their words. pieces: n arrays of uint64, words and patches.
        unread: bool (n,), rows with an image that could not be read; None: there is none.
    """

    features: Floats
    labels: Ints
    classes: tuple[str, ...]
    feature_names: tuple[str, ...]
    contributors: Ints | None = None
    names: tuple[str, ...] = ()
    times: Floats | None = None
    said: Any = None
    weights: Floats | None = None
    surface: Floats | None = None
    views: tuple[Floats, ...] = ()
    pieces: list[npt.NDArray[np.uint64]] | None = None
    unread: Bools | None = None

    def __len__(self) -> int:
        return len(self.labels)

    def only(self, chosen: Any) -> Rows:
        """Some of the rows. Args: chosen: places or a mask."""
        return msgspec.structs.replace(
            self,
            features=self.features[chosen],
            labels=self.labels[chosen],
            contributors=None if self.contributors is None else self.contributors[chosen],
            times=None if self.times is None else self.times[chosen],
            said=None,
            surface=None if self.surface is None else self.surface[chosen],
            views=tuple(view[chosen] for view in self.views),
            pieces=None if self.pieces is None else [self.pieces[place] for place in np.arange(len(self))[chosen]],
            unread=None if self.unread is None else self.unread[chosen],
        )


def rows_of(
    features: Floats,
    labels: Sequence[Any] | npt.NDArray[Any],
    *,
    contributors: Sequence[Any] | npt.NDArray[Any] | None = None,
    times: Floats | None = None,
    feature_names: Sequence[str] = (),
) -> Rows:
    """Rows of arrays that are there already.

    Args: features: (n, d); what is not finite becomes the column's median. labels: (n,), any values that `str` tells apart.
    Raises: InputError `screen-rows`, `screen-labels`, `screen-shape`.
    """
    features = filled(np.asarray(features, np.float64))
    classes, places = np.unique(np.asarray(labels).astype(str), return_inverse=True)
    if features.ndim != 2 or len(features) != len(places) or not features.shape[1]:
        raise InputError("Features are rows by columns, and each row has one label.", code="screen-shape")
    if len(features) < _LEAST_ROWS:
        raise InputError(
            f"A screening needs at least {_LEAST_ROWS} rows; there are {len(features)}.", code="screen-rows"
        )
    if not 1 < len(classes) <= _MAX_CLASSES or len(classes) * _LEAST_OF_CLASS > len(places):
        raise InputError(
            f"The label has {len(classes)} values over {len(places)} rows: it must be a class, not a number or an id.",
            code="screen-labels",
        )
    names, who = (
        (None, None) if contributors is None else np.unique(np.asarray(contributors).astype(str), return_inverse=True)
    )
    return Rows(
        features=features,
        labels=places.astype(np.int64),
        classes=tuple(map(str, classes)),
        feature_names=tuple(feature_names) or tuple(f"column {j + 1}" for j in range(features.shape[1])),
        contributors=None if who is None else who.astype(np.int64),
        names=() if names is None else tuple(map(str, names)),
        times=None if times is None else np.asarray(times, np.float64),
    )


def filled(features: Floats) -> Floats:
    """The same values, finite: a missing or infinite one becomes the median of its column, or 0 where all are missing."""
    if np.isfinite(features).all():
        return features
    return np.where(np.isfinite(features), features, middles(features))


def middles(features: Floats) -> Floats:
    """float64 (d,): the median of what is finite in each column; 0 where nothing is."""
    with np.errstate(all="ignore"):
        return np.array([np.median(c[np.isfinite(c)]) if np.isfinite(c).any() else 0.0 for c in features.T])
