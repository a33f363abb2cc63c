"""Judges what a pickle would do against the allow-list of its framework. Whatever is not on it is forbidden.

`allowlist.json` is written by `make_allowlist.py` from what the real libraries put into their pickles.
"""

from __future__ import annotations

import sys
from collections.abc import Set as AbstractSet

from casemate.scanning.allowlist import PICKLE_IMPORTS
from casemate.scanning.notes import Notes
from casemate.scanning.pickle_machine import PickleRecord
from casemate.scanning.pickle_walk import walk_pickle
from casemate.scanning.rules import (
    PICKLE_CALL,
    PICKLE_IMPORT,
    PICKLE_MALFORMED,
    PICKLE_NOT_SERVED,
    PICKLE_PERSISTENT,
    PICKLE_SEVERAL,
    PICKLE_TRAILING,
    PICKLE_UNRESOLVABLE,
)
from casemate.scanning.symbols import Import

_TORCH_MAGIC = 0x1950A86A20F9469CFC6C  # first object of a file of torch.save before 1.6
_MOST_PICKLES = 64
_TAGS = frozenset(
    {
        "build_intlist",
        "build_doublelist",
        "build_boollist",
        "build_tensorlist",
        "build_tensor_from_id",
        "restore_type_tag",
    }
)


def inspect_pickles(
    data: memoryview, notes: Notes, location: str, *, in_torch: bool = False, scripted: bool = False
) -> None:
    """Note everything about the pickles that `data` consists of. `scripted`: TorchScript's, which Python never loads. Raises: RefusedError when over the bound of work."""
    before = len(notes.findings)
    records = _walk_all(data, notes)
    if records[0].first == _TORCH_MAGIC:
        in_torch = True
    for record in records:
        _judge(record, notes, location, in_torch=in_torch, scripted=scripted)
    if len(records) > 1 and not in_torch:
        notes.add(PICKLE_SEVERAL, f"{len(records)} pickles; the second starts at byte {records[0].end}", location)
    rest = len(data) - records[-1].end
    if rest and not records[-1].broken and not in_torch:
        notes.add(PICKLE_TRAILING, f"{rest} bytes after byte {records[-1].end}", location)
    if len(notes.findings) == before:
        count = len(records[0].imports)
        notes.add(PICKLE_NOT_SERVED, f"{count} imports, all of them on the allow-list", location)


def looks_like_pickle(data: memoryview, notes: Notes) -> bool:
    """Would a loader take this for a pickle: protocol 2 and later by their first byte, older ones by what they do?

    Text that no loader would follow to an import and a call, or to its end, is text.
    """
    if len(data) >= 2 and data[0] == 0x80 and data[1] <= 5:
        return True
    record = walk_pickle(data, notes)
    acts = any(_is_importable(found) for found in record.imports) or bool(record.unresolvable)
    return (acts and record.calls > 0) or (not record.broken and (record.end == len(data) or bool(record.persistent)))


def _is_importable(found: Import) -> bool:
    return all(part.isidentifier() for part in f"{found.module}.{found.name}".split("."))


def _walk_all(data: memoryview, notes: Notes) -> list[PickleRecord]:
    records = [walk_pickle(data, notes)]
    while not records[-1].broken and records[-1].end < len(data) and len(records) < _MOST_PICKLES:
        record = walk_pickle(data, notes, start=records[-1].end)
        if record.broken and not record.imports and not record.unresolvable:
            break  # not another pickle: trailing bytes
        records.append(record)
    return records


def _judge(record: PickleRecord, notes: Notes, location: str, *, in_torch: bool, scripted: bool) -> None:
    name = location or "the file"
    framework, allowed = _framework(record.imports.keys())
    for found, at in record.imports.items():
        if found not in allowed and not (scripted and _is_of_script(found)):
            evidence = f"{found} at byte {at} of {name}" + (f", not in {framework} models" if framework else "")
            # A name from the standard library has no business in a model; another one may just be the author's class.
            standard = found.module.split(".")[0] in sys.stdlib_module_names | {"__builtin__", "posix", "nt"}
            notes.add(PICKLE_IMPORT, evidence, location, confidence=1.0 if standard else 0.8)
    for site in record.unresolvable:
        notes.add(PICKLE_UNRESOLVABLE, f"{site.text} at byte {site.at} of {name}", location)
    for site in record.odd_calls:
        notes.add(PICKLE_CALL, f"{site.text} at byte {site.at} of {name}", location)
    for site in record.persistent if not in_torch else ():
        notes.add(PICKLE_PERSISTENT, f"{site.text} at byte {site.at} of {name}", location)
    if record.broken:
        notes.add(PICKLE_MALFORMED, f"{record.broken} of {name}", location)


def _is_of_script(found: Import) -> bool:
    """A class that the archive's own source declares, or the tag of a typed list: TorchScript's reader knows them, Python does not."""
    return (
        found.module == "__torch__"
        or found.module.startswith("__torch__.")
        or (found.module == "torch.jit._pickle" and found.name in _TAGS)
    )


def _framework(imports: AbstractSet[Import]) -> tuple[str, frozenset[Import]]:
    """The framework whose allow-list leaves out least of `imports`, and the list."""
    name, allowed = min(PICKLE_IMPORTS.items(), key=lambda item: len(imports - item[1]))
    return (name if imports & allowed else ""), allowed
