"""Rules for all tests: what needs a missing program is left out by name, or fails where all programs are required.

Tests of storage, audit log and registry run on SQLite and on PostgreSQL; with CASEMATE_TEST_DATABASE=postgresql every
home that any test makes lies in PostgreSQL.
"""

from __future__ import annotations

import os
import shutil
import signal
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from hypothesis import settings
from xdist.scheduler import LoadFileScheduling

# Where the shell that began the tests had them in the background, Ctrl-C is ignored by them and by all that they start.
if signal.getsignal(signal.SIGINT) is signal.SIG_IGN:
    signal.signal(signal.SIGINT, signal.default_int_handler)

settings.register_profile("shared machine", settings(), deadline=None)  # time is measured in bench/, never here
settings.load_profile("shared machine")

_EVERY_HOME = Path(__file__).parent / "assets" / "every_home"
sys.path.append(str(_EVERY_HOME))

import every_home  # noqa: E402 found by the line above
from real_postgres import Postgres, find_program  # noqa: E402

_ON_BOTH = ("storage", "auditlog", "registry")  # folders under tests/unit and tests/property
_ALL_ON_POSTGRESQL = os.environ.get("CASEMATE_TEST_DATABASE", "sqlite") == "postgresql"


# These use the home that the demo walks through, which takes a while: one worker has them all, and walks once.
_WALKED = ("test_access_while_serving.py", "test_rotation.py", "test_tokens_while_serving.py", "test_whole_way.py")


class _ByHome(LoadFileScheduling):
    def _split_scope(self, nodeid: str) -> str:
        file = super()._split_scope(nodeid)
        return "walked" if file.endswith(_WALKED) else file


def pytest_xdist_make_scheduler(config: pytest.Config, log: Any) -> _ByHome:
    return _ByHome(config, log)


def pytest_generate_tests(metafunc: pytest.Metafunc) -> None:
    folder = metafunc.definition.path.parent
    if not _ALL_ON_POSTGRESQL and folder.name in _ON_BOTH and folder.parent.name in ("unit", "property"):
        only, once = map(metafunc.definition.get_closest_marker, ("only", "once"))
        where = [only.args[0]] if only else ["sqlite"] if once else ["sqlite", "postgresql"]
        metafunc.parametrize("home_database", where, indirect=True)


def pytest_runtest_setup(item: pytest.Item) -> None:
    for marker in item.iter_markers("program"):
        if not shutil.which(marker.args[0]):
            _missing(marker.args[0])
    only = item.get_closest_marker("only")
    if _ALL_ON_POSTGRESQL and only and only.args[0] == "sqlite":
        pytest.skip("is about SQLite's file")


def _missing(name: str) -> None:
    if os.environ.get("CASEMATE_REQUIRE_PROGRAMS"):
        pytest.fail(f"{name} is required here and is missing", pytrace=False)
    pytest.skip(f"needs the program {name}")


@pytest.fixture(scope="session")
def postgres() -> Iterator[Postgres]:
    """A real server, for all tests of this process."""
    if find_program() is None:
        _missing("postgresql")
    server = Postgres()
    yield server
    server.close()


@pytest.fixture(scope="session", autouse=True)
def _all_on_postgresql(request: pytest.FixtureRequest) -> Iterator[None]:
    with pytest.MonkeyPatch.context() as patch:
        if _ALL_ON_POSTGRESQL:
            _point_homes_to(request.getfixturevalue("postgres"), patch)
        yield


@pytest.fixture(autouse=True)
def home_database(request: pytest.FixtureRequest, monkeypatch: pytest.MonkeyPatch) -> Iterator[str]:
    """Where this test's homes lie: `sqlite` or `postgresql`."""
    where = getattr(request, "param", "postgresql" if _ALL_ON_POSTGRESQL else "sqlite")
    if where == "sqlite":
        yield where
        return
    server: Postgres = request.getfixturevalue("postgres")
    if not _ALL_ON_POSTGRESQL:
        _point_homes_to(server, monkeypatch)
    before = server.databases()
    yield where
    server.drop(server.databases() - before)


def _point_homes_to(server: Postgres, patch: pytest.MonkeyPatch) -> None:
    import casemate.storage.home

    every_home.install(casemate.storage.home)
    patch.setenv(every_home.WHERE, str(server.folder))
    path = os.environ.get("PYTHONPATH")
    patch.setenv("PYTHONPATH", f"{_EVERY_HOME}{os.pathsep}{path}" if path else str(_EVERY_HOME))


def pytest_terminal_summary(terminalreporter: pytest.TerminalReporter) -> None:
    reasons: dict[str, int] = {}
    for report in terminalreporter.stats.get("skipped", []):
        reason = str(report.longrepr[2]) if isinstance(report.longrepr, tuple) else str(report.longrepr)
        reasons[reason] = reasons.get(reason, 0) + 1
    for reason, count in sorted(reasons.items()):
        terminalreporter.write_line(f"not run here: {count} test(s): {reason}")
