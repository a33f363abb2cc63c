"""LightGBM's text model: known keys only, sizes that cover the trees exactly, and trees whose every index is in bounds.

Source: LightGBM 4, src/io/tree.cpp `Tree::Tree(const char*, size_t*)`, src/boosting/gbdt_model_text.cpp. Its reader
trusts all of these numbers.
"""

from __future__ import annotations

import re
from typing import Any

import numpy as np

from casemate.scanning.allowlist import LIGHTGBM_OBJECTIVES
from casemate.scanning.format_rules import BOOSTER_MALFORMED, BOOSTER_OBJECTIVE, BOOSTER_TREE
from casemate.scanning.notes import Notes, RefusedError
from casemate.scanning.strict_json import parse_json
from casemate.scanning.xgboost_models import MOST_FEATURES

_MOST_BYTES = 256 << 20
_HEADER = {
    "version", "num_class", "num_tree_per_iteration", "label_index", "max_feature_idx", "objective", "average_output",
    "feature_names", "monotone_constraints", "feature_infos", "tree_sizes",
}  # fmt: skip
_NEEDED = {"version", "num_class", "num_tree_per_iteration", "max_feature_idx", "feature_names", "tree_sizes"}
_PER_SPLIT = (
    "split_feature", "split_gain", "threshold", "decision_type", "left_child", "right_child", "internal_value",
    "internal_weight", "internal_count",
)  # fmt: skip
_PER_LEAF = ("leaf_value", "leaf_weight", "leaf_count", "leaf_const", "num_features")
_OTHER = (
    "num_leaves",
    "num_cat",
    "cat_boundaries",
    "cat_threshold",
    "leaf_features",
    "leaf_coeff",
    "is_linear",
    "shrinkage",
)
_TREE = {*_PER_SPLIT, *_PER_LEAF, *_OTHER}
_NUMBERS = re.compile(r"[-+0-9.eEinfa ]*")  # `inf` and `nan` among them
_PARAMETER = re.compile(r"\[[a-z0-9_]{1,60}: [^\n]*\]")
_TAIL = re.compile(
    r"end of trees\n\nfeature_importances:\n(?P<importances>(?:[^\n]+=[0-9.e+-]+\n)*)\n"
    r"(?:parameters:\n(?P<parameters>(?:\[[^\n]*\]\n)*)\nend of parameters\n)?"
    r"(?:\npandas_categorical:(?P<categories>[^\n]*)\n?)?\n?"
)


