from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import pytest
from log_house import LogHouse, log_house


@pytest.fixture
def house(tmp_path: Path) -> Iterator[LogHouse]:
    made = log_house(tmp_path)
    yield made
    made.engine.dispose()
