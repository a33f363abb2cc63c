"""A real home with its control plane in this process, as a command without a server has it."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import pytest
from fastapi import FastAPI

from casemate.app.control import build_services
from casemate.app.ground import open_ground
from casemate.app.keeper import open_keeper
from casemate.app.local import init_home, serving
from casemate.client import Casemate
from casemate.console import Services, build_console
from casemate.doors import Recorder
from casemate.settings import Settings, load_settings
from casemate.storage import HomeLock, open_home


@pytest.fixture(scope="module")
def settings(tmp_path_factory: pytest.TempPathFactory) -> Settings:
    folder = tmp_path_factory.mktemp("home")
    made = load_settings({}, home=folder / "home", keys=folder / "keys")
    init_home(made)
    return made


@pytest.fixture(scope="module")
def services(settings: Settings) -> Iterator[Services]:
    home = open_home(settings.home)
    with HomeLock(home.path):
        ground = open_ground(settings, open_keeper(settings, home), read_only=False)
        yield build_services(ground)
        ground.engine.dispose()


@pytest.fixture(scope="module")
def app(services: Services) -> Iterator[FastAPI]:
    with Recorder(services.sink, clock=services.clock) as recorder:
        yield build_console(services, recorder)


@pytest.fixture(scope="module")
def socket_path(settings: Settings, services: Services) -> Iterator[Path]:
    home = open_home(settings.home)
    with serving(home, services) as path:
        yield path


@pytest.fixture(scope="module")
def casemate(socket_path: Path) -> Iterator[Casemate]:
    with Casemate(socket=socket_path) as client:
        yield client
