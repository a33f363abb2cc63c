"""XGBoost's JSON and UBJSON model files: nothing but the library's own keys, and trees whose every index is in bounds.

Source: xgboost.readthedocs.io, "Introduction to Model IO" and its JSON schema; src/tree/io_utils.h.
"""

from __future__ import annotations

import re
from typing import Any

import numpy as np

from casemate.scanning.allowlist import XGBOOST_OBJECTIVES
from casemate.scanning.format_rules import BOOSTER_MALFORMED, BOOSTER_OBJECTIVE, BOOSTER_TREE
from casemate.scanning.notes import Notes, RefusedError
from casemate.scanning.strict_json import parse_json
from casemate.scanning.ubjson import parse_ubjson

MOST_FEATURES = 1 << 22
_MOST_JSON = 256 << 20  # bytes of a model in JSON; larger ones are UBJSON
_MOST_CATEGORY = 1 << 24  # the library's own bound
_LEARNER = {
    "attributes", "feature_names", "feature_types", "gradient_booster", "learner_model_param", "objective",
}  # fmt: skip
_MODEL = {"cats", "gbtree_model_param", "iteration_indptr", "tree_info", "trees"}
_PER_NODE = (
    "default_left", "left_children", "right_children", "loss_changes", "parents", "split_conditions", "split_indices",
    "split_type", "sum_hessian",
)  # fmt: skip
_CATEGORIES = ("categories", "categories_nodes", "categories_segments", "categories_sizes")
_TREE = {*_PER_NODE, *_CATEGORIES, "base_weights", "leaf_weights", "id", "tree_param"}
_BASE_SCORE = re.compile(r"\[?[-+0-9.Ee]{1,30}(,[-+0-9.Ee]{1,30})*\]?")
_NO_PARENT = (-1, 0x7FFFFFFF)


def inspect_xgboost(data: memoryview, notes: Notes, _location: str) -> dict[str, Any]:
    """Facts about the model. Raises: RefusedError."""
    document = _parsed(data, notes)
    learner = _keys(document, {"learner", "version"}, "the file")["learner"]
    _keys(learner, _LEARNER, "learner", {"learner_model_param", "gradient_booster", "objective"})
    parameters = _texts(learner["learner_model_param"], "learner_model_param")
    features = _number(parameters, "num_feature", MOST_FEATURES)
    classes, targets = _number(parameters, "num_class", 1 << 20, 0), _number(parameters, "num_target", 1 << 20, 1)
    if not _BASE_SCORE.fullmatch(parameters.get("base_score", "0")):
        raise _broken("base_score is no number")
    _texts(learner.get("attributes", {}), "attributes")
    for key in ("feature_names", "feature_types"):
        names = learner.get(key, [])
        if len(names) not in (0, features) or not all(type(name) is str for name in names):
            raise _broken(f"{key} is not one text for each of {features} features")
    objective = _check_objective(learner["objective"], notes)
    booster, trees = _check_booster(learner["gradient_booster"], notes, features, classes, targets)
    return {"booster": booster, "objective": objective, "features": features, "trees": trees}


def _parsed(data: memoryview, notes: Notes) -> Any:
    try:
        if bytes(data[1:2]) == b"L":
            return parse_ubjson(data, notes)
        if len(data) > _MOST_JSON:
            raise _broken(f"{len(data)} bytes of JSON; at most {_MOST_JSON}: save it as model.ubj")
        return parse_json(data)
    except ValueError as error:
        raise _broken(str(error)) from None


def _check_objective(objective: Any, notes: Notes) -> str:
    """Its name. Raises: RefusedError: it is no objective of the library."""
    if type(objective) is not dict or type(objective.get("name")) is not str:
        raise _broken("its objective has no name")
    name: str = objective["name"]
    if name not in XGBOOST_OBJECTIVES:
        raise RefusedError(BOOSTER_OBJECTIVE, name)
    for key, value in objective.items():
        if key == "name":
            continue
        notes.work(len(value) if type(value) in (dict, list) else 1)
        plain = value.values() if type(value) is dict else value if type(value) is list else ()
        if not isinstance(value, np.ndarray) and (
            type(value) not in (dict, list) or any(type(v) not in (str, int, float) for v in plain)
        ):
            raise _broken(f"{key[:60]} of the objective is neither numbers nor text")
    return name


