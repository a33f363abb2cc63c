"""Boosted trees written by hand, honest and hostile: XGBoost as JSON and UBJSON, LightGBM as text. No library is needed."""

from __future__ import annotations

import copy
import json
import struct
from collections.abc import Callable
from typing import Any

BROKEN, TREE, OBJECTIVE = "booster-malformed", "booster-bad-tree", "booster-unknown-objective"


def xgboost_document() -> dict[str, Any]:
    """One tree of three nodes on four features."""
    tree = {
        "base_weights": [0.0, -0.5, 0.5], "categories": [], "categories_nodes": [], "categories_segments": [],
        "categories_sizes": [], "default_left": [0, 0, 0], "id": 0, "left_children": [1, -1, -1],
        "loss_changes": [2.5, 0.0, 0.0], "parents": [2147483647, 0, 0], "right_children": [2, -1, -1],
        "split_conditions": [0.5, -0.5, 0.5], "split_indices": [3, 0, 0], "split_type": [0, 0, 0],
        "sum_hessian": [9.0, 4.0, 5.0],
        "tree_param": {"num_deleted": "0", "num_feature": "4", "num_nodes": "3", "size_leaf_vector": "1"},
    }  # fmt: skip
    model = {
        "gbtree_model_param": {"num_parallel_tree": "1", "num_trees": "1"},
        "iteration_indptr": [0, 1],
        "tree_info": [0],
        "trees": [tree],
    }
    learner = {
        "attributes": {},
        "feature_names": ["a", "b", "c", "d"],
        "feature_types": ["float"] * 4,
        "gradient_booster": {"model": model, "name": "gbtree"},
        "learner_model_param": {"base_score": "5E-1", "num_class": "0", "num_feature": "4", "num_target": "1"},
        "objective": {"name": "binary:logistic", "reg_loss_param": {"scale_pos_weight": "1"}},
    }
    return {"learner": learner, "version": [3, 2, 0]}


def ubjson(value: Any) -> bytes:  # noqa: PLR0911 one for each kind of value
    """As XGBoost writes it: counted arrays, lengths as int64."""
    match value:
        case bool():
            return b"T" if value else b"F"
        case int():
            return b"L" + struct.pack(">q", value)
        case float():
            return b"d" + struct.pack(">f", value)
        case str():
            return b"S" + _counted(value)
        case list() if value and all(type(item) is float for item in value):
            return b"[$d#L" + struct.pack(f">q{len(value)}f", len(value), *value)
        case list() if value and all(type(item) is int for item in value):
            return b"[$l#L" + struct.pack(f">q{len(value)}i", len(value), *value)
        case list():
            return b"[#L" + struct.pack(">q", len(value)) + b"".join(map(ubjson, value))
        case dict():
            return b"{" + b"".join(_counted(key) + ubjson(item) for key, item in value.items()) + b"}"
    raise TypeError(type(value))


def _counted(text: str) -> bytes:
    return b"L" + struct.pack(">q", len(text.encode())) + text.encode()


LIGHTGBM_TREE = """Tree=0
num_leaves=3
num_cat=0
split_feature=2 0
split_gain=52.9 2.3
threshold=87.2 15.0
decision_type=2 2
left_child=-1 -2
right_child=1 -3
leaf_value=-0.4 -0.6 -0.7
leaf_weight=9.1 4.5 9.1
leaf_count=40 20 40
internal_value=-0.6 -0.7
internal_weight=22.7 13.6
internal_count=100 60
is_linear=0
shrinkage=1


"""
_LIGHTGBM_HEAD = """tree
version=v4
num_class=1
num_tree_per_iteration=1
label_index=0
max_feature_idx=3
objective=binary sigmoid:1
feature_names=a b c d
feature_infos=[8:25] [10:27] [51:171] none
tree_sizes={size}

"""
_LIGHTGBM_TAIL = """end of trees

feature_importances:
c=1
a=1

parameters:
[boosting: gbdt]
[data: ]

end of parameters

pandas_categorical:null
"""


def lightgbm_text(
    tree: str = LIGHTGBM_TREE, *, head: str = _LIGHTGBM_HEAD, tail: str = _LIGHTGBM_TAIL, size: int = 0
) -> bytes:
    return (head.format(size=size or len(tree)) + tree + tail).encode()


def _changed(change: Callable[[dict[str, Any]], object]) -> dict[str, Any]:
    document = copy.deepcopy(xgboost_document())
    change(document)
    return document


