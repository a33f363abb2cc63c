"""Looks into archives and packed streams: members are inspected like files, and the archive itself is never served."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

from casemate.scanning.compressed import expand
from casemate.scanning.format_rules import TORCH_EXPORT_MALFORMED
from casemate.scanning.formats import COMPRESSED, RUNTIMES, UNSUPPORTED
from casemate.scanning.keras_models import inspect_keras_archive
from casemate.scanning.notes import Notes, RefusedError
from casemate.scanning.pickle_rules import inspect_pickles
from casemate.scanning.rules import ARCHIVE_BOMB, ARCHIVE_NOT_SERVED, FORMAT_UNSUPPORTED, PICKLE_NOT_SERVED
from casemate.scanning.skops_files import SCHEMA_NAME, inspect_skops
from casemate.scanning.tar_files import read_tar
from casemate.scanning.torch_archives import check_parts, inspect_program, inspect_source, pickled_weights
from casemate.scanning.zip_files import Member, read_zip

_TORCH = frozenset({"torch", "torchscript", "torch-export"})

Inspect = Callable[[memoryview, str, int], str]  # (bytes, location, depth) -> format


def inspect_archive(
    data: memoryview, kind: str, notes: Notes, *, location: str, depth: int, inspect: Inspect
) -> tuple[str, dict[str, Any]]:
    """(format, facts) of what is packed; notes all that is wrong with it. Raises: RefusedError."""
    if depth >= notes.limits.depth:
        raise RefusedError(ARCHIVE_BOMB, f"archives nested deeper than {notes.limits.depth}")
    before = len(notes.findings)
    if kind == "zip":
        kind, facts = _inspect_zip(data, notes, location, depth, inspect)
        if kind in RUNTIMES:
            return kind, facts
    elif kind == "tar":
        for name, content in read_tar(data, notes):
            inspect(content, f"{location}!{name}", depth + 1)
    elif kind in COMPRESSED:
        kind = inspect(expand(data, kind, notes), f"{location}!unpacked", depth + 1)
    if len(notes.findings) == before:
        if kind in UNSUPPORTED:
            notes.add(FORMAT_UNSUPPORTED, UNSUPPORTED[kind], location)
        else:
            notes.add(ARCHIVE_NOT_SERVED, f"a {kind} archive with nothing suspicious in it", location)
    return kind, {}


def _inspect_zip(
    data: memoryview, notes: Notes, location: str, depth: int, inspect: Inspect
) -> tuple[str, dict[str, Any]]:
    members = {member.name: member for member in read_zip(data, notes)}
    if SCHEMA_NAME in members:
        return "skops", inspect_skops(members, notes, location)
    if _kind_of(set(members)) == "keras":
        return "keras", inspect_keras_archive(members, notes, location)
    return _inspect_members(members, notes, location, depth, inspect), {"members": len(members)}


def _inspect_members(members: dict[str, Member], notes: Notes, location: str, depth: int, inspect: Inspect) -> str:
    kind = _kind_of(set(members))
    if kind in ("torchscript", "torch-export"):
        check_parts(members, kind, notes, location)
    pickled: set[str] = set()
    for name in sorted(
        members, key=lambda name: not name.endswith("_config.json")
    ):  # these say which others are pickles
        place = f"{location}!{name}"
        try:
            content = members[name].unpack(notes)
            if kind in _TORCH and name.endswith((".pkl", ".debug_pkl")):
                _inspect_torch_pickle(content, notes, place, scripted=kind == "torchscript")
            elif kind in _TORCH and "/code/" in f"/{name}" and name.endswith(".py"):
                inspect_source(content, notes, place)
            elif kind == "torch-export" and name.endswith(".json"):
                inspect_program(content, notes, place)
                pickled |= pickled_weights(content) if name.endswith("_config.json") else set()
            elif kind == "torch-export" and _is_torch_part(name, content, pickled):
                _inspect_torch_part(content, notes, place, depth, inspect)
            elif kind == "zip" or name.endswith((".npy", ".pkl", ".pickle")):
                inspect(content, place, depth + 1)
        except RefusedError as refused:
            notes.refuse(refused, place)
    return kind


def _inspect_torch_pickle(content: memoryview, notes: Notes, place: str, *, scripted: bool) -> None:
    """A pickle of torch is part of its format: only what is suspicious in it is noted."""
    own = Notes(notes.limits)
    inspect_pickles(content, own, place, in_torch=True, scripted=scripted)
    notes.findings += [finding for finding in own.findings if finding.id != "pickle-not-served"]


def _is_torch_part(name: str, content: memoryview, pickled: set[str]) -> bool:
    return name.endswith((".pt", ".pth")) or name.rpartition("/")[2] in pickled or bytes(content[:4]) == b"PK\3\4"


def _inspect_torch_part(content: memoryview, notes: Notes, place: str, depth: int, inspect: Inspect) -> None:
    """A file of torch.save within an exported program: that such files are not served is no news here."""
    before = len(notes.findings)
    kind = inspect(content, place, depth + 1)
    if kind not in ("torch", "pickle"):
        notes.add(TORCH_EXPORT_MALFORMED, f"{kind or 'nothing known'}, where tensors belong", place)
    expected = {FORMAT_UNSUPPORTED.id, ARCHIVE_NOT_SERVED.id, PICKLE_NOT_SERVED.id}
    notes.findings[before:] = [finding for finding in notes.findings[before:] if finding.id not in expected]


def _kind_of(names: set[str]) -> str:
    files = {name.rpartition("/")[2] for name in names}
    if {"archive_format", "serialized_exported_program.json"} & files or "models/model.json" in names:
        return "torch-export"
    if "data.pkl" in files:
        return "torchscript" if "constants.pkl" in files else "torch"
    if {"config.json", "metadata.json"} <= names and "model.weights.h5" in names:
        return "keras"
    if names and all(name.endswith(".npy") for name in names):
        return "numpy"
    return "zip"
