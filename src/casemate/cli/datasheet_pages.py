"""A datasheet as a file: a TOML template to be filled in, and a page to be read, in Markdown or HTML."""

from __future__ import annotations

import html
import json
import tomllib
from pathlib import Path
from typing import Any

from casemate.core import InputError, refused_by_system
from casemate.core.datasheets import MAX_SHEET, QUESTIONS

_USE = ("data_class", "purposes")  # beside the questions: what a push states anyway, for who prefers to write it here
_CLASSES = "public, internal, personal or health"


def read_sheet_file(path: Path) -> tuple[dict[str, Any], dict[str, Any]]:
    """(the datasheet, `data_class` and `purposes` where the file states them). Raises: InputError `bad-datasheet`."""
    try:
        data = path.read_bytes()
    except OSError as error:
        raise refused_by_system(error) from error
    try:
        found = tomllib.loads(data[: MAX_SHEET + 1].decode())
    except (UnicodeDecodeError, tomllib.TOMLDecodeError) as error:
        raise InputError(f"{path} is no TOML ({str(error)[:120]}): mend it.", code="bad-datasheet") from error
    use = {name: found.pop(name) for name in _USE if found.get(name)}
    found = {name: value for name, value in found.items() if name not in _USE}
    if not isinstance(use.get("data_class", ""), str) or not _are_texts(use.get("purposes", [])):
        raise InputError(
            f"{path}: data_class is one text, and purposes a list of texts: mend them.", code="bad-datasheet"
        )
    return found, use


def template(sheet: dict[str, Any] | None) -> str:
    """A TOML file with every question. Args: sheet: of a version whose answers and columns it starts with."""
    known = sheet or {}
    lines = ["# The datasheet of a dataset version: casemate dataset push NAME FILE --datasheet THIS", ""]
    for name, question in QUESTIONS.items():
        lines += [f"# {question}", f"{name} = {_text(known.get(name) or '')}", ""]
    lines += [
        f"# How it must be protected: {_CLASSES}. Empty: as before.",
        f"data_class = {_text(known.get('data_class') or '')}",
        "",
        "# What it may be trained on for. Empty: as before, at first for any.",
        f"purposes = {json.dumps(known.get('purposes') or [], ensure_ascii=False)}",
        "",
        "# Why each column is needed.",
        "[columns]",
        *(f"{_text(name)} = {_text(why or '')}" for name, why in known.get("columns", {}).items()),
    ]
    return "\n".join(lines) + "\n"


def page(sheet: dict[str, Any], *, as_html: bool) -> str:
    """The datasheet of a version for people."""
    return _html(sheet) if as_html else _markdown(sheet)


def _markdown(sheet: dict[str, Any]) -> str:
    lines = [f"# {sheet['name']}@{sheet['version']}", "", f"`{sheet['digest']}`", ""]
    for name, text in _facts(sheet):
        lines += [f"**{name}**: {_escaped(text)}", ""]
    lines += ["| column | type | why it is needed |", "|---|---|---|"]
    for column, kind, why in _columns(sheet):
        lines.append(f"| {_escaped(column)} | {kind} | {_escaped(why)} |")
    return "\n".join([*lines, "", _escaped(_missing(sheet))]) + "\n"


def _html(sheet: dict[str, Any]) -> str:
    title = html.escape(f"{sheet['name']}@{sheet['version']}")
    facts = "".join(f"<dt>{name}</dt><dd>{html.escape(text)}</dd>\n" for name, text in _facts(sheet))
    rows = "".join(
        f"<tr><td>{html.escape(column)}</td><td>{html.escape(kind)}</td><td>{html.escape(why)}</td></tr>\n"
        for column, kind, why in _columns(sheet)
    )
    style = "body{font:16px sans-serif;max-width:50em;margin:2em auto}dt{font-weight:bold}td,th{text-align:left;padding:.2em 1em .2em 0}"
    return (
        f'<!doctype html>\n<html lang="en"><head><meta charset="utf-8"><title>{title}</title><style>{style}</style></head>\n'
        f"<body><h1>{title}</h1>\n<p><code>{html.escape(sheet['digest'])}</code></p>\n<dl>\n{facts}</dl>\n"
        f"<table><tr><th>column</th><th>type</th><th>why it is needed</th></tr>\n{rows}</table>\n"
        f"<p>{html.escape(_missing(sheet))}</p></body></html>\n"
    )


def _facts(sheet: dict[str, Any]) -> list[tuple[str, str]]:
    told = [(name, sheet[name] or "not said") for name in QUESTIONS]
    return [*told, ("data class", sheet["data_class"]), ("purposes", ", ".join(sheet["purposes"]) or "any")]


def _columns(sheet: dict[str, Any]) -> list[tuple[str, str, str]]:
    return [(name, sheet["types"][name], why or "not said") for name, why in sheet["columns"].items()]


def _missing(sheet: dict[str, Any]) -> str:
    missing = sheet["missing"]
    return f"Missing: {', '.join(missing)}." if missing else "Nothing is missing."


def _text(value: str) -> str:
    """A TOML string; JSON's are, but for the escape of DEL."""
    return json.dumps(value, ensure_ascii=False).replace("\x7f", "\\u007f")


def _escaped(text: str) -> str:
    """No markup of its own, and on one line."""
    for character in "\\`*_[]<>|#":
        text = text.replace(character, "\\" + character)
    return " ".join(text.split())


def _are_texts(value: object) -> bool:
    return isinstance(value, list) and all(isinstance(one, str) for one in value)
