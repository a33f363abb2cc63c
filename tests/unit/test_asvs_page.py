"""docs/asvs.md has each requirement of levels 1 and 2 once, and every test that it names is there."""

from __future__ import annotations

import re
from collections import Counter
from pathlib import Path

import pytest

TESTS = Path(__file__).parents[1]
DOCS = TESTS.parent / "docs"
PAGE = (DOCS / "asvs.md").read_text()
VERDICTS = {"met", "not applicable", "not met", "not met yet"}
# OWASP ASVS 5.0.0: how many requirements each section has, and which of them are of level 3.
SECTIONS = {
    "6.1": 3, "6.2": 12, "6.3": 8, "6.4": 6, "6.5": 8, "6.6": 4, "6.7": 2, "6.8": 4,
    "7.1": 3, "7.2": 4, "7.3": 2, "7.4": 5, "7.5": 3, "7.6": 2,
    "8.1": 4, "8.2": 4, "8.3": 3, "8.4": 2,
    "9.1": 3, "9.2": 4,
    "10.1": 2, "10.2": 3, "10.3": 5, "10.4": 16, "10.5": 5, "10.6": 2, "10.7": 3,
    "13.3": 4,
}  # fmt: skip
LEVEL_3 = {
    "6.3.5", "6.3.6", "6.3.7", "6.3.8", "6.4.5", "6.4.6", "6.5.6", "6.5.7", "6.5.8", "6.6.4", "6.7.1", "6.7.2",
    "7.5.3", "8.1.3", "8.1.4", "8.2.4", "8.3.2", "8.3.3", "8.4.2", "10.2.3", "10.3.5",
    "10.4.12", "10.4.13", "10.4.14", "10.4.15", "10.4.16", "13.3.3", "13.3.4",
}  # fmt: skip
ROWS = [
    [cell.strip() for cell in line.strip("|").split("|")] for line in PAGE.splitlines() if re.match(r"\| \d+\.", line)
]
NAMED = sorted(set(re.findall(r"`([\w/]+\.py::\w+)`", PAGE)))


def test_each_requirement_of_levels_1_and_2_is_there_once_and_in_order() -> None:
    asked = [f"{section}.{number}" for section, most in SECTIONS.items() for number in range(1, most + 1)]
    assert [row[0] for row in ROWS] == [one for one in asked if one not in LEVEL_3]
    assert {row[1] for row in ROWS} == {"1", "2"}


def test_each_has_a_verdict_and_the_sum_is_right() -> None:
    counted = Counter(row[3] for row in ROWS)
    assert set(counted) <= VERDICTS
    said = re.search(r"Of (\d+): (\d+) met, (\d+) not applicable, (\d+) not met, (\d+) not met yet\.", PAGE)
    assert said is not None
    expected = [len(ROWS), *(counted[one] for one in ("met", "not applicable", "not met", "not met yet"))]
    assert [int(number) for number in said.groups()] == expected


@pytest.mark.parametrize("row", ROWS, ids=lambda row: row[0])
def test_what_is_met_names_a_test_and_what_is_not_says_why(row: list[str]) -> None:
    if row[3] == "met":
        assert "::" in row[4]
    else:
        assert len(row[4]) > 5


@pytest.mark.parametrize("named", NAMED)
def test_each_test_that_is_named_is_there(named: str) -> None:
    path, _, name = named.partition("::")
    text = (TESTS / path).read_text()
    assert re.search(rf"^(?:async )?def {name}\(|^{name} = ", text, re.MULTILINE), named


def test_each_page_that_is_linked_is_there() -> None:
    for page, anchor in re.findall(r"\]\(([\w-]+\.md)(?:#([\w-]+))?\)", PAGE):
        heads = re.findall(r"^#+ (.+)$", (DOCS / page).read_text(), re.MULTILINE)
        assert not anchor or anchor in {re.sub(r"[^\w -]", "", head).lower().replace(" ", "-") for head in heads}
