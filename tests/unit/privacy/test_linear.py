"""No text makes a recogniser slow: every pattern is bounded, and what grows grows with the text."""

from __future__ import annotations

import re
import re._parser as parser  # type: ignore[import-not-found]
from importlib import import_module
from itertools import pairwise
from pathlib import Path

import pytest

import casemate.privacy
from casemate.privacy import find_spans, look_at_table

_LONGEST = 1200  # characters that one match may look at

FOLDER = Path(casemate.privacy.__file__).parent


def patterns() -> list[tuple[str, re.Pattern[str]]]:
    found = []
    for file in sorted(FOLDER.glob("*.py")):
        if file.stem in ("job", "job_with_opinion", "__init__"):
            continue
        module = import_module(f"casemate.privacy.{file.stem}")
        found += [(f"{file.stem}.{k}", v) for k, v in vars(module).items() if isinstance(v, re.Pattern)]
        for owner in [v for v in vars(module).values() if hasattr(v, "_near")]:
            found.append((f"{file.stem} words", owner._near))
    from casemate.privacy.national_ids import NATIONAL_IDS

    return found + [(f"national id {one.country}", one.shape) for one in NATIONAL_IDS]


@pytest.mark.parametrize(("name", "pattern"), patterns(), ids=[name for name, _ in patterns()])
def test_every_pattern_is_bounded(name: str, pattern: re.Pattern[str]) -> None:
    assert parser.parse(pattern.pattern, pattern.flags).getwidth()[1] <= _LONGEST, name


EVIL = {
    "digits": "1" * 30_000,
    "spaced digits": "1 " * 30_000,
    "at signs": "@" * 4_000,
    "half addresses": "a@" * 4_000,
    "dots": "a." * 4_000,
    "addresses": "a@b.co " * 4_000,
    "capitals": "Aa " * 6_000,
    "names": "Ann Smith, " * 3_000,
    "brackets": "(((((" * 8_000,
    "colons": ":a" * 4_000,
    "dashes": "-" * 8_000,
    "street": "12 Aaa Bbb " * 3_000,
    "ibans": "GB82 " * 3_000,
    "marks": "e\u0301" * 10_000,
    "widths": "\u200b" * 8_000,
    "scripts": "аa" * 10_000,
    "ligatures": "\ufdfa" * 10_000,
    "lines": "Xaa 12\n" * 4_000,
}


@pytest.mark.parametrize("text", EVIL.values(), ids=EVIL)
def test_huge_cells_come_to_an_end(text: str) -> None:
    """A quadratic step would take hours here; the suite's own limit is minutes."""
    spans = find_spans(text)
    assert all(0 <= s.start < s.end <= len(text) for s in spans)
    assert all(a.end <= b.start for a, b in pairwise(spans))


def test_a_table_of_odd_cells_is_looked_at() -> None:
    import pyarrow as pa

    table = pa.table(
        {
            "": pa.array([None, None], pa.string()),
            "\u202eliame": ["\U0001f600", "a\u0301" * 500],
            "e-mail": ["", " " * 1000],
            "n": pa.array([2**63 - 1, -(2**63)], pa.int64()),
        }
    )
    assert look_at_table(table).rows == 2