def _check_booster(booster: Any, notes: Notes, features: int, classes: int, targets: int) -> tuple[str, int]:
    """(its name, how many trees). Raises: RefusedError."""
    name = booster.get("name") if type(booster) is dict else None
    if name == "gblinear":
        model = _keys(_keys(booster, {"name", "model"}, name)["model"], {"boosted_rounds", "weights"}, name)
        weights = _array(model["weights"], "weights")
        if len(weights) != (features + 1) * max(classes, targets, 1):
            raise _tree(f"{len(weights)} weights for {features} features")
        return name, 0
    drops = None
    if name == "dart":
        drops = _array(_keys(booster, {"name", "gbtree", "weight_drop"}, name)["weight_drop"], "weight_drop")
        booster = booster["gbtree"]
    if type(booster) is not dict or booster.get("name") != "gbtree":
        raise _broken("its booster is none of gbtree, dart and gblinear")
    model = _keys(
        _keys(booster, {"name", "model"}, "gbtree")["model"], _MODEL, "gbtree", _MODEL - {"cats", "iteration_indptr"}
    )
    cats = model.get("cats", {})
    if type(cats) is not dict or any(len(value) for value in cats.values() if hasattr(value, "__len__")):
        raise _broken(
            "it keeps the categories of a data frame, which plain rows cannot name: train on category numbers"
        )
    trees = _check_forest(model, max(classes, targets, 1))
    if drops is not None and len(drops) != len(trees):
        raise _tree(f"{len(drops)} weights of {len(trees)} trees")
    for place, tree in enumerate(trees):
        _check_tree(tree, f"tree {place}", notes, features, targets)
    return str(name), len(trees)


def _check_forest(model: dict[str, Any], groups: int) -> list[Any]:
    """Its trees, counted. Raises: RefusedError."""
    trees = model["trees"]
    parameters = _texts(model["gbtree_model_param"], "gbtree_model_param")
    info = _integers(model["tree_info"], "tree_info")
    if type(trees) is not list or not len(trees) == len(info) == _number(parameters, "num_trees", 1 << 24, 0):
        raise _tree("num_trees, trees and tree_info disagree")
    if len(info) and not (info.min() >= 0 and info.max() < groups):
        raise _tree(f"a tree for another than the {groups} outputs")
    for place, tree in enumerate(trees):  # the library keeps a tree at the place that it names, and leaves others empty
        named = tree.get("id", place) if type(tree) is dict else place
        if type(named) is not int or named != place:
            raise _tree(f"tree {place} calls itself another")
    ends = _integers(model.get("iteration_indptr", [0, len(trees)]), "iteration_indptr")
    if not len(ends) or ends[0] != 0 or ends[-1] != len(trees) or (np.diff(ends) < 0).any():
        raise _tree("iteration_indptr does not cover the trees")
    _number(parameters, "num_parallel_tree", 1 << 20, 0)
    return trees


