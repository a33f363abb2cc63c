"""PyTorch's archives: pickles of tensors by the library's own safe list, TorchScript's source, exported programs.

Nothing is run or compiled. What is served has the members of its format and no other. Source:
pytorch/torch/csrc/jit/docs/serialization.md; torch/export/pt2_archive/constants.py; torch/_weights_only_unpickler.py for the
list; torch/_export/serde/serialize.py, which gives `expr_str` to `sympy.sympify`, and torch/export/_unlift.py, which gives
`guards_code` to `exec`: both are Python.
"""

from __future__ import annotations

import re
from collections.abc import Collection
from typing import Any

from casemate.scanning.format_rules import TORCH_EXPORT_MALFORMED, TORCHSCRIPT_CODE
from casemate.scanning.notes import Notes, RefusedError
from casemate.scanning.strict_json import parse_json

_MOST_SOURCE, _MOST_PROGRAM = 64 << 20, 128 << 20  # bytes
_MOST_TEXT = 4096  # characters of one expression
# Operators that read or write files or hand out what a model does not need, and whatever other libraries registered.
_REACHES = re.compile(
    r"\b(?:ops\.aten\.(?:save|from_file|_load\w*)|torch\.(?:save|load|from_file|hub|jit\.load|utils|classes|package|"
    r"_C|distributed|multiprocessing|serialization)\b|aten::save|__torch__\.torch\.classes|import\s+(?!__torch__\b)\w+|"
    r"\b(?:os|sys|subprocess|socket|ctypes|importlib)\.\w+|\bbuiltins\.(?!\w*(?:Error|Exception|Warning)\b)\w+)"
)
_OPS = re.compile(r"\bops\.([A-Za-z_]\w*)\.")
_NAMESPACES = frozenset({"prim", "aten", "quantized", "prims", "inductor_prims", "torchvision", "_quantized"})
_HIGHER = (
    "cond|while_loop|map_impl|map|scan|associative_scan|flex_attention|invoke_subgraph|wrap|wrap_with_set_grad_enabled|"
    "wrap_with_autocast|autograd_function_apply"
)
_TARGET = re.compile(
    rf"torch\.ops\.(?:aten|prims|quantized|quantized_decomposed|profiler)\.\w+(?:\.\w+)?|torch\.ops\.higher_order\.(?:{_HIGHER})|"
    r"_operator\.\w+|math\.\w+|torch\.sym_\w+|builtins\.(?:max|min|abs|round)"
)
_NEVER = re.compile(
    r"_operator\.(?:methodcaller|attrgetter|call)|torch\.ops\.aten\.(?:from_file|save|_load\w*)(?:\.\w+)?"
)
_FUNCTIONS = (
    "Symbol|Integer|Float|Rational|Mul|Add|Pow|Max|Min|Mod|Abs|sqrt|floor|ceiling|Where|Piecewise|ExprCondPair|Identity|"
    r"FloorDiv|PythonMod|CleanDiv|CeilDiv|ModularIndexing|\w{1,9}To(?:Int|Float)|RoundDecimal|(?:Int|Float)TrueDiv|FloatPow|"
    r"PowByNatural|ToFloat|[LR]Shift|BitwiseFn_bitwise_\w{2,3}|OpaqueUnaryFn_\w{1,9}|IsNonOverlappingAndDenseIndicator|"
    r"(?:Une|E)quality|(?:Strict)?(?:Less|Greater)Than|Eq|Ne|Lt|Le|Gt|Ge|And|Or|Not|min|max|math\.(?:floor|ceil|sqrt|trunc)"
)
_WORDS = r"(?:positive|nonnegative|nonzero|negative|integer|real|finite|precision)=|True|False|true|false|None|int_oo|oo|and|or|not"
_PLAIN = rf"(?:{_FUNCTIONS})(?=\()|\b(?:{_WORDS}|[suz]f?\d{{1,9}})\b|\b(?:{_WORDS})|\d+(?:\.\d*)?(?:e[-+]?\d{{1,3}})?|[-+*/%()<>=!,&|~ ]"
_EXPRESSION = re.compile(rf"(?:'(?:[a-z]\w{{0,40}}|[-+.\de]{{1,40}})'(?=[,)])|{_PLAIN})*+")
_SOURCE = r"L(?:\['[\w.]{1,100}'\]|\[\d{1,6}\])+(?:\.(?:size|stride|storage_offset)\(\)|\.shape)?(?:\[\d{1,6}\])?"
_GUARD = re.compile(rf"(?:{_SOURCE}|{_PLAIN})*+")
_FRAME = r"(?:\.data/)?version|byteorder|\.data/serialization_id|\.format_version|\.storage_alignment"
_PARTS = {
    "torchscript": re.compile(
        rf"{_FRAME}|(?:data|constants|traced_inputs)(?:\.pkl|/\d{{1,9}})|code/[\w./]{{1,500}}\.py(?:\.debug_pkl)?"
    ),
    "torch-export": re.compile(
        rf"{_FRAME}|archive_format|archive_version|models/model\.json|data/weights/(?:weight_\d{{1,9}}|model_weights_config\.json)|"
        r"data/constants/(?:tensor_\d{1,9}|model_constants_config\.json)|data/sample_inputs/model\.pt"
    ),
}


