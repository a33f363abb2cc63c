"""Tables judged in blocks, by models of a sample: the same is found, whatever the blocks, and little is held."""

from __future__ import annotations

import io

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from sklearn.datasets import make_classification
from sklearn.metrics import roc_auc_score

from casemate.core import InputError, seal_bytes
from casemate.screening import screen_dataset
from casemate.screening.large import detect, fit
from casemate.screening.parquet_blocks import ParquetBlocks
from casemate.screening.tables import rows_of_table
from casemate.screening.verdicts import row_digests

ROWS = 3000
FEATURES, TRUE = make_classification(ROWS, 10, n_informative=8, n_classes=3, class_sep=2.0, flip_y=0.0, random_state=21)
COLUMNS = {"label": "kind", "contributor": "who", "time": "day"}


def made(labels: np.ndarray, features: np.ndarray = FEATURES, **more) -> pa.Table:
    plain = {f"f{j}": features[:, j] for j in range(features.shape[1])}
    rest = {"kind": [f"k{one}" for one in labels], "who": [f"u{place % 20}" for place in range(len(labels))]}
    return pa.table(plain | rest | {"day": np.arange(len(labels))} | more)


def sealed(table: pa.Table):
    out = io.BytesIO()
    pq.write_table(table, out, row_group_size=1500)
    return seal_bytes([out.getvalue()])


def flipped(seed: int, share: float = 0.05) -> tuple[np.ndarray, np.ndarray]:
    bad = np.random.default_rng(seed).random(ROWS) < share
    return np.where(bad, (TRUE + 1) % 3, TRUE), bad


def detected(table: pa.Table, block: int = 700, sample: int = 1500):
    with sealed(table) as file:
        blocks = ParquetBlocks(file.fd, block=block)
        seen: list[tuple[int, int]] = []
        whole, fitted = fit(blocks, COLUMNS, sample=sample, seed=3)
        return detect(blocks, whole, fitted, lambda done, total: seen.append((done, total)))


@pytest.mark.slow
def test_flips_are_found_in_rows_that_nothing_was_fitted_on_and_blocks_change_nothing() -> None:
    labels, bad = flipped(1)
    small, large = detected(made(labels), 700), detected(made(labels), 5000)
    assert np.allclose(small.errors.likely, large.errors.likely, atol=1e-4)
    assert np.allclose(small.trigger, large.trigger, atol=1e-3)
    named = small.errors.likely > 0.5
    assert 2 * (named & bad).sum() / (named.sum() + bad.sum()) > 0.85
    assert (small.errors.meant[named & bad] == TRUE[named & bad]).mean() > 0.95


def test_a_stamp_is_found_in_the_whole_table_by_what_a_sample_shows() -> None:
    rng = np.random.default_rng(2)
    features, labels, bad = FEATURES.copy(), TRUE.copy(), np.zeros(ROWS, bool)
    bad[rng.choice(np.flatnonzero(TRUE != 1), 90, replace=False)] = True
    for j in (1, 4, 7):
        features[bad, j] = features[:, j].max()
    score = detected(made(np.where(bad, 1, labels), features)).trigger
    assert roc_auc_score(bad, score) > 0.97
    assert (score[bad] > 1).mean() > 0.8
    assert (score[~bad] > 1).mean() < 0.01


@pytest.mark.slow
def test_a_large_file_is_screened_behind_the_walls_with_its_contributors_changes_and_copies() -> None:
    count = 1500
    liar = (np.arange(count) % 20 == 7) & (np.random.default_rng(5).random(count) < 0.4)
    true = TRUE[:count]
    table = made(np.where(liar, (true + 1) % 3, true), FEATURES[:count])
    table = table.set_column(0, "f0", pa.array(np.where(np.arange(count) < 8, 0.5, FEATURES[:count, 0])))
    before = made(true, FEATURES[:count]).slice(0, 1400).set_column(0, "f0", table.column("f0").slice(0, 1400))
    told: list[tuple[int, int]] = []
    with sealed(table) as file, sealed(before) as former:
        found = screen_dataset(
            file, **COLUMNS, former=former, large=1000, progress=lambda done, total: told.append((done, total))
        )
    with found:
        rules = {one.finding.id: one for one in found.report.suspicions}
        assert "'u7'" in rules["contributor-disagrees"].finding.evidence
        assert rules["relabelled"].count == int(liar[:1400].sum())
        assert told[-1] == (1, 1)
        clean, suspects = (pq.read_table(io.BytesIO(one.read())) for one in (found.clean, found.suspects))
        assert clean.num_rows + suspects.num_rows == count
        assert suspects.num_rows == found.aside
        place = suspects.column("casemate_row").to_pylist()
        assert suspects.column("f1").to_pylist() == [FEATURES[one, 1] for one in place]
        some = rules["relabelled"].suspects[:50]
        held = row_digests(rows_of_table(table, **COLUMNS), [one.row for one in some])
        assert [one.digest for one in some] == held, "one name, however it was read"


@pytest.mark.parametrize(
    ("changes", "code"),
    [
        ({"kind": pa.array([None, *["a", "b"] * 1499, "a"])}, "screen-labels"),
        ({"kind": pa.array(np.arange(ROWS))}, "screen-labels"),
        ({"kind": pa.array(["a"] * ROWS)}, "screen-labels"),
        ({"day": pa.array(["monday"] * ROWS)}, "screen-column"),
    ],
)
def test_a_large_table_that_cannot_be_screened_is_refused(changes, code) -> None:
    table = made(TRUE)
    for name, values in changes.items():
        table = table.set_column(table.column_names.index(name), name, values)
    with pytest.raises(InputError) as refused:
        detected(table)
    assert refused.value.code == code
