"""An operator's file of networks: place, then country, then system; what is broken or open to others is refused."""

from __future__ import annotations

from pathlib import Path

import pytest
from tiny_networks import networks_file

from casemate.core import CasemateError
from casemate.iam import GeographyFile

BERLIN, PARIS, POTSDAM = ({"latitude": a, "longitude": b} for a, b in ((52.52, 13.4), (48.86, 2.35), (52.4, 13.06)))
ENTRIES = {
    "198.51.100.0/24": {"location": BERLIN, "country": {"iso_code": "DE"}},
    "203.0.113.0/24": {"location": PARIS, "country": {"iso_code": "FR"}},
    "192.0.2.0/24": {"location": POTSDAM, "country": {"iso_code": "DE"}},
    "198.18.0.0/24": {"country": {"iso_code": "DE"}},
    "198.19.0.0/24": {"country": {"iso_code": "US"}},
    "100.64.0.0/24": {"autonomous_system_number": 64500},
    "100.65.0.0/24": {"autonomous_system_number": 64501},
    "100.66.0.0/24": {"autonomous_system_number": 64500, "location": "odd"},
}


@pytest.fixture
def path(tmp_path: Path) -> Path:
    path = tmp_path / "networks.mmdb"
    path.write_bytes(networks_file(ENTRIES))
    path.chmod(0o644)
    return path


@pytest.mark.parametrize(
    ("one", "other", "far"),
    [
        ("198.51.100.0/24", "203.0.113.0/24", True),  # 880 km
        ("198.51.100.0/24", "192.0.2.0/24", False),  # 27 km
        ("198.51.100.0/24", "198.18.0.0/24", False),  # the country is all that both have
        ("198.51.100.0/24", "198.19.0.0/24", True),
        ("100.64.0.0/24", "100.65.0.0/24", True),
        ("100.64.0.0/24", "100.66.0.0/24", False),
        ("100.64.0.0/24", "198.18.0.0/24", None),
        ("198.51.100.0/24", "8.8.8.0/24", None),
        ("198.51.100.0/24", "2001:db8::/48", None),
    ],
)
def test_the_best_that_is_known_of_both_decides(path: Path, one: str, other: str, far: bool | None) -> None:
    file = GeographyFile(path)
    assert (file.far(one, other), file.far(other, one)) == (far, far)


def test_no_native_parser_reads_it(path: Path) -> None:
    assert type(GeographyFile(path)._reader).__module__ == "maxminddb.reader"


@pytest.mark.parametrize("spoil", [lambda data: b"", lambda data: data[:40], lambda data: b"not a database" * 100])
def test_a_broken_file_stops_the_start(path: Path, spoil) -> None:
    path.write_bytes(spoil(path.read_bytes()))
    with pytest.raises(CasemateError) as refused:
        GeographyFile(path)
    assert refused.value.code == "bad-networks-file"


def test_a_missing_file_or_one_that_others_may_alter_stops_the_start(path: Path) -> None:
    path.chmod(0o666)
    with pytest.raises(CasemateError) as refused:
        GeographyFile(path)
    assert (refused.value.code, "chmod go-w" in refused.value.message) == ("open-to-others", True)
    with pytest.raises(CasemateError) as refused:
        GeographyFile(path.with_name("nothing"))
    assert refused.value.code == "bad-networks-file"


def test_a_missing_package_is_one_sentence(path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(__import__("sys").modules, "maxminddb", None)
    with pytest.raises(CasemateError) as refused:
        GeographyFile(path)
    assert (refused.value.code, "casemate[geo]" in refused.value.message) == ("missing-extra", True)
