"""Boosted trees: hostile files are refused for their own reason, honest ones of the real libraries pass and are told right."""

from __future__ import annotations

import json
import warnings

import msgspec
import numpy as np
import pytest
from evil_boosters import all_boosters, honest_boosters, lightgbm_text, ubjson, xgboost_document

from casemate.core import Finding, Verdict, verdict_of
from casemate.scanning import ScanLimits
from casemate.scanning.inspection import inspect_files
from casemate.scanning.notes import Notes
from casemate.scanning.strict_json import parse_json
from casemate.scanning.ubjson import parse_ubjson

EVIL = all_boosters()
HONEST = honest_boosters()


def inspected(files: dict[str, bytes]) -> tuple[Verdict, set[str], dict]:
    answer = inspect_files({path: memoryview(data).toreadonly() for path, data in files.items()}, ScanLimits())
    findings = msgspec.convert(answer["findings"], list[Finding])
    return verdict_of(findings), {finding.id for finding in findings}, answer


@pytest.mark.parametrize("name", EVIL)
def test_a_hostile_booster_is_refused_for_its_own_reason(name: str) -> None:
    files, finding = EVIL[name]
    verdict, ids, _ = inspected(files)
    assert verdict is Verdict.REFUSED
    assert finding in ids


@pytest.mark.parametrize("name", HONEST)
def test_an_honest_booster_passes(name: str) -> None:
    files, kind = HONEST[name]
    verdict, ids, answer = inspected(files)
    assert (verdict, ids, answer["format"]) == (Verdict.CLEAN, set(), kind)
    assert answer["served"]["runtime"] == kind


def test_both_encodings_say_the_same() -> None:
    document = xgboost_document()

    def plain(value):
        if isinstance(value, dict):
            return {key: plain(item) for key, item in value.items()}
        return [plain(item) for item in value] if isinstance(value, list) else getattr(value, "tolist", lambda: value)()

    read = parse_ubjson(memoryview(ubjson(document)), Notes(ScanLimits()))
    assert plain(read) == parse_json(json.dumps(document).encode())


def trained() -> dict[str, tuple[dict[str, bytes], str]]:
    """What the real libraries write, over their boosters, objectives and shapes of trees."""
    lightgbm, xgboost = pytest.importorskip("lightgbm"), pytest.importorskip("xgboost")
    random = np.random.default_rng(0)
    rows, classes, levels = random.random((200, 4)), random.integers(0, 3, 200), random.integers(0, 5, 200)
    mixed, both = np.column_stack([rows, levels]), np.column_stack([classes, classes])
    plain, group = xgboost.DMatrix(rows, classes), [100, 100]
    categorical = xgboost.DMatrix(mixed, classes, feature_types=["q"] * 4 + ["c"], enable_categorical=True)
    trees = {
        "binary": ({"objective": "binary:logistic"}, xgboost.DMatrix(rows, classes > 0)),
        "categories": ({"objective": "multi:softprob", "num_class": 3}, categorical),
        "pruned": ({"gamma": 0.8, "tree_method": "exact"}, plain),
        "dart": ({"booster": "dart"}, plain),
        "linear": ({"booster": "gblinear"}, plain),
        "vector-leaves": ({"multi_strategy": "multi_output_tree"}, xgboost.DMatrix(rows, both)),
        "two-targets": ({}, xgboost.DMatrix(rows, both)),
        "forest": ({"num_parallel_tree": 3, "subsample": 0.5}, plain),
        "ranking": (
            {"objective": "rank:ndcg", "lambdarank_unbiased": True},
            xgboost.DMatrix(rows, classes, group=group),
        ),
        "quantiles": ({"objective": "reg:quantileerror", "quantile_alpha": [0.1, 0.9]}, plain),
        "survival": ({"objective": "survival:cox"}, xgboost.DMatrix(rows, classes + 1)),
        "stump": ({"max_depth": 1}, plain),
    }
    cases = {}
    for name, (params, data) in trees.items():
        booster = xgboost.train({"nthread": 1, **params}, data, 2)
        cases[f"xgboost-{name}"] = ({"model.ubj": bytes(booster.save_raw("ubj"))}, "xgboost")
        cases[f"xgboost-{name}-json"] = ({"model.json": bytes(booster.save_raw("json"))}, "xgboost")
    texts = {
        "binary": ({"objective": "binary"}, rows, classes > 0, {}),
        "multiclass": ({"objective": "multiclass", "num_class": 3}, rows, classes, {}),
        "categories": ({"min_data_per_group": 1, "cat_smooth": 0}, mixed, classes, {"categorical_feature": [4]}),
        "linear": ({"linear_tree": True}, rows, classes, {}),
        "forest": ({"boosting": "rf", "bagging_freq": 1, "bagging_fraction": 0.5}, rows, classes, {}),
        "dart": ({"boosting": "dart"}, rows, classes, {}),
        "one-leaf": ({"min_data_in_leaf": 201}, rows, classes, {}),
        "monotone": ({"monotone_constraints": [1, 0, 0, -1]}, rows, classes, {}),
        "names": ({}, rows, classes, {"feature_name": ["alter", "größe", "c", "d"]}),
        "ranking": ({"objective": "lambdarank"}, rows, classes, {"group": group}),
        "quantile": ({"objective": "quantile", "alpha": 0.3}, rows, classes, {}),
    }
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        for name, (params, data, labels, more) in texts.items():
            booster = lightgbm.train(
                {"verbose": -1, "num_threads": 1, **params}, lightgbm.Dataset(data, labels, **more), 2
            )
            cases[f"lightgbm-{name}"] = ({"model.txt": booster.model_to_string().encode()}, "lightgbm")
    return cases


def test_what_the_real_libraries_write_passes() -> None:
    refused = {}
    for name, (files, kind) in trained().items():
        verdict, ids, answer = inspected(files)
        if verdict is not Verdict.CLEAN or answer["format"] != kind:
            refused[name] = (ids, [finding["evidence"] for finding in answer["findings"]])
    assert refused == {}


def test_a_booster_among_side_files_is_told_by_its_content() -> None:
    files = {"trees/m": lightgbm_text(), "config.json": b"{}"}
    assert inspected(files)[2]["served"] == {"path": "trees/m", "runtime": "lightgbm"}
    wrong = {"model.onnx": ubjson(xgboost_document())}
    assert "name-misleads" in inspected(wrong)[1]
