"""Folders as model hubs lay them out: configuration that asks a loader to run code, code itself, chat templates.

Source: huggingface.co/docs/transformers, "Sharing custom models" (`auto_map`); diffusers, "Custom pipelines"; CVE-2023-6730.
"""

from __future__ import annotations

from typing import Any

from casemate.scanning.chat_templates import check_template
from casemate.scanning.format_rules import HUB_CODE
from casemate.scanning.notes import Notes

_CODE_SUFFIXES = (".py", ".pyc", ".pyd", ".pyz", ".so", ".ipynb", ".sh", ".bash", ".js", ".dll", ".dylib", ".pth.py")
_KEYS = frozenset({"auto_map", "custom_pipelines", "custom_pipeline", "_attn_implementation_autoset_from"})
_CALLS = frozenset({"_target_", "!!python/object", "__reduce__", "py/object", "py/reduce"})  # hydra, jsonpickle


def check_name(name: str, notes: Notes) -> None:
    """Note a file of code."""
    if name.lower().endswith(_CODE_SUFFIXES):
        notes.add(HUB_CODE, "a file of code beside the model", name)


def check_configuration(value: Any, notes: Notes, location: str) -> None:
    """Note what in a JSON file beside a model makes a loader run code."""
    waiting = [value]
    while waiting:
        node = waiting.pop()
        notes.work()
        if type(node) is list:
            waiting += node
        if type(node) is not dict:
            continue
        for key, item in node.items():
            if key in _KEYS and item:
                notes.add(HUB_CODE, f"{key}: {str(item)[:120]}", location)
            elif key == "trust_remote_code" and item is True:
                notes.add(HUB_CODE, "trust_remote_code", location)
            elif key in _CALLS:
                notes.add(HUB_CODE, f"{key}: {str(item)[:120]}, which a loader would call", location)
            elif key in ("chat_template", "template") and type(item) is str:
                check_template(item, notes, f"{location}!{key}")
            elif key == "_name_or_path" and type(item) is str and item.startswith(("http:", "https:", "\\\\", "//")):
                notes.add(HUB_CODE, f"{key} leads elsewhere: {item[:120]}", location)
        waiting += node.values()