def _tree(document: dict[str, Any]) -> dict[str, Any]:
    tree: dict[str, Any] = document["learner"]["gradient_booster"]["model"]["trees"][0]
    return tree


def _in_tree(key: str, value: Any) -> dict[str, Any]:
    return _changed(lambda document: _tree(document).update({key: value}))


def _in_learner(key: str, value: Any) -> dict[str, Any]:
    return _changed(lambda document: document["learner"].update({key: value}))


def _categorical(**changes: Any) -> dict[str, Any]:
    fields = {
        "split_type": [1, 0, 0], "categories": [0, 2], "categories_nodes": [0], "categories_segments": [0],
        "categories_sizes": [2],
    }  # fmt: skip
    return _changed(lambda document: _tree(document).update(fields | changes))


def evil_xgboost() -> dict[str, tuple[dict[str, Any], str]]:
    """Documents, in whichever encoding."""
    deep: Any = "1"
    for _ in range(150):
        deep = [deep]
    two = _changed(lambda d: d["learner"]["gradient_booster"]["model"]["trees"].append(_tree(d)))
    return {
        "child-outside": (_in_tree("left_children", [99, -1, -1]), TREE),
        "child-negative": (_in_tree("left_children", [-2, -1, -1]), TREE),
        "child-is-root": (_in_tree("left_children", [0, -1, -1]), TREE),
        "child-shared": (_in_tree("right_children", [1, -1, -1]), TREE),
        "circle": (_changed(lambda d: _tree(d).update(left_children=[1, 0, -1], right_children=[2, 2, -1])), TREE),
        "parent-elsewhere": (_in_tree("parents", [2147483647, 2, 0]), TREE),
        "feature-outside": (_in_tree("split_indices", [4, 0, 0]), TREE),
        "feature-negative": (_in_tree("split_indices", [-1, 0, 0]), TREE),
        "feature-huge": (_in_tree("split_indices", [2**31 - 2, 0, 0]), TREE),
        "arrays-too-short": (_in_tree("split_conditions", [0.5]), TREE),
        "arrays-too-long": (_in_tree("sum_hessian", [1.0] * 9), TREE),
        "no-nodes": (_changed(lambda d: _tree(d)["tree_param"].update(num_nodes="0")), TREE),
        "many-nodes": (_changed(lambda d: _tree(d)["tree_param"].update(num_nodes="1000000000")), TREE),
        "nodes-no-number": (_changed(lambda d: _tree(d)["tree_param"].update(num_nodes="-1")), BROKEN),
        "other-features": (_changed(lambda d: _tree(d)["tree_param"].update(num_feature="9")), TREE),
        "leaf-vector": (_changed(lambda d: _tree(d)["tree_param"].update(size_leaf_vector="7")), TREE),
        "unreached-nodes": (_in_tree("left_children", [-1, -1, -1]), TREE),
        "tree-at-another-place": (_in_tree("id", 1), TREE),
        "split-type": (_in_tree("split_type", [7, 0, 0]), TREE),
        "category-node-outside": (_categorical(categories_nodes=[9]), TREE),
        "category-segment-outside": (_categorical(categories_sizes=[900]), TREE),
        "category-segment-negative": (_categorical(categories_segments=[-1]), TREE),
        "category-huge": (_categorical(categories=[0, 2**31 - 1]), TREE),
        "category-missing": (_categorical(categories_nodes=[], categories_segments=[], categories_sizes=[]), TREE),
        "index-no-integer": (_in_tree("left_children", [1.5, -1.0, -1.0]), BROKEN),
        "index-no-number": (_in_tree("left_children", ["1", "-1", "-1"]), BROKEN),
        "trees-uncounted": (two, TREE),
        "tree-for-other-output": (
            _changed(lambda d: d["learner"]["gradient_booster"]["model"].update(tree_info=[5])), TREE,
        ),
        "iterations-outside": (
            _changed(lambda d: d["learner"]["gradient_booster"]["model"].update(iteration_indptr=[0, 9])), TREE,
        ),
        "dart-weights": (
            _changed(lambda d: d["learner"].update(gradient_booster={
                "name": "dart", "gbtree": d["learner"]["gradient_booster"], "weight_drop": [1.0] * 5})), TREE,
        ),
        "linear-weights": (
            _in_learner("gradient_booster", {"name": "gblinear", "model": {"boosted_rounds": 1, "weights": [0.1, 0.2]}}), TREE,
        ),
        "unknown-booster": (_in_learner("gradient_booster", {"name": "plugin", "model": {}}), BROKEN),
        "unknown-objective": (_in_learner("objective", {"name": "plugin:evil"}), OBJECTIVE),
        "objective-deep": (_in_learner("objective", {"name": "binary:logistic", "x": {"y": deep}}), BROKEN),
        "unknown-key": (_in_learner("__reduce__", "os.system"), BROKEN),
        "unknown-top-key": (_changed(lambda d: d.update(Config={})), BROKEN),
        "features-huge": (_changed(lambda d: d["learner"]["learner_model_param"].update(num_feature="99999999999")), BROKEN),
        "names-too-few": (_in_learner("feature_names", ["a"]), BROKEN),
        "base-score-text": (_changed(lambda d: d["learner"]["learner_model_param"].update(base_score="x" * 99)), BROKEN),
        "attribute-no-text": (_in_learner("attributes", {"a": [1]}), BROKEN),
    }  # fmt: skip


