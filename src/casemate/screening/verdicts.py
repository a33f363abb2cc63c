"""What people said of suspects: a row that was called fine is not named again, and each rule's threshold learns within bounds."""

from __future__ import annotations

import hashlib
import json
from collections.abc import Sequence
from enum import StrEnum
from typing import TYPE_CHECKING, Any

import msgspec

from casemate.core import Digest, InputError

if TYPE_CHECKING:  # every command knows these words, and NumPy is loaded where rows are judged
    from casemate.screening.columns import Bools, Ints, Rows

LEAST = 10  # verdicts on a rule before its threshold moves
LOWEST, HIGHEST = 0.8, 1.5  # times the default; nobody's verdicts put a rule out of work
_WANTED = 0.5  # of the rows above a threshold, judged to be poisoned
MAX_VERDICTS = 1_000_000


class Judged(StrEnum):
    POISONED = "poisoned"
    FINE = "fine"


class HumanVerdict(msgspec.Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """Args: row: digest of the row's features and label, as a report names it. score: as the rule gave it then. by: who judged."""

    rule: str
    row: Digest
    score: float
    judged: Judged
    by: str = ""


def read_verdicts(lines: bytes) -> tuple[HumanVerdict, ...]:
    """One JSON object a line. Raises: InputError `screen-verdicts`, naming the line."""
    found = []
    for number, line in enumerate(lines.splitlines(), start=1):
        if not line.strip():
            continue
        try:
            found.append(msgspec.json.decode(line, type=HumanVerdict))
        except (msgspec.ValidationError, msgspec.DecodeError, UnicodeDecodeError):
            raise InputError(
                f"Line {number} of the verdicts is not an object of rule, row, score and judged (poisoned or fine).",
                code="screen-verdicts",
            ) from None
        if len(found) > MAX_VERDICTS:
            raise InputError(f"There are over {MAX_VERDICTS} verdicts.", code="screen-verdicts")
    return tuple(found)


def learned(default: float, rule: str, verdicts: Sequence[HumanVerdict]) -> float:
    """The lowest threshold above which people called at least half of the rows poisoned, from 0.8 to 1.5 times the default.

    The default itself, below 10 verdicts on the rule.
    """
    import numpy as np

    mine = sorted((v for v in verdicts if v.rule == rule), key=lambda v: -v.score)
    if len(mine) < LEAST:
        return default
    right = np.cumsum([v.judged is Judged.POISONED for v in mine]) / np.arange(1, len(mine) + 1)
    good = np.flatnonzero(right >= _WANTED)
    wanted = mine[good[-1]].score if len(good) else np.inf
    return float(np.clip(np.nextafter(wanted, -np.inf), LOWEST * default, HIGHEST * default))


def row_digests(rows: Rows, places: Sequence[int] | Ints) -> list[Digest]:
    """Name rows by their values and label, whoever gave them: a row has the same name in every version with these columns."""
    import numpy as np

    if rows.said is None:
        data = [rows.features[place].tobytes() + rows.classes[rows.labels[place]].encode() for place in places]
        return [_digest(one) for one in data]
    if hasattr(rows.said, "digests"):  # they lie in a file
        found: list[Digest] = rows.said.digests(places)
        return found
    return [digest_of_row(row) for row in rows.said.take(np.asarray(places, np.int64)).to_pylist()]


def digest_of_row(row: dict[str, Any]) -> Digest:
    """By its values, column by column."""
    return _digest(json.dumps(row, sort_keys=True, default=str).encode())


def _digest(data: bytes) -> Digest:
    return Digest("sha256:" + hashlib.sha256(data).hexdigest())


def called_fine(rows: Rows, rule: str, named: Bools, verdicts: Sequence[HumanVerdict]) -> Bools:
    """Of the rows named, those that a person called fine for this rule, and whose newest verdict says so."""
    import numpy as np

    newest = {v.row: v.judged for v in verdicts if v.rule == rule}
    fine = np.zeros(len(rows), bool)
    if newest:
        places = np.flatnonzero(named)
        fine[places] = [newest.get(digest) is Judged.FINE for digest in row_digests(rows, places)]
    return fine