def inspect_lightgbm(data: memoryview, notes: Notes, _location: str) -> dict[str, Any]:
    """Facts about the model. Raises: RefusedError."""
    if len(data) > _MOST_BYTES:
        raise _broken(f"{len(data)} bytes; at most {_MOST_BYTES} are looked into")
    try:
        text = str(data, "utf-8")
    except UnicodeDecodeError as error:
        raise _broken(f"not UTF-8 at byte {error.start}") from None
    if any(char in text for char in "\0\r\x0b\x0c\x85\u2028\u2029"):
        raise _broken("line ends or zero bytes that a reader may take for another line")
    head, start = _head(text)
    features = _integer(head, "max_feature_idx", MOST_FEATURES) + 1
    classes, each = _integer(head, "num_class", 1 << 20), _integer(head, "num_tree_per_iteration", 1 << 20)
    if len(head["feature_names"].split(" ")) != features:
        raise _broken(f"feature_names are not {features}")
    objective = _checked_objective(head.get("objective", ""), classes)
    sizes = _sizes(head["tree_sizes"])
    if not classes or not each or each not in (1, classes) or len(sizes) % each:
        raise _tree(f"{len(sizes)} trees, {each} at a time, for {classes} classes")
    raw = text.encode() if not text.isascii() else None
    at = start if raw is None else len(text[:start].encode())
    for place, size in enumerate(sizes):
        piece = text[at : at + size] if raw is None else str(raw[at : at + size], "utf-8", "replace")
        notes.work(1 + len(piece) // 64)
        _check_tree(piece, place, features)
        at += size
    rest = text[at:] if raw is None else str(raw[at:], "utf-8", "replace")
    _check_tail(rest, features)
    return {"objective": objective, "features": features, "trees": len(sizes)}


def _head(text: str) -> tuple[dict[str, str], int]:
    """(keys of the header, where the first tree starts). Raises: RefusedError."""
    end = text.find("\n\n")
    if not text.startswith("tree\nversion=v") or end < 0:
        raise _broken("no header")
    start = end + 2
    while text[start : start + 1] == "\n":
        start += 1
    pairs = _pairs(text[5:end].split("\n"), _HEADER, "the header", flags={"average_output"})
    if not pairs.keys() >= _NEEDED or pairs["version"] not in ("v3", "v4"):
        raise _broken("its header lacks a key, or is of another version than v3 and v4")
    return pairs, start


def _checked_objective(text: str, classes: int) -> str:
    """Its name, empty where the model has none. Raises: RefusedError."""
    name, *parameters = text.split(" ")
    if text and name not in LIGHTGBM_OBJECTIVES:
        raise RefusedError(BOOSTER_OBJECTIVE, name)
    for parameter in parameters:
        key, _, value = parameter.partition(":")
        if not re.fullmatch(r"[a-z_]{1,30}", key) or not re.fullmatch(r"[-0-9.e+]{0,30}", value):
            raise _broken(f"a parameter of the objective: {parameter[:60]}")
        if key == "num_class" and value != str(classes):
            raise _tree(f"an objective for {value} classes in a model for {classes}")
    return name


def _sizes(text: str) -> list[int]:
    if text and not re.fullmatch(r"[0-9]{1,10}( [0-9]{1,10})*", text):
        raise _broken("tree_sizes are no numbers")
    return [int(size) for size in text.split()]


def _check_tree(piece: str, place: int, features: int) -> None:
    where = f"tree {place}"
    first, _, body = piece.partition("\n")
    if first != f"Tree={place}" or not body.endswith("\n"):
        raise _tree(f"{where} is not where tree_sizes say")
    pairs = _pairs(body.rstrip("\n").split("\n"), _TREE, where)
    leaves, categories = _integer(pairs, "num_leaves", 1 << 24), _integer(pairs, "num_cat", 1 << 24, 0)
    numbers = {key: _array(pairs[key], f"{where}: {key}") for key in pairs if key not in ("num_leaves", "num_cat")}
    if not leaves or pairs.get("is_linear", "0") not in ("0", "1") or len(numbers.get("shrinkage", [1])) != 1:
        raise _broken(f"{where}: its leaves, is_linear or shrinkage")
    for keys, wanted, optional in ((_PER_SPLIT, leaves - 1, 0), (_PER_LEAF, leaves, 1)):
        for key in keys:
            size = len(numbers.get(key, ()))
            if size != wanted and not (size == 0 and (key not in numbers or (optional and leaves == 1))):
                raise _tree(f"{where}: {key} has {size} numbers for {leaves} leaves")
    needed = {"leaf_value", *(("split_feature", "threshold", "left_child", "right_child") if leaves > 1 else ())}
    if any(not len(numbers.get(key, ())) for key in needed):
        raise _tree(f"{where}: its splits or leaves are missing")
    if leaves > 1:
        _check_splits(numbers, where, leaves, categories, features)
    if pairs.get("is_linear", "0") == "1":
        _check_linear(numbers, where, leaves, features)


def _check_splits(numbers: dict[str, Any], where: str, leaves: int, categories: int, features: int) -> None:
    splits = _integers(numbers["split_feature"], where)
    if splits.min() < 0 or splits.max() >= features:
        raise _tree(f"{where}: splits on a feature beyond the {features} that there are")
    children = np.concatenate([_integers(numbers[key], where) for key in ("left_child", "right_child")])
    # Every split but the root, and every leaf (as ~leaf), is the child of one; a split's child comes after it.
    expected = np.concatenate([np.arange(1, leaves - 1), ~np.arange(leaves)])
    if not np.array_equal(np.sort(children), np.sort(expected)):
        raise _tree(f"{where}: a child is outside it, missing, or shared")
    own = np.tile(np.arange(leaves - 1), 2)
    if (children[children >= 0] <= own[children >= 0]).any():
        raise _tree(f"{where}: a split that leads back")
    kinds = _integers(numbers.get("decision_type", np.zeros(leaves - 1)), where)
    if kinds.min() < 0 or kinds.max() > 15:
        raise _tree(f"{where}: a decision of no known type")
    bounds = _integers(numbers.get("cat_boundaries", np.zeros(0)), where)
    sets = len(numbers.get("cat_threshold", ()))
    if categories and (len(bounds) != categories + 1 or bounds[0] or bounds[-1] != sets or (np.diff(bounds) < 0).any()):
        raise _tree(f"{where}: its categories are outside their list")
    chosen = numbers["threshold"][kinds % 2 == 1]
    if len(chosen) and not (categories and (_integers(chosen, where) >= 0).all() and chosen.max() < categories):
        raise _tree(f"{where}: a split by a category that is not listed")


def _check_linear(numbers: dict[str, Any], where: str, leaves: int, features: int) -> None:
    counts = _integers(numbers.get("num_features", np.zeros(0)), where)
    used = _integers(numbers.get("leaf_features", np.zeros(0)), where)
    if len(counts) != leaves or len(numbers.get("leaf_const", ())) != leaves or (counts < 0).any():
        raise _tree(f"{where}: a linear tree without its constants")
    if not len(used) == int(counts.sum()) == len(numbers.get("leaf_coeff", ())):
        raise _tree(f"{where}: other coefficients than it counts")
    if len(used) and not (used.min() >= 0 and used.max() < features):
        raise _tree(f"{where}: a leaf on a feature beyond the {features} that there are")


def _check_tail(rest: str, features: int) -> None:
    """What stands behind the trees: importances, parameters, pandas' categories. Raises: RefusedError."""
    match = _TAIL.fullmatch(rest)
    if match is None:
        raise _broken("something other than importances and parameters stands behind the trees")
    if match["importances"].count("\n") > features:
        raise _broken("more importances than features")
    for line in (match["parameters"] or "").splitlines():
        if not _PARAMETER.fullmatch(line):
            raise _broken(f"a parameter: {line[:60]}")
    try:
        categories = parse_json((match["categories"] or "null").encode())
    except ValueError as error:
        raise _broken(f"pandas_categorical: {error}") from None
    plain = type(categories) is list and all(type(one) is list for one in categories)
    if categories is not None and (not plain or any(categories)):
        raise _broken(
            "it keeps the categories of a data frame, which plain rows cannot name: train on category numbers"
        )


def _pairs(
    lines: list[str], known: set[str], where: str, flags: frozenset[str] | set[str] = frozenset()
) -> dict[str, str]:
    found: dict[str, str] = {}
    for line in lines:
        key, sign, value = line.partition("=")
        if key not in known or key in found or (not sign and key not in flags):
            raise _broken(f"{where}: {key[:60]!r} is unknown, stands twice, or has no value")
        found[key] = value
    return found


def _integer(pairs: dict[str, str], key: str, most: int, default: int | None = None) -> int:
    text = pairs.get(key, "" if default is None else str(default))
    if not (text.isascii() and text.isdigit() and len(text) < 12 and int(text) <= most):
        raise _broken(f"{key} is no number up to {most}")
    return int(text)


def _array(text: str, where: str) -> Any:
    if not _NUMBERS.fullmatch(text):
        raise _broken(f"{where} holds what is no number")
    try:
        return np.array(text.split(), dtype=np.float64)
    except ValueError:
        raise _broken(f"{where} holds what is no number") from None


def _integers(array: Any, where: str) -> Any:
    if len(array) and not (
        np.isfinite(array).all() and (array == np.floor(array)).all() and (abs(array) < 1 << 31).all()
    ):
        raise _broken(f"{where}: an index that is no integer")
    return array.astype(np.int64)


def _broken(evidence: str) -> RefusedError:
    return RefusedError(BOOSTER_MALFORMED, evidence)


def _tree(evidence: str) -> RefusedError:
    return RefusedError(BOOSTER_TREE, evidence)
