"""skops: a ZIP of one schema.json, a tree of nodes that says what to build, and the arrays that it names.

Source: skops.readthedocs.io, "Secure persistence"; skops/io/_general.py for the nodes.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from typing import Any

from casemate.scanning.allowlist import SKOPS_LOADERS, SKOPS_TYPES
from casemate.scanning.notes import Notes, RefusedError
from casemate.scanning.numpy_files import inspect_npy
from casemate.scanning.rules import SKOPS_MALFORMED, SKOPS_TYPE
from casemate.scanning.strict_json import parse_json
from casemate.scanning.zip_files import Member

SCHEMA_NAME = "schema.json"
_MOST_SCHEMA = 256 << 20  # bytes


def inspect_skops(members: Mapping[str, Member], notes: Notes, location: str) -> dict[str, Any]:
    """Facts about the estimator. Raises: RefusedError when the file is broken."""
    member = members[SCHEMA_NAME]
    if member.size > _MOST_SCHEMA:
        raise RefusedError(SKOPS_MALFORMED, f"its schema has {member.size} bytes")
    try:
        schema = parse_json(member.unpack(notes))
    except ValueError as error:
        raise RefusedError(SKOPS_MALFORMED, f"its schema: {error}") from None
    if type(schema) is not dict or "protocol" not in schema or not _is_node(schema):
        raise RefusedError(SKOPS_MALFORMED, "its schema is no tree of nodes")
    wanted = set()
    for node in _nodes(schema, notes):
        wanted |= _check_node(node, notes, location)
    if wanted != members.keys() - {SCHEMA_NAME}:
        odd = min(wanted ^ (members.keys() - {SCHEMA_NAME}))
        raise RefusedError(SKOPS_MALFORMED, f"{odd}: named and missing, or there and not named")
    for name in sorted(wanted):
        if not name.endswith(".npy"):
            raise RefusedError(SKOPS_MALFORMED, f"{name} is no plain array")
        inspect_npy(members[name].unpack(notes), notes, f"{location}!{name}")
    return {
        "estimator": f"{schema['__module__']}.{schema['__class__']}"[:200],
        "skops_version": str(schema.get("_skops_version", ""))[:40],
    }


def _is_node(value: dict[str, Any]) -> bool:
    return type(value.get("__class__")) is str and type(value.get("__module__")) is str


def _nodes(root: dict[str, Any], notes: Notes) -> Iterator[dict[str, Any]]:
    """All dictionaries of the tree, data or node."""
    waiting: list[Any] = [root]
    while waiting:
        value = waiting.pop()
        notes.work()
        if type(value) is dict:
            yield value
            waiting += value.values()
        elif type(value) is list:
            waiting += value


def _check_node(node: dict[str, Any], notes: Notes, location: str) -> set[str]:
    """The archive members that it names. Raises: RefusedError."""
    marked = node.keys() & {"__class__", "__module__", "__loader__"}
    if not marked or all(type(node[key]) is dict for key in marked):
        return set()  # data: the content of a dictionary
    loader = node.get("__loader__", "")
    if not _is_node(node) or type(loader) is not str:
        raise RefusedError(SKOPS_MALFORMED, "a node without a type")
    module, name = node["__module__"], node["__class__"]
    if (module, name) not in SKOPS_TYPES or loader not in SKOPS_LOADERS:
        notes.add(SKOPS_TYPE, f"{module}.{name} by {loader or 'no loader'}", location)
    if "file" not in node or type(node["file"]) is dict:
        return set()
    if type(node["file"]) is not str:
        raise RefusedError(SKOPS_MALFORMED, "a node names no file")
    return {node["file"]}
