"""A token of SoftHSM, whose library runs in the process that uses it."""

from __future__ import annotations

import subprocess
from collections.abc import Iterator
from pathlib import Path

import pytest
from real_bao import secret_file

PIN = "planted-pin-4711"
_CONF = "directories.tokendir = {}\nobjectstore.backend = file\nlog.level = ERROR\n"
_PLACES = ("/usr/lib/softhsm/libsofthsm2.so", "/usr/lib64/softhsm/libsofthsm2.so", "/usr/lib64/pkcs11/libsofthsm2.so")


class Hsm:
    """One token. Its folder stands for the device: moved away, the token is pulled out."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        self.tokens, self._away = folder / "tokens", folder / "away"
        self.tokens.mkdir()
        (folder / "softhsm2.conf").write_text(_CONF.format(self.tokens))
        label = ["--label", "casemate", "--pin", PIN, "--so-pin", "so-pin"]
        subprocess.run(["softhsm2-util", "--init-token", "--free", *label], check=True, stdout=subprocess.DEVNULL)
        secret_file(folder / "pin", PIN)

    def settings(self) -> dict[str, str]:
        module = next(place for place in _PLACES if Path(place).exists())
        return {"module": module, "token": "casemate", "pin_file": str(self.folder / "pin")}

    def pull(self) -> None:
        self.tokens.rename(self._away)

    def put_back(self) -> None:
        if self._away.exists():
            self._away.rename(self.tokens)


@pytest.fixture(scope="session")
def hsm(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Hsm]:
    """One token for all tests of a process; its configuration is in the environment, as the library finds it."""
    folder = tmp_path_factory.mktemp("hsm")
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("SOFTHSM2_CONF", str(folder / "softhsm2.conf"))
        yield Hsm(folder)
