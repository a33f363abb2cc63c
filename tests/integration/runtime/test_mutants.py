"""Boosters with a few bytes changed: whatever the scan still lets through, the real library loads or refuses, and never crashes on.

The scan is what stands between a file and a library that trusts every index in it; a crash here is an index that it missed.
"""

from __future__ import annotations

import random
from contextlib import ExitStack
from pathlib import Path

import numpy as np
import pytest

from casemate.core import seal_bytes
from casemate.sandbox import Limits, run_confined
from casemate.scanning import ScanLimits
from casemate.scanning.inspection import inspect_files

BATCH = 100  # descriptors in one frame
NUMBERS = [
    b"0",
    b"-1",
    b"1",
    b"2",
    b"9",
    b"99999",
    b"2147483647",
    b"-2147483648",
    b"1e308",
    b"nan",
    b"",
    b" ",
    b"\n",
    b"=",
    b"0 0",
]


def seeds() -> dict[str, tuple[str, bytes]]:
    lightgbm, xgboost = pytest.importorskip("lightgbm"), pytest.importorskip("xgboost")
    chance = np.random.default_rng(0)
    rows = np.column_stack([chance.random((80, 3)), chance.integers(0, 5, 80)])
    labels = chance.integers(0, 3, 80)
    data = xgboost.DMatrix(rows, labels, feature_types=["q"] * 3 + ["c"], enable_categorical=True)
    params = {"max_depth": 2, "nthread": 1, "objective": "multi:softprob", "num_class": 3}
    trees = xgboost.train(params, data, 1)
    both = xgboost.train(
        {"max_depth": 2, "multi_strategy": "multi_output_tree"}, xgboost.DMatrix(rows, np.stack([labels, labels], 1)), 1
    )
    text = {"verbose": -1, "num_leaves": 4, "min_data_per_group": 1, "cat_smooth": 0, "num_threads": 1}
    leaves = lightgbm.train(text, lightgbm.Dataset(rows, labels, categorical_feature=[3]), 2)
    linear = lightgbm.train({**text, "linear_tree": True}, lightgbm.Dataset(rows, labels), 1)
    return {
        "ubj": ("xgboost", bytes(trees.save_raw("ubj"))),
        "json": ("xgboost", bytes(trees.save_raw("json"))),
        "vector": ("xgboost", bytes(both.save_raw("json"))),
        "text": ("lightgbm", leaves.model_to_string().encode()),
        "linear": ("lightgbm", linear.model_to_string().encode()),
    }


def mutant(data: bytes, chance: random.Random) -> bytes:
    changed = bytearray(data)
    for _ in range(chance.randrange(1, 4)):
        at = chance.randrange(len(changed))
        match chance.randrange(4):
            case 0:
                changed[at] ^= 1 << chance.randrange(8)
            case 1:
                changed[at : at + 1] = chance.choice(NUMBERS)
            case 2:
                del changed[at : at + chance.randrange(1, 12)]
            case _:
                changed[at : at + 4] = chance.randbytes(4)
    return bytes(changed)


def passed(count: int, seed: int) -> list[tuple[str, bytes]]:
    """Mutants that the scan lets through."""
    chance, found = random.Random(seed), []
    for runtime, data in seeds().values():
        for _ in range(count):
            changed = mutant(data, chance)
            answer = inspect_files({"m": memoryview(changed).toreadonly()}, ScanLimits())
            assert answer["findings"] or answer["format"] in ("xgboost", "lightgbm")
            if not answer["findings"]:
                found.append((runtime, changed))
    return found


def check(count: int, seed: int) -> None:
    found = passed(count, seed)
    assert found
    for start in range(0, len(found), BATCH):
        batch = found[start : start + BATCH]
        with ExitStack() as closing:
            frame = run_confined(
                "loads_many:main",
                [runtime for runtime, _ in batch],
                files=[closing.enter_context(seal_bytes([data])) for _, data in batch],
                paths=[Path(__file__).parent],
                limits=Limits(memory=2 << 30),
                timeout=300,
            )
        assert frame.message["loaded"] + frame.message["raised"] == len(batch)


def test_no_mutant_that_the_scan_lets_through_crashes_the_library() -> None:
    check(60, seed=1)


@pytest.mark.slow
@pytest.mark.timeout(1200)
@pytest.mark.parametrize("seed", range(2, 8))
def test_no_mutant_of_many_does_either(seed: int) -> None:
    check(2000, seed)
