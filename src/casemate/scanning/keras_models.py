"""Keras: a tree of objects to build, from config.json of a .keras archive or the text inside an HDF5 file.

Only Keras' own objects, by the names under which Keras writes them (the list is made by make_framework_allowlist.py). Source:
keras.io, "Serialization and saving"; CVE-2024-3660, CVE-2025-1550, CVE-2025-8747, CVE-2025-9905, CVE-2025-9906, CVE-2025-12058.
"""

from __future__ import annotations

import json
import re
from collections.abc import Iterator
from typing import Any

from casemate.scanning.allowlist import KERAS_OBJECTS
from casemate.scanning.format_rules import HDF5_MALFORMED, KERAS_CODE, KERAS_MALFORMED, KERAS_OBJECT
from casemate.scanning.notes import Notes, RefusedError
from casemate.scanning.rules import FORMAT_UNSUPPORTED
from casemate.scanning.strict_json import parse_json
from casemate.scanning.zip_files import Member

# What Keras writes for values that are no objects of its own.
_VALUES = frozenset(
    {
        "__keras_tensor__",
        "__tensor__",
        "__numpy__",
        "__tuple__",
        "__ellipsis__",
        "__slice__",
        "__bytes__",
        "__complex__",
    }
)
_NAMES = frozenset(name for _, name in KERAS_OBJECTS) | _VALUES
_CODE = frozenset({"Lambda", "__lambda__", "TFSMLayer", "JaxLayer", "FlaxLayer", "TorchModuleWrapper"})
_PARTS = frozenset({"config.json", "metadata.json", "model.weights.h5"})
_FILES = ("vocabulary", "filepath", "file_path", "fname", "origin", "url")  # a text here is opened or fetched
_CONFIG = re.compile(rb'\{"(?:class_name|module|name|registered_name|config)": ')
_MOST_CONFIG = 64 << 20  # bytes
_SUPERBLOCK = b"\x89HDF\r\n\x1a\n"


def inspect_keras_archive(members: dict[str, Member], notes: Notes, location: str) -> dict[str, Any]:
    """Facts about a .keras archive. Raises: RefusedError."""
    for name in members:
        if name not in _PARTS and not name.startswith("assets/"):
            notes.add(KERAS_MALFORMED, f"{name} is no part of a Keras file", location)
    documents = {}
    for name in ("config.json", "metadata.json"):
        if members[name].size > _MOST_CONFIG:
            raise RefusedError(KERAS_MALFORMED, f"{name} has {members[name].size} bytes")
        try:
            documents[name] = parse_json(members[name].unpack(notes))
        except ValueError as error:
            raise RefusedError(KERAS_MALFORMED, f"{name}: {error}") from None
    if type(documents["config.json"]) is not dict or "class_name" not in documents["config.json"]:
        raise RefusedError(KERAS_MALFORMED, "config.json describes no model")
    count = check_config(documents["config.json"], notes, f"{location}!config.json")
    weights = members["model.weights.h5"].unpack(notes)
    if bytes(weights[:8]) != _SUPERBLOCK:
        notes.add(HDF5_MALFORMED, "model.weights.h5 does not start as HDF5 does", location)
    return {"objects": count, "keras_version": str(documents["metadata.json"].get("keras_version", ""))[:40]}


def inspect_hdf5(data: memoryview, notes: Notes, location: str) -> dict[str, Any]:
    """Facts about an HDF5 file: the configurations in its attributes; its structure is not parsed, and it is not served."""
    if bytes(data[:8]) != _SUPERBLOCK:
        notes.add(HDF5_MALFORMED, "something stands before its superblock", location)
    raw, found = bytes(data), 0
    for match in _CONFIG.finditer(raw):
        found += 1
        notes.work(100)
        try:
            text = raw[match.start() : match.start() + _MOST_CONFIG].split(b"\0", 1)[0].decode()
            value, _ = json.JSONDecoder().raw_decode(text)
        except (ValueError, RecursionError):
            continue  # a name within a configuration that was read already, or cut by HDF5's own blocks
        check_config(value, notes, location)
    for word in (b"__lambda__", b'"class_name": "Lambda"'):
        if word in raw:
            notes.add(KERAS_CODE, word.decode(), location)
    notes.add(FORMAT_UNSUPPORTED, "HDF5 (Keras 2), whose structure is not looked into", location)
    return {"configurations": found}


def check_config(root: Any, notes: Notes, location: str) -> int:
    """Note every object that it builds and that is not Keras' own; return how many it builds."""
    count = 0
    for node in _nodes(root, notes):
        for key in _FILES:
            if type(node.get(key)) is str and node[key]:
                notes.add(KERAS_CODE, f"{key} names the file {node[key][:80]!r}, which loading would open", location)
        name = node.get("class_name")
        if type(name) is not str:
            continue
        count += 1
        module, registered = node.get("module"), node.get("registered_name")
        shown = f"{module or ''}.{name}"
        if name in _CODE or (name == "function" and not str(module).startswith("keras")):
            notes.add(KERAS_CODE, shown, location)
        elif type(module) is str and not (module == "keras" or module.startswith("keras.")):
            notes.add(KERAS_CODE, f"{shown}, which loading would import", location)
        elif (
            module is not None
            and (module, name) not in KERAS_OBJECTS
            and not (module == "builtins" and name in ("int", "float"))
        ):
            notes.add(KERAS_OBJECT, shown, location)
        elif name not in _NAMES or (type(registered) is str and ">" in registered):
            notes.add(KERAS_OBJECT, f"{shown} ({registered})"[:120], location)
    return count


def _nodes(root: Any, notes: Notes) -> Iterator[dict[str, Any]]:
    waiting = [root]
    while waiting:
        value = waiting.pop()
        notes.work()
        if type(value) is dict:
            yield value
            waiting += value.values()
        elif type(value) is list:
            waiting += value
