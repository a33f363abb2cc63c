from __future__ import annotations

import os
from pathlib import Path

import pytest

from casemate.core import InputError
from casemate.runtime import find_gpus, gpus


def test_what_is_there_is_found_by_its_nodes(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    (tmp_path / "dri").mkdir()
    for name in ("nvidia0", "nvidiactl", "nvidia-uvm", "dri/renderD128", "dri/card0", "nvidiax"):
        (tmp_path / name).touch()
    with pytest.raises(InputError):
        find_gpus(tmp_path)  # plain files of such names
    monkeypatch.setattr(gpus, "_is_device", os.path.exists)
    found = [str(node.relative_to(tmp_path)) for node in find_gpus(tmp_path)]
    assert found == ["nvidia0", "nvidiactl", "nvidia-uvm", "dri/renderD128"]


def test_a_driver_without_a_processor_is_none(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    (tmp_path / "nvidiactl").touch()
    monkeypatch.setattr(gpus, "_is_device", os.path.exists)
    with pytest.raises(InputError) as refused:
        find_gpus(tmp_path)
    assert refused.value.code == "no-gpu"
