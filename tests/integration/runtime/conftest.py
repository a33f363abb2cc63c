from __future__ import annotations

from pathlib import Path

import pytest
from models import Signer


@pytest.fixture(scope="session")
def signer(tmp_path_factory: pytest.TempPathFactory) -> Signer:
    folder: Path = tmp_path_factory.mktemp("keys")
    return Signer.at(folder)