def check_parts(names: Collection[str], kind: str, notes: Notes, location: str) -> None:
    """Note members that are no part of the format, such as compiled libraries, and those outside the one folder."""
    rule = TORCHSCRIPT_CODE if kind == "torchscript" else TORCH_EXPORT_MALFORMED
    folders = {name.partition("/")[0] for name in names}
    if len(folders) != 1:
        notes.add(rule, f"members in {len(folders)} folders; the format has one", location)
    for name in names:
        if not _PARTS[kind].fullmatch(name.partition("/")[2]):
            notes.add(rule, f"{name[:120]} is no part of the format, or of one before PyTorch 2.8", location)
    if kind == "torch-export" and not any(name.endswith("/models/model.json") for name in names):
        notes.add(rule, "it holds no program", location)


def pickled_weights(content: memoryview) -> set[str]:
    """Which members hold pickles, by a configuration of weights or constants. Raises: RefusedError."""
    try:
        entries = parse_json(content)["config"].values()
        return {str(entry["path_name"]) for entry in entries if entry["use_pickle"] is not False}
    except (ValueError, KeyError, TypeError, AttributeError):
        raise RefusedError(TORCH_EXPORT_MALFORMED, "a configuration of weights that is broken") from None


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
    """Note what an exported program should not call, and text in it that is more than arithmetic. Raises: RefusedError."""
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
            _check_calls(value, notes, location)
            _check_texts(value, notes, location)
            waiting += value.values()
        elif type(value) is list:
            waiting += value


def _check_calls(value: dict[str, Any], notes: Notes, location: str) -> None:
    called = [value["target"]] if "inputs" in value and "target" in value else []
    called += [value["as_operator"]] if "as_operator" in value else []
    for target in called:
        if type(target) is not str or not _TARGET.fullmatch(target) or _NEVER.fullmatch(target):
            notes.add(TORCH_EXPORT_MALFORMED, f"it calls {str(target)[:100]}", location)


def _check_texts(value: dict[str, Any], notes: Notes, location: str) -> None:
    for key, plain in (("expr_str", _EXPRESSION), ("guards_code", _GUARD)):
        found = value.get(key, [])
        for text in found if type(found) is list else [found]:
            notes.work(1 + len(text) // 16 if type(text) is str else 1)
            if type(text) is not str or len(text) > _MOST_TEXT or not plain.fullmatch(text):
                notes.add(TORCH_EXPORT_MALFORMED, f"{key}, which is run as Python: {str(text)[:80]}", location)
