"""Makes every new home lie in a fresh database of the PostgreSQL server whose socket's folder `TESTS_POSTGRESQL` names.

A home remembers its database, so that only its making needs this. Nothing of the product reads the variable.
"""

from __future__ import annotations

import os
import sys
import types
from importlib.abc import MetaPathFinder
from importlib.machinery import PathFinder
from pathlib import Path

WHERE = "TESTS_POSTGRESQL"
_MODULE = "casemate.storage.home"


def _fresh(path: Path) -> str:
    where = os.environ.get(WHERE)
    if not where or (path / "home.json").exists():
        return ""
    sys.path.append(str(Path(__file__).parent.parent))
    from real_postgres import fresh_database

    return fresh_database(where)


def install(home: types.ModuleType) -> None:
    """Whoever imported `create_home` before has the same function, so its code is replaced, not its name."""
    if hasattr(home, "made_where_it_was_told"):
        return
    was = home.create_home
    home.made_where_it_was_told = types.FunctionType(was.__code__, home.__dict__, was.__name__)
    home.made_where_it_was_told.__kwdefaults__ = was.__kwdefaults__
    home.fresh_for_tests = _fresh

    def create_home(path, *, now, database="", password=None):
        told = database or fresh_for_tests(path)  # noqa: F821
        return made_where_it_was_told(path, now=now, database=told, password=password)  # noqa: F821

    was.__code__ = create_home.__code__


class _Finder(MetaPathFinder):
    def find_spec(self, name, path=None, target=None):
        if name != _MODULE:
            return None
        sys.meta_path.remove(self)
        spec = PathFinder.find_spec(name, path, target)
        if spec is not None and spec.loader is not None:
            execute = spec.loader.exec_module

            def then_install(module: types.ModuleType) -> None:
                execute(module)
                install(module)

            spec.loader.exec_module = then_install
        return spec


def when_imported() -> None:
    if os.environ.get(WHERE):
        sys.meta_path.insert(0, _Finder())