def evil_ubjson() -> dict[str, tuple[bytes, str]]:
    """Bytes that no XGBoost writes."""
    good = ubjson(xgboost_document())
    head = b"{L" + struct.pack(">q", 7) + b"learner"
    return {
        "cut-off": (good[:-9], BROKEN),
        "trailing-bytes": (good + b"N.", BROKEN),
        "length-huge": (head + b"S" + b"L" + struct.pack(">q", 2**62), BROKEN),
        "length-negative": (head + b"S" + b"L" + struct.pack(">q", -1), BROKEN),
        "array-huge": (head + b"[$d#L" + struct.pack(">q", 2**61), BROKEN),
        "array-of-unknown": (head + b"[$H#L" + struct.pack(">q", 1) + b"1", BROKEN),
        "key-twice": (head + b"Z" + head[1:] + b"Z}", BROKEN),
        "nested-deeply": (head + b"[" * 5000, BROKEN),
        "not-utf8": (head + b"SL" + struct.pack(">q", 2) + b"\xff\xfe}", BROKEN),
        "high-precision": (head + b"HL" + struct.pack(">q", 1) + b"1}", BROKEN),
        "old-binary": (b"binf" + bytes(100), "booster-legacy-format"),
    }


def evil_lightgbm() -> dict[str, tuple[bytes, str]]:
    def tree(old: str, new: str) -> bytes:
        assert old in LIGHTGBM_TREE
        return lightgbm_text(LIGHTGBM_TREE.replace(old, new))

    def head(old: str, new: str) -> bytes:
        assert old in _LIGHTGBM_HEAD
        return lightgbm_text(head=_LIGHTGBM_HEAD.replace(old, new))

    def tail(old: str, new: str) -> bytes:
        assert old in _LIGHTGBM_TAIL
        return lightgbm_text(tail=_LIGHTGBM_TAIL.replace(old, new))

    return {
        "child-outside": (tree("right_child=1 -3", "right_child=1 -30"), TREE),
        "child-split-outside": (tree("right_child=1 -3", "right_child=99 -3"), TREE),
        "child-shared": (tree("left_child=-1 -2", "left_child=-1 -1"), TREE),
        "circle": (tree("left_child=-1 -2\nright_child=1 -3", "left_child=-1 -2\nright_child=-3 0"), TREE),
        "itself": (tree("left_child=-1 -2\nright_child=1 -3", "left_child=-1 1\nright_child=-2 -3"), TREE),
        "feature-outside": (tree("split_feature=2 0", "split_feature=2 4"), TREE),
        "feature-negative": (tree("split_feature=2 0", "split_feature=2 -1"), TREE),
        "feature-no-integer": (tree("split_feature=2 0", "split_feature=2 0.5"), BROKEN),
        "leaves-huge": (tree("num_leaves=3", "num_leaves=9999999"), TREE),
        "leaves-none": (tree("num_leaves=3", "num_leaves=0"), BROKEN),
        "leaves-negative": (tree("num_leaves=3", "num_leaves=-3"), BROKEN),
        "leaves-too-few-values": (tree("leaf_value=-0.4 -0.6 -0.7", "leaf_value=-0.4"), TREE),
        "threshold-missing": (tree("threshold=87.2 15.0\n", ""), TREE),
        "decision-unknown": (tree("decision_type=2 2", "decision_type=2 99"), TREE),
        "category-unlisted": (tree("decision_type=2 2", "decision_type=2 1"), TREE),
        "category-outside": (
            tree("num_cat=0", "num_cat=1\ncat_boundaries=0 900\ncat_threshold=1"), TREE,
        ),
        "category-negative": (
            tree("num_cat=0", "num_cat=2\ncat_boundaries=0 5 1\ncat_threshold=1"), TREE,
        ),
        "linear-without-constants": (tree("is_linear=0", "is_linear=1"), TREE),
        "linear-feature-outside": (
            tree("is_linear=0", "is_linear=1\nleaf_const=1 1 1\nnum_features=1 0 0\nleaf_features=9\nleaf_coeff=1"), TREE,
        ),
        "linear-too-few": (
            tree("is_linear=0", "is_linear=1\nleaf_const=1 1 1\nnum_features=5 0 0\nleaf_features=1\nleaf_coeff=1"), TREE,
        ),
        "key-unknown": (tree("is_linear=0", "is_linear=0\nplugin=x.so"), BROKEN),
        "key-twice": (tree("num_leaves=3", "num_leaves=3\nnum_leaves=9"), BROKEN),
        "number-no-number": (tree("shrinkage=1", "shrinkage=$(touch x)"), BROKEN),
        "sizes-too-short": (lightgbm_text(size=50), TREE),
        "sizes-too-long": (lightgbm_text(size=len(LIGHTGBM_TREE) + 40), TREE),
        "sizes-outside": (lightgbm_text(size=2_000_000_000), BROKEN),
        "sizes-no-number": (head("tree_sizes={size}", "tree_sizes=-1"), BROKEN),
        "features-huge": (head("max_feature_idx=3", "max_feature_idx=99999999999"), BROKEN),
        "names-too-few": (head("feature_names=a b c d", "feature_names=a"), BROKEN),
        "classes-without-trees": (head("num_class=1", "num_class=0"), TREE),
        "classes-other": (head("num_tree_per_iteration=1", "num_tree_per_iteration=5"), TREE),
        "objective-unknown": (head("objective=binary sigmoid:1", "objective=plugin"), OBJECTIVE),
        "objective-parameter": (head("sigmoid:1", "file:/etc/passwd"), BROKEN),
        "version-unknown": (head("version=v4", "version=v9"), BROKEN),
        "header-key": (head("label_index=0", "label_index=0\nparser_config_str=evil"), BROKEN),
        "tail-unknown": (tail("pandas_categorical:null", "parser:\nevil\nend of parser"), BROKEN),
        "tail-parameter": (tail("[data: ]", "rm -rf /"), BROKEN),
        "tail-categories-deep": (tail("null", "[" * 300), BROKEN),
        "tail-pickle": (tail("null\n", "null\ncos\nsystem\n(Vtrue\ntR."), BROKEN),
        "line-ends": (lightgbm_text().replace(b"num_cat=0\n", b"num_cat=0\r\n"), BROKEN),
        "zero-byte": (lightgbm_text().replace(b"feature_names=a", b"feature_names=\0a"), "format-unknown"),
        "not-utf8": (lightgbm_text(head=_LIGHTGBM_HEAD + "\n" * 70000).replace(b"[boosting: gbdt]", b"[boosting: \xff]"), BROKEN),
    }  # fmt: skip