def _check_tree(tree: Any, where: str, notes: Notes, features: int, targets: int) -> None:
    """Raises: RefusedError: an index that leads out of the tree, or a node that two others share."""
    _keys(tree, _TREE, where, {*_PER_NODE, "tree_param"})
    parameters = _texts(tree["tree_param"], where)
    nodes = _number(parameters, "num_nodes", 1 << 30)
    width = _number(parameters, "size_leaf_vector", 1 << 20, 1)
    if _number(parameters, "num_feature", MOST_FEATURES) != features or width not in (0, 1, targets):
        raise _tree(f"{where} is for other features or outputs than the model")
    arrays = {key: _array(tree[key], f"{where}: {key}") for key in _PER_NODE}
    if not nodes or any(len(array) != nodes for array in arrays.values()):
        raise _tree(f"{where}: its arrays are not of {nodes} nodes each")
    notes.work(1 + nodes // 16)
    inner = _check_links(tree, where, nodes, width, _number(parameters, "num_deleted", 1 << 30, 0))
    splits = _integers(tree["split_indices"], where)
    if inner.any() and not (splits[inner].min() >= 0 and splits[inner].max() < features):
        raise _tree(f"{where}: splits on a feature beyond the {features} that there are")
    leaves = int((~inner).sum())
    for key, least in (("base_weights", nodes), ("leaf_weights", leaves)):
        if key in tree and len(_array(tree[key], where)) not in (0, least, least * width):
            raise _tree(f"{where}: {key} is not of {least} nodes")
    if width > 1 and len(tree.get("leaf_weights", tree.get("base_weights", ()))) < leaves * width:
        raise _tree(f"{where}: too few weights for its leaves")
    _check_categories(tree, where, inner)


def _check_links(tree: dict[str, Any], where: str, nodes: int, width: int, deleted: int) -> Any:
    """Which nodes split, once they are known to be one tree. Raises: RefusedError."""
    left, right = (_integers(tree[key], where) for key in ("left_children", "right_children"))
    parents = _integers(tree["parents"], where)
    inner = left != -1
    leaves = int((~inner).sum())
    children = np.concatenate([left[inner], right[inner]])
    if ((children <= 0) | (children >= nodes)).any() or len(np.unique(children)) != len(children):
        raise _tree(f"{where}: a child is outside it, its root, or shared")
    if (parents[children] != np.concatenate([np.flatnonzero(inner)] * 2)).any() or int(parents[0]) not in _NO_PARENT:
        raise _tree(f"{where}: parents and children disagree")
    # With one parent each and the root without, a circle could only lie apart from the root, and is not reached.
    if nodes - 1 - len(children) != deleted or _reached(left, right) != len(children) + 1:
        raise _tree(f"{where}: nodes that its root does not reach")
    outside = right[~inner] if width > 1 else np.zeros(0, np.int64)
    if len(outside) and not (outside.min() >= 0 and outside.max() < leaves):
        raise _tree(f"{where}: a leaf's values are outside it")
    return inner


def _reached(left: Any, right: Any) -> int:
    """Nodes that the root leads to; each is known to have one parent at most."""
    count, level = 0, np.zeros(1, np.int64)
    while len(level) and count <= len(left):
        count += len(level)
        level = level[left[level] != -1]
        level = np.concatenate([left[level], right[level]])
    return count


def _check_categories(tree: dict[str, Any], where: str, inner: Any) -> None:
    categories, nodes, starts, sizes = (_integers(tree.get(key, []), where) for key in _CATEGORIES)
    kinds = _integers(tree["split_type"], where)
    if not set(np.unique(kinds).tolist()) <= {0, 1}:
        raise _tree(f"{where}: a split of no known type")
    if not len(nodes) == len(starts) == len(sizes):
        raise _tree(f"{where}: its categories disagree")
    if not np.array_equal(nodes, np.flatnonzero((kinds == 1) & inner)):
        raise _tree(f"{where}: categories of other nodes than those that split by them")
    if len(categories) and not (categories.min() >= 0 and categories.max() < _MOST_CATEGORY):
        raise _tree(f"{where}: a category beyond {_MOST_CATEGORY}")
    if (
        len(nodes)
        and ((starts < 0) | (sizes < 0) | (sizes > len(categories)) | (starts > len(categories) - sizes)).any()
    ):
        raise _tree(f"{where}: categories outside their list")


def _keys(value: Any, known: set[str], where: str, needed: set[str] | None = None) -> dict[str, Any]:
    if (
        type(value) is not dict
        or not value.keys() <= known
        or not (known if needed is None else needed) <= value.keys()
    ):
        odd = sorted(value.keys() ^ known)[:3] if type(value) is dict else "no object"
        raise _broken(f"{where}: missing or unknown: {odd}")
    return value


def _texts(value: Any, where: str) -> dict[str, str]:
    if type(value) is not dict or not all(type(text) is str for text in value.values()):
        raise _broken(f"{where} is not text by text")
    return value


def _number(texts: dict[str, str], key: str, most: int, default: int | None = None) -> int:
    text = texts.get(key, "" if default is None else str(default))
    if not (text.isascii() and text.isdigit() and len(text) < 12 and int(text) <= most):
        raise _broken(f"{key} is no number up to {most}")
    return int(text)


def _array(value: Any, where: str) -> Any:
    """Numbers as an array. Raises: RefusedError."""
    if isinstance(value, np.ndarray):
        return value
    if type(value) is not list or any(type(item) not in (int, float, bool) for item in value):
        raise _broken(f"{where} is no list of numbers")
    try:
        return np.asarray(value)
    except (OverflowError, ValueError):
        raise _broken(f"{where} holds a number that is none") from None


def _integers(value: Any, where: str) -> Any:
    array = _array(value, where)
    if not len(array):
        return np.zeros(0, np.int64)
    if array.dtype.kind not in "iub":
        raise _broken(f"{where} holds a number that is no integer")
    return array.astype(np.int64)


def _broken(evidence: str) -> RefusedError:
    return RefusedError(BOOSTER_MALFORMED, evidence)


def _tree(evidence: str) -> RefusedError:
    return RefusedError(BOOSTER_TREE, evidence)
