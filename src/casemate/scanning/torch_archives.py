"""PyTorch's archives: pickles of tensors by the library's own safe list, TorchScript's source, exported programs.

Nothing is run or compiled. Source: pytorch/torch/csrc/jit/docs/serialization.md; torch/export/pt2_archive/constants.py;
torch/_weights_only_unpickler.py for the list.
"""

from __future__ import annotations

import re
from typing import Any

from casemate.scanning.format_rules import TORCH_EXPORT_MALFORMED, TORCHSCRIPT_CODE
from casemate.scanning.notes import Notes, RefusedError
from casemate.scanning.strict_json import parse_json

_MOST_SOURCE, _MOST_PROGRAM = 64 << 20, 128 << 20  # bytes
# Operators that read or write files or hand out what a model does not need, and whatever other libraries registered.
_REACHES = re.compile(
    r"\b(?:ops\.aten\.(?:save|from_file|_load\w*)|torch\.(?:save|load|from_file|hub|jit\.load|utils|classes|package|"
    r"_C|distributed|multiprocessing|serialization)\b|aten::save|__torch__\.torch\.classes|import\s+(?!__torch__\b)\w+|"
    r"\b(?:os|sys|subprocess|socket|ctypes|importlib)\.\w+|\bbuiltins\.(?!\w*(?:Error|Exception|Warning)\b)\w+)"
)
_OPS = re.compile(r"\bops\.([A-Za-z_]\w*)\.")
_NAMESPACES = frozenset({"prim", "aten", "quantized", "prims", "inductor_prims", "torchvision", "_quantized"})
_TARGET = re.compile(
    r"torch\.ops\.(?:aten|prims|higher_order|quantized|quantized_decomposed|profiler)\.\w+(?:\.\w+)?|_operator\.\w+|math\.\w+|torch\.sym_\w+|builtins\.(?:max|min|abs|round)"
)
_GETTERS = frozenset({"_operator.methodcaller", "_operator.attrgetter", "_operator.call"})


def inspect_source(content: memoryview, notes: Notes, location: str) -> None:
    """Note what TorchScript's source, one member of `code/`, should not call. Raises: RefusedError."""
    if len(content) > _MOST_SOURCE:
        raise RefusedError(TORCHSCRIPT_CODE, f"{len(content)} bytes of source")
    notes.work(1 + len(content) // 64)
    try:
        text = str(content, "utf-8")
    except UnicodeDecodeError:
        raise RefusedError(TORCHSCRIPT_CODE, "source that is not UTF-8") from None
    for match in _REACHES.finditer(text):
        notes.add(TORCHSCRIPT_CODE, f"{match[0][:80]} at character {match.start()}", location)
    for match in _OPS.finditer(text):
        if match[1] not in _NAMESPACES:
            notes.add(TORCHSCRIPT_CODE, f"an operator of another library: {match[0]}", location)


def inspect_program(content: memoryview, notes: Notes, location: str) -> None:
    """Note what an exported program should not call. Raises: RefusedError."""
    if len(content) > _MOST_PROGRAM:
        raise RefusedError(TORCH_EXPORT_MALFORMED, f"{len(content)} bytes of program")
    try:
        program = parse_json(content)
    except ValueError as error:
        raise RefusedError(TORCH_EXPORT_MALFORMED, str(error)) from None
    waiting: list[Any] = [program]
    while waiting:
        value = waiting.pop()
        notes.work()
        if type(value) is dict:
            target = value.get("target")
            if type(target) is str and "inputs" in value and (not _TARGET.fullmatch(target) or target in _GETTERS):
                notes.add(TORCH_EXPORT_MALFORMED, f"it calls {target[:100]}", location)
            waiting += value.values()
        elif type(value) is list:
            waiting += value
