"""A home, and the command line run on it in this process."""

from __future__ import annotations

import sys

import pytest

from casemate.app.local import init_home
from casemate.cli import main
from casemate.settings import Settings, load_settings


@pytest.fixture(scope="module")
def settings(tmp_path_factory: pytest.TempPathFactory) -> Settings:
    folder = tmp_path_factory.mktemp("home")
    made = load_settings({}, home=folder / "home", keys=folder / "keys")
    init_home(made)
    return made


@pytest.fixture
def run(settings: Settings, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]):
    def command(*words: str, code: int = 2, **environment: str) -> tuple[str, str]:
        monkeypatch.setenv("CASEMATE_KEYS", str(settings.keys))
        for name, value in environment.items():
            monkeypatch.setenv(name, value)
        monkeypatch.setattr(sys, "argv", ["casemate", "--home", str(settings.home), *words])
        ended: object = 0
        try:
            main()
        except SystemExit as exit_:
            ended = exit_.code
        said = capsys.readouterr()
        assert ended == code, said.err
        return said.out, said.err

    return command
