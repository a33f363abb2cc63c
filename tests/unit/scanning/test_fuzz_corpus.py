"""Inputs that fuzzing found worth keeping, and those on which a parser once failed: each still ends as it should. `make fuzz`."""

from __future__ import annotations

import os
from pathlib import Path

import pytest
from fuzz_targets import CORPUS, TARGETS, Armed, Escape, kept


def test_every_corpus_has_a_target() -> None:
    assert {path.stem for path in CORPUS.iterdir()} <= TARGETS.keys()


@pytest.mark.parametrize("target", TARGETS)
@pytest.mark.filterwarnings("ignore")  # numpy and pyarrow warn of odd files
def test_kept_inputs_end_in_a_declared_refusal_or_none(target: str) -> None:
    for data in kept(target):
        TARGETS[target](data)  # libraries load parts of themselves the first time, which runs code
        with Armed():
            TARGETS[target](data)


@pytest.mark.parametrize(
    "act",
    [lambda: os.system("true"), lambda: exec("1"), lambda: Path("/tmp/casemate-never").write_text("x")],
)
def test_a_parser_that_acted_would_be_caught(act) -> None:
    with pytest.raises(Escape), Armed():
        act()
