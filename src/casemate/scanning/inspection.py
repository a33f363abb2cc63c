"""The confined side of a scan: `main` is the only entry. All foreign bytes are parsed here, and nothing is loaded."""

from __future__ import annotations

import mmap
import os
from collections.abc import Mapping
from typing import Any

import msgspec

from casemate.core.wire import Frame
from casemate.scanning.archives import inspect_archive
from casemate.scanning.chat_templates import check_template
from casemate.scanning.formats import ALSO, COMPRESSED, RUNTIMES, SERVED, SIDE_FILES, SUFFIXES, UNSUPPORTED, format_of
from casemate.scanning.hub_folders import check_configuration, check_name
from casemate.scanning.limits import ScanLimits
from casemate.scanning.notes import Notes, RefusedError
from casemate.scanning.numpy_files import inspect_npy
from casemate.scanning.onnx_models import inspect_onnx
from casemate.scanning.onnx_weights import problem_of_weights
from casemate.scanning.pickle_rules import inspect_pickles
from casemate.scanning.rules import (
    ARCHIVE_UNSUPPORTED,
    EXECUTABLE,
    FORMAT_UNKNOWN,
    FORMAT_UNSUPPORTED,
    JSON_MALFORMED,
    NAME_MISLEADS,
    NO_MODEL,
    ONNX_WEIGHTS,
    POLYGLOT,
    SEVERAL_MODELS,
    SIDE_FILE,
)
from casemate.scanning.strict_json import parse_json
from casemate.scanning.structures import STRUCTURES
from casemate.scanning.tensorflow_models import parts_of_saved_models
from casemate.scanning.zip_files import holds_zip


def main(frame: Frame) -> Frame:
    """Inspect the files whose descriptors came along; answer {"findings", "format", "served", "facts"}."""
    files = dict(zip(frame.message["names"], map(_view, frame.fds), strict=True))
    return Frame(inspect_files(files, msgspec.convert(frame.message["limits"], ScanLimits)))


def inspect_files(files: Mapping[str, memoryview], limits: ScanLimits) -> dict[str, Any]:
    """What `scan` is answered, of bytes in memory."""
    inspection = _Inspection(files, limits)
    inspection.run()
    return {
        "findings": msgspec.to_builtins(inspection.notes.findings),
        "format": inspection.format,
        "served": inspection.served(),
        "facts": inspection.facts,
    }


