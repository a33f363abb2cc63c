"""`casemate init` makes nothing anew for a home that was made before."""

from __future__ import annotations

from pathlib import Path

import pytest

from casemate.app.local import init_home
from casemate.core import CasemateError
from casemate.settings import load_settings


def contents(folder: Path) -> dict[str, bytes]:
    return {str(path): path.read_bytes() for path in folder.rglob("*") if path.is_file()}


def test_init_changes_nothing_the_second_time(tmp_path: Path) -> None:
    settings = load_settings({}, home=tmp_path / "home", keys=tmp_path / "keys")
    made = init_home(settings)
    before = contents(tmp_path / "home" / "tls") | contents(tmp_path / "keys")
    assert init_home(settings) == made
    assert contents(tmp_path / "home" / "tls") | contents(tmp_path / "keys") == before


@pytest.mark.parametrize(
    ("others", "code"), [(False, "keys-elsewhere"), (True, "key-unwrap-failed")], ids=["no keys there", "other keys"]
)
def test_init_with_other_keys_is_refused_and_changes_nothing(tmp_path: Path, others: bool, code: str) -> None:
    made = init_home(load_settings({}, home=tmp_path / "home", keys=tmp_path / "keys"))
    if others:
        other = init_home(load_settings({}, home=tmp_path / "other", keys=tmp_path / "wrong"))
        Path(other["keys"]).rename(tmp_path / "wrong" / made["id"])
    before = contents(tmp_path)
    with pytest.raises(CasemateError) as refused:
        init_home(load_settings({}, home=tmp_path / "home", keys=tmp_path / "wrong"))
    assert refused.value.code == code
    after = {path: data for path, data in contents(tmp_path).items() if not path.endswith("/lock")}
    assert after == {path: data for path, data in before.items() if not path.endswith("/lock")}
