"""`casemate dataset screen`, with the real sandbox."""

from __future__ import annotations

import json
from pathlib import Path

import numpy as np
import pyarrow.parquet as pq
import pytest
from sklearn.datasets import load_wine

FEATURES, LABELS = load_wine(return_X_y=True)
BAD = np.sort(np.random.default_rng(9).choice(np.flatnonzero(LABELS == 2), 8, replace=False))


@pytest.fixture(scope="module")
def table(tmp_path_factory: pytest.TempPathFactory) -> Path:
    labels, lines = LABELS.copy(), [",".join([*(f"f{j}" for j in range(13)), "kind", "who"])]
    labels[BAD] = 0
    for place, (row, label) in enumerate(zip(FEATURES, labels, strict=True)):
        lines.append(",".join([*map(str, row), f"kind{label}", "eve" if place in BAD else f"user{place % 5}"]))
    path = tmp_path_factory.mktemp("table") / "wine.csv"
    path.write_text("\n".join(lines))
    return path


@pytest.fixture(scope="module")
def options() -> list[str]:
    return ["--label", "kind", "--contributor", "who", "--json"]


@pytest.mark.slow
def test_suspects_are_named_and_parted_from_the_rest(run, table, options, tmp_path) -> None:
    folder = tmp_path / "q"
    out, _ = run("dataset", "screen", str(table), *options, "--quarantine", str(folder), code=1)
    result = json.loads(out)
    found = {one["finding"]["id"]: one for one in result["suspicions"]}
    assert {"label-error", "contributor-disagrees"} <= set(found)
    assert "'eve'" in found["contributor-disagrees"]["finding"]["evidence"]
    named = {one["row"] for one in found["label-error"]["suspects"]}
    assert len(named & set(BAD.tolist())) >= 6
    assert {one["contributor"] for one in found["contributor-disagrees"]["suspects"]} == {"eve"}

    clean, suspects = pq.read_table(folder / "clean.parquet"), pq.read_table(folder / "suspects.parquet")
    assert clean.num_rows + suspects.num_rows == len(LABELS)
    assert suspects.num_rows == result["aside"]
    places = suspects.column("casemate_row").to_pylist()
    assert named <= set(places)
    assert suspects.column("f0").to_pylist() == [FEATURES[p, 0] for p in places]
    assert "casemate_row" not in clean.column_names
    assert json.loads((folder / "screening.json").read_text())["rows"] == len(LABELS)

    again, _ = run("dataset", "screen", str(table), *options, "--quarantine", str(folder), code=2)
    assert json.loads(again)["code"] == "exists"


@pytest.mark.slow
def test_what_people_called_fine_is_not_named_again(run, table, options, tmp_path) -> None:
    out, _ = run("dataset", "screen", str(table), *options, code=1)
    first = next(one for one in json.loads(out)["suspicions"] if one["finding"]["id"] == "label-error")["suspects"][0]
    verdicts = tmp_path / "verdicts.jsonl"
    verdicts.write_text(
        json.dumps({"rule": "label-error", "row": first["digest"], "score": first["score"], "judged": "fine"}) + "\n"
    )
    out, _ = run("dataset", "screen", str(table), *options, "--verdicts", str(verdicts), code=1)
    second = next(one for one in json.loads(out)["suspicions"] if one["finding"]["id"] == "label-error")
    assert first["row"] not in {one["row"] for one in second["suspects"]}


@pytest.mark.parametrize(
    ("extra", "code"),
    [
        (["--label", "nothing"], "screen-column"),
        (["--label", "f0"], "screen-labels"),
        (["--label", "kind", "--finding", "no-rule"], "screen-rule"),
        (["--label", "kind", "--against", "/nowhere.csv"], "no-file"),
    ],
)
def test_bad_input_gets_one_sentence(run, table, extra, code) -> None:
    out, _ = run("dataset", "screen", str(table), *extra, "--json")
    assert json.loads(out)["code"] == code


@pytest.mark.parametrize(
    ("address", "code"),
    [("10.0.0.5:6379", "ray-open"), ("auto", "ray-address"), ("ray://127.0.0.1:10001", "ray-address")],
)
def test_a_cluster_that_others_reach_or_that_is_none_is_refused_before_a_row_is_read(
    run, tmp_path, address, code
) -> None:
    refused = 1 if code == "ray-open" else 2
    out, _ = run("dataset", "screen", "./nothing.csv", "--label", "kind", "--ray", address, "--json", code=refused)
    assert json.loads(out)["code"] == code
    out, _ = run(
        "dataset", "list", "--json", code=refused, CASEMATE_RAY_ADDRESS="10.0.0.5:6379" if refused == 1 else "auto"
    )
    assert json.loads(out)["code"] == (code if refused == 1 else "bad-setting")


def test_the_cluster_for_versions_is_a_setting_of_the_environment_alone(run, settings) -> None:
    _, said = run("dataset", "screen", "loans", "--ray", "127.0.0.1:6379")
    assert "ray_address" in said
    (settings.home / "casemate.toml").write_text('ray_address = "127.0.0.1:6379"\n')
    try:
        out, _ = run("dataset", "list", "--json")
    finally:
        (settings.home / "casemate.toml").unlink()
    assert json.loads(out)["code"] == "not-in-file"