class _Inspection:
    def __init__(self, files: Mapping[str, memoryview], limits: ScanLimits) -> None:
        self.files, self.notes = files, Notes(limits)
        self.format = ""
        self.facts: dict[str, Any] = {}
        self._weights: dict[str, set[tuple[int, int]]] = {}  # path -> where an ONNX model's tensors lie in it
        self._models: list[str] = []

    def run(self) -> None:
        kinds = {name: self._format_of(name, data) for name, data in self.files.items()}
        parts = parts_of_saved_models(kinds)
        graphs = [name for name in sorted(self.files) if kinds[name] == "onnx"]
        for name in graphs:
            self._inspect_file(name, "onnx")
        plain = {name for name in self._weights if self._is_weights(name, kinds[name])}
        for name in sorted(self.files.keys() - plain - set(graphs) - parts):
            self._inspect_file(name, kinds[name])
        served = [name for name in self._models if kinds[name] in SERVED or self.format in SERVED]
        if not self._models:
            self.notes.add(NO_MODEL, f"{len(self.files)} files", "")
        elif len(self._models) > 1 and not (len(served) == len(self._models) and self.format == "safetensors"):
            self.notes.add(SEVERAL_MODELS, ", ".join(self._models[:5]), "")

    def served(self) -> dict[str, str] | None:
        """The one model and its runtime, if it has one."""
        if len(self._models) != 1 or self.format not in RUNTIMES:
            return None
        return {"path": self._models[0], "runtime": RUNTIMES[self.format]}

    def _is_weights(self, name: str, kind: str) -> bool:
        """Whether it is numbers and nothing else; what is not is noted, and inspected like every other file."""
        problem = problem_of_weights(name, self.files[name], kind, self._weights[name], self.notes)
        if problem:
            self.notes.add(ONNX_WEIGHTS, problem, name)
        return not problem

    def _format_of(self, name: str, data: memoryview) -> str:
        try:
            return format_of(data, self.notes)
        except RefusedError as refused:
            self.notes.refuse(refused, name)
            return "unknown"

    def _inspect_file(self, name: str, kind: str) -> None:
        data = self.files[name]
        check_name(name, self.notes)
        found = self._inspect(data, name, 0, kind)
        if found in SIDE_FILES:
            self._check_side_file(name, data)
        else:
            self._models.append(name)
            self.format = self.format or found
        promised = next((kind for suffix, kind in SUFFIXES.items() if name.lower().endswith(suffix)), found)
        if promised != found and (promised, found) not in ALSO:
            self.notes.add(NAME_MISLEADS, f"its name says {promised}, its content {found}", name)

    def _inspect(self, data: memoryview, location: str, depth: int, kind: str = "") -> str:
        """Note all that is wrong with these bytes; return what they are."""
        try:
            kind = kind or format_of(data, self.notes)
            if kind not in ("zip", "pickle") and holds_zip(data):
                self.notes.add(POLYGLOT, f"{kind}, and a ZIP archive at its end", location)
            return self._inspect_as(kind, data, location, depth)
        except RefusedError as refused:
            self.notes.refuse(refused, location)
            return kind

    def _inspect_as(self, kind: str, data: memoryview, location: str, depth: int) -> str:
        facts: dict[str, Any] = {}
        if kind in ("zip", "tar") or kind in COMPRESSED:
            kind, facts = inspect_archive(data, kind, self.notes, location=location, depth=depth, inspect=self._inspect)
        elif kind == "onnx":
            sizes = {name: len(view) for name, view in self.files.items()} if depth == 0 else {}
            facts, weights = inspect_onnx(data, sizes, self.notes, location)
            for path, spans in weights.items():
                self._weights.setdefault(path, set()).update(spans)
        elif kind in STRUCTURES:
            facts = STRUCTURES[kind](data, self.notes, location)
        elif kind == "pickle":
            inspect_pickles(data, self.notes, location)
        elif kind == "npy":
            self._inspect_npy(data, location, depth)
        elif kind == "json":
            self._check_json(data, location)
        elif kind != "text":
            self._refuse(kind, location)
        if depth == 0 and not self.facts:
            self.facts = facts
        return kind

    def _inspect_npy(self, data: memoryview, location: str, depth: int) -> None:
        before = len(self.notes.findings)
        inspect_npy(data, self.notes, location)
        if depth == 0 and len(self.notes.findings) == before:
            self.notes.add(FORMAT_UNSUPPORTED, UNSUPPORTED["numpy"], location)

    def _refuse(self, kind: str, location: str) -> None:
        if kind == "executable":
            self.notes.add(EXECUTABLE, "the first bytes of a program", location)
        elif kind == "archive":
            self.notes.add(ARCHIVE_UNSUPPORTED, "7z, RAR, zstd, lz4 or the like", location)
        elif kind in UNSUPPORTED:
            self.notes.add(FORMAT_UNSUPPORTED, UNSUPPORTED[kind], location)
        else:
            self.notes.add(FORMAT_UNKNOWN, "its content fits no format", location)

    def _check_json(self, data: memoryview, location: str) -> None:
        if len(data) > self.notes.limits.json_bytes:
            raise RefusedError(SIDE_FILE, f"{len(data)} bytes; at most {self.notes.limits.json_bytes}")
        try:
            check_configuration(parse_json(data), self.notes, location)
        except ValueError as error:
            raise RefusedError(JSON_MALFORMED, str(error)) from None

    def _check_side_file(self, name: str, data: memoryview) -> None:
        """JSON, Markdown and plain text may lie beside a model; scripts and the like may not, though they are text."""
        plain = name.lower().endswith((".json", ".md", ".txt", ".jinja")) or name.rpartition("/")[2] in (
            "LICENSE",
            "NOTICE",
        )
        limits = self.notes.limits
        if not plain or len(data) > (limits.json_bytes if name.lower().endswith(".json") else limits.side_file_bytes):
            self.notes.add(SIDE_FILE, f"{len(data)} bytes of text", name)
            return
        try:
            text = str(data, "utf-8")
        except UnicodeDecodeError:
            self.notes.add(SIDE_FILE, "not UTF-8", name)
            return
        if "\0" in text:
            self.notes.add(SIDE_FILE, "a zero byte in text", name)
        if name.lower().endswith(".jinja"):
            check_template(text, self.notes, name)


def _view(fd: int) -> memoryview:
    size = os.fstat(fd).st_size
    return memoryview(mmap.mmap(fd, size, access=mmap.ACCESS_READ) if size else b"")
