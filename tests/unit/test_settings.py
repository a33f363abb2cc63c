"""Settings: known keys only, in a fixed order of precedence."""

from __future__ import annotations

import os
import re
from pathlib import Path

import pytest

from casemate.core import InputError
from casemate.settings import _NOT_SETTINGS, Settings, load_settings


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


@pytest.mark.parametrize(
    "line",
    [
        "keys = '/elsewhere'",
        "insecure_no_sandbox = true",
        "home = '/elsewhere'",
        "secrets_vault = '/elsewhere'",
        "networks = '/elsewhere'",
    ],
)
def test_a_home_chooses_neither_its_trust_nor_its_walls(line: str, tmp_path: Path) -> None:
    (tmp_path / "casemate.toml").write_text(line)
    environ = {"CASEMATE_KEYS": str(tmp_path / "keys"), "CASEMATE_INSECURE_NO_SANDBOX": "0"}
    for named in ({}, environ):  # refused even where something stronger would win
        with pytest.raises(InputError, match=line.split(maxsplit=1)[0]) as refused:
            load_settings(named, home=tmp_path)
        assert refused.value.code == "not-in-file"


@pytest.mark.parametrize(
    ("name", "value"),
    [
        ("data_port", "70000"),
        ("data_port", "-1"),
        ("control_port", "65536"),
        ("host", ""),
        ("host", "a b"),
        ("address_rate", "inf"),
        ("address_rate", "nan"),
        ("address_rate", "1e-320"),
        ("audit_wait", "nan"),
        ("audit_wait", "-5"),
        ("audit_wait", "1e9"),
        ("free_bytes", "-1"),
        ("push_bytes", "many"),
    ],
)
def test_a_value_out_of_range_is_named_with_its_setting_and_its_range(name: str, value: str, tmp_path: Path) -> None:
    with pytest.raises(InputError, match=f"The setting {name} is .*: set it to ") as refused:
        load_settings({f"CASEMATE_{name.upper()}": value}, home=tmp_path)
    assert value in refused.value.message or value == "nan"
    assert refused.value.code == "bad-setting"
    (tmp_path / "casemate.toml").write_text(
        f"{name} = {value if value[-1:].isdigit() or value in ('inf', 'nan') else repr(value)}\n"
    )
    with pytest.raises(InputError, match=name):
        load_settings({}, home=tmp_path)


def test_the_pages_name_no_setting_that_is_not_there() -> None:
    root = Path(__file__).parents[2]
    known = {f"CASEMATE_{name.upper()}" for name in Settings.__struct_fields__} | _NOT_SETTINGS
    for page in (root / "README.md", *(root / "docs").rglob("*.md")):
        named = set(re.findall(r"`?\b(CASEMATE_[A-Z_]*[A-Z])\b", page.read_text()))
        assert named <= known, page.name


def test_a_file_of_settings_that_never_ends_stops_the_start(tmp_path: Path) -> None:
    os.mkfifo(tmp_path / "casemate.toml")
    with pytest.raises(InputError, match="no plain file"):
        load_settings({}, home=tmp_path)


@pytest.mark.parametrize("host", ["0.0.0.0", "::", "fe80::1%eth0", "localhost", "models.example"])
def test_what_can_be_listened_on_is_taken(host: str, tmp_path: Path) -> None:
    assert load_settings({"CASEMATE_HOST": host}, home=tmp_path).host == host
