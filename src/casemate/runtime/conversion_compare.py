"""How far an exported model is from the pickle that it was made from, as both answered for the same rows."""

from __future__ import annotations

import numpy as np

from casemate.core import VerificationError
from casemate.registry.conversions import Compared, Tolerance
from casemate.runtime.tensors import Array


def compared(
    said: dict[str, Array], given: dict[str, Array], tolerance: Tolerance, *, figures: bool = True
) -> Compared:
    """How far they are apart.

    Args:
        said: By the pickle's process.
        given: By the runtime that serves the export.
        figures: Whether a refusal says how far: a process that has seen the rows chooses what it says.

    Raises: VerificationError `convert-differs`: more than the tolerance allows, or what cannot be compared.
    """
    label = given.get("label", given.get("variable", given.get("output_label")))
    probabilities = given.get("probabilities", given.get("output_probability"))
    apart, others = 0.0, 0
    if "probabilities" in said:
        if probabilities is None or probabilities.shape != said["probabilities"].shape:
            raise _differs("it gives no probabilities, or of other classes")
        if not (_is_table(said["probabilities"]) and _is_table(probabilities)):
            raise _differs("one of them gives no table of numbers for probabilities")
        apart = _distance(said["probabilities"], probabilities)
        others = int((said["probabilities"].argmax(axis=1) != probabilities.argmax(axis=1)).sum())
    elif label is None:
        raise _differs("it gives no label")
    elif label.size != said["label"].size:
        raise _differs("it gives more labels, or fewer")
    elif said["label"].dtype.kind not in "fiub":
        raise _differs("the pickle's labels are no numbers")
    elif label.dtype.kind == "f":
        apart = _distance(said["label"].reshape(label.shape), label.astype(np.float64))
    elif label.dtype.kind in "iub":
        others = int((said["label"].reshape(label.shape) != label).sum())
    else:
        raise _differs("its labels are text without probabilities, which cannot be compared")
    rows = len(said["label"])
    if not apart <= tolerance.difference or others > tolerance.labels * rows:
        how = (
            f"by up to {apart:.1e}, and in the class of {others} of {rows} rows" if figures else "it is too far from it"
        )
        raise _differs(how)
    # Two digits: the rest would only carry something out of rows that a hostile pickle has seen.
    return Compared(max_difference=float(f"{apart:.1e}"), labels_differ=others, tolerance=tolerance)


def _is_table(array: Array) -> bool:
    """Whether it has a row of numbers for each row."""
    return array.ndim == 2 and array.shape[1] > 0 and array.dtype.kind == "f"


def _distance(first: Array, second: Array) -> float:
    """Largest difference, relative to numbers over 1; not finite when either is not where the other is."""
    if first.shape != second.shape or not (np.isfinite(first) == np.isfinite(second)).all():
        return float("inf")
    apart = np.abs(first - second) / np.maximum(1.0, np.abs(first))
    return float(np.nan_to_num(apart).max(initial=0.0))


def _differs(how: str) -> VerificationError:
    return VerificationError(
        f"The export does not predict as the pickle does: {how}. It is not kept; try another format.",
        code="convert-differs",
    )
