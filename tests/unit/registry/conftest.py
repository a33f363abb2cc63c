"""A real home for each test."""

from __future__ import annotations

from collections.abc import Iterator

import pytest
from registry_house import House, a_house


@pytest.fixture
def house(tmp_path) -> Iterator[House]:
    with a_house(tmp_path) as built:
        yield built