def all_boosters() -> dict[str, tuple[dict[str, bytes], str]]:
    """Every hostile case: files by path, and the finding that a scan must make."""
    cases: dict[str, tuple[dict[str, bytes], str]] = {}
    for name, (document, finding) in evil_xgboost().items():
        cases[f"xgboost-json-{name}"] = ({"model.json": json.dumps(document).encode()}, finding)
        if "deep" not in name:
            cases[f"xgboost-ubj-{name}"] = ({"model.ubj": ubjson(document)}, finding)
    cases |= {f"ubjson-{name}": ({"model.ubj": data}, finding) for name, (data, finding) in evil_ubjson().items()}
    return cases | {
        f"lightgbm-{name}": ({"model.txt": data}, finding) for name, (data, finding) in evil_lightgbm().items()
    }


def honest_boosters() -> dict[str, tuple[dict[str, bytes], str]]:
    """Must be clean."""
    document = xgboost_document()
    return {
        "xgboost-json": ({"model.json": json.dumps(document).encode()}, "xgboost"),
        "xgboost-indented": ({"model.json": json.dumps(document, indent=2).encode()}, "xgboost"),
        "xgboost-ubj": ({"model.ubj": ubjson(document)}, "xgboost"),
        "xgboost-categories": ({"model.ubj": ubjson(_categorical())}, "xgboost"),
        "lightgbm": ({"model.txt": lightgbm_text(), "README.md": b"# Trees\n"}, "lightgbm"),
    }
