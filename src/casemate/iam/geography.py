"""What an operator's file in MaxMind's format knows of networks: place, country or autonomous system.

Read by the format's own library in pure Python, so that no native parser of foreign bytes runs beside the keys.
"""

from __future__ import annotations

import math
import stat
from functools import lru_cache
from pathlib import Path
from typing import Any

from casemate.core import InputError, StorageError

FAR = 500.0  # km: further than a city database is usually wrong by, and than anybody moves in ten minutes
_EARTH = 6371.0  # km, mean radius


class GeographyFile:
    """Answers `far` from a file that stays open. Where it knows the place that decides, else the country, else the system."""

    def __init__(self, path: Path) -> None:
        """Raises: StorageError `missing-extra`, `open-to-others`, `secret-missing`; InputError `bad-networks-file`."""
        try:
            import maxminddb
        except ImportError as error:
            raise StorageError(
                "The setting networks needs the package maxminddb: install casemate[geo], as docs/unfamiliar-use.md says.",
                code="missing-extra",
            ) from error
        try:
            if stat.S_IMODE(path.stat().st_mode) & 0o022:
                raise StorageError(f"Others may alter {path}: run chmod go-w {path}", code="open-to-others")
            self._reader = maxminddb.open_database(str(path), maxminddb.MODE_MMAP)
        except (OSError, ValueError, maxminddb.InvalidDatabaseError) as error:
            raise InputError(
                f"{path} cannot be read as a file of networks in MaxMind's format: give another, or unset networks.",
                code="bad-networks-file",
            ) from error
        self._about = lru_cache(maxsize=8192)(self._look_up)

    def far(self, one: str, other: str) -> bool | None:
        """Whether two prefixes lie apart; None: the file does not know both alike."""
        first, second = self._about(one), self._about(other)
        if first["place"] and second["place"]:
            return _distance(first["place"], second["place"]) > FAR
        for name in ("country", "system"):
            if first[name] and second[name]:
                return bool(first[name] != second[name])
        return None

    def _look_up(self, prefix: str) -> dict[str, Any]:
        try:
            found = self._reader.get(prefix.partition("/")[0])
        except Exception:  # noqa: BLE001 a broken file knows nothing; the rule by prefix stands
            found = None
        about = found if isinstance(found, dict) else {}
        location, country = _part(about, "location"), _part(about, "country")
        place = (location.get("latitude"), location.get("longitude"))
        return {
            "place": place if all(isinstance(one, float | int) for one in place) else None,
            "country": country.get("iso_code"),
            "system": about.get("autonomous_system_number"),
        }


def _part(about: dict[str, Any], name: str) -> dict[str, Any]:
    found = about.get(name)
    return found if isinstance(found, dict) else {}


def _distance(one: tuple[float, float], other: tuple[float, float]) -> float:
    """Great-circle distance in km. Source: haversine formula."""
    (a, b), (c, d) = (map(math.radians, place) for place in (one, other))
    half = math.sin((c - a) / 2) ** 2 + math.cos(a) * math.cos(c) * math.sin((d - b) / 2) ** 2
    return 2 * _EARTH * math.asin(min(1.0, math.sqrt(half)))
