"""Real servers and tokens that hold keys; documented shapes of those that no emulator stands for."""

from collections.abc import Iterator

import pytest
from documented_google_kms import GoogleKms
from documented_key_vault import KeyVault
from real_bao import bao
from real_hsm import hsm
from real_kms import kms

__all__ = ["bao", "google_kms", "hsm", "key_vault", "kms"]


@pytest.fixture(scope="session")
def google_kms(tmp_path_factory: pytest.TempPathFactory) -> Iterator[GoogleKms]:
    """One server for all tests of a process."""
    with pytest.MonkeyPatch.context() as patch:
        service = GoogleKms(tmp_path_factory.mktemp("google"))
        patch.setenv("REQUESTS_CA_BUNDLE", str(service.server.ca))  # as Google's client finds it
        yield service
        service.server.stop()


@pytest.fixture(scope="session")
def key_vault(tmp_path_factory: pytest.TempPathFactory) -> Iterator[KeyVault]:
    """One server for all tests of a process, under the names that Microsoft's client accepts."""
    with pytest.MonkeyPatch.context() as patch:
        service = KeyVault(tmp_path_factory.mktemp("azure"), patch)
        yield service
        service.server.stop()
