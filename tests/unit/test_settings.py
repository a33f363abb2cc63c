"""Settings: known keys only, in a fixed order of precedence."""

from __future__ import annotations

from pathlib import Path

import pytest

from casemate.core import InputError
from casemate.settings import load_settings


def test_the_environment_wins_over_the_file_and_options_over_both(tmp_path: Path) -> None:
    (tmp_path / "casemate.toml").write_text("data_port = 1\ncontrol_port = 2\nhost = '::1'\n")
    environ = {"CASEMATE_HOME": str(tmp_path), "CASEMATE_DATA_PORT": "3", "CASEMATE_CONTROL_PORT": "4"}
    settings = load_settings(environ, control_port=5)
    assert (settings.host, settings.data_port, settings.control_port) == ("::1", 3, 5)
    assert settings.home == tmp_path


@pytest.mark.parametrize(
    "environ", [{"CASEMATE_HOEM": "x"}, {"CASEMATE_DATA_PORT": "many"}, {"CASEMATE_INSECURE_NO_SANDBOX": "perhaps"}]
)
def test_what_is_misspelt_stops_the_start(environ: dict[str, str], tmp_path: Path) -> None:
    with pytest.raises(InputError):
        load_settings({"CASEMATE_HOME": str(tmp_path), **environ})


@pytest.mark.parametrize("text", ["data_prot = 1", "data_port = 'x'", "not toml ["])
def test_a_wrong_file_stops_the_start(text: str, tmp_path: Path) -> None:
    (tmp_path / "casemate.toml").write_text(text)
    with pytest.raises(InputError):
        load_settings({}, home=tmp_path)
