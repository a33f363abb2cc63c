"""The graphics processors of this machine, as the device nodes that a training script would need."""

from __future__ import annotations

import stat
from pathlib import Path

from casemate.core import InputError

# NVIDIA's, AMD's, and what renders for any other: never those that drive a screen.
_NODES = ("nvidia[0-9]*", "nvidiactl", "nvidia-uvm", "nvidia-uvm-tools", "kfd", "dri/renderD*")
_ALONE = frozenset({"nvidiactl", "nvidia-uvm", "nvidia-uvm-tools"})  # without a processor beside them, of no use


def find_gpus(devices: Path = Path("/dev")) -> list[Path]:
    """Raises: InputError `no-gpu`."""
    nodes = [node for pattern in _NODES for node in sorted(devices.glob(pattern)) if _is_device(node)]
    if all(node.name in _ALONE for node in nodes):
        raise InputError(
            "This machine has no graphics processor that a script could use (no /dev/nvidia0, /dev/kfd or "
            "/dev/dri/renderD128): train without --gpu, or where there is one.",
            code="no-gpu",
        )
    return nodes


def _is_device(node: Path) -> bool:
    return stat.S_ISCHR(node.lstat().st_mode)
