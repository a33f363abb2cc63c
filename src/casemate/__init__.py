"""Casemate: from training data to production behind walls. The public names; each is loaded when it is first used."""

from __future__ import annotations

from importlib import import_module
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from casemate.client import Casemate
    from casemate.core import CasemateError, Finding
    from casemate.scanning import scan_path as scan

__version__ = "0.1.0"
__all__ = ["Casemate", "CasemateError", "Finding", "scan"]

_PLACES = {
    "Casemate": ("casemate.client", "Casemate"),
    "CasemateError": ("casemate.core", "CasemateError"),
    "Finding": ("casemate.core", "Finding"),
    "scan": ("casemate.scanning", "scan_path"),
}


def __getattr__(name: str) -> Any:
    try:
        module, attribute = _PLACES[name]
    except KeyError:
        raise AttributeError(name) from None
    return getattr(import_module(module), attribute)
