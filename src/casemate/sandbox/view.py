"""What a confined process can read: the interpreter, the libraries, this package, and facts about the machine.

Nothing of a home folder, no keys, no /etc but the linker's cache and the time zone, no other process.
"""

from __future__ import annotations

import sys
import sysconfig
from collections.abc import Sequence
from pathlib import Path

import casemate

# Facts that the C library, OpenMP, OpenBLAS and onnxruntime read to size their pools.
_MACHINE = (
    "/proc/cpuinfo",
    "/proc/meminfo",
    "/proc/stat",
    "/proc/sys/vm/overcommit_memory",
    "/sys/devices/system/cpu",
    "/sys/devices/system/node",
    "/sys/kernel/mm/transparent_hugepage",
)
# Of itself; not the whole folder, whose `net`, `environ` and `mountinfo` tell of the host. `fd` lets it list its own.
ITSELF = tuple(f"/proc/self/{name}" for name in ("cgroup", "cmdline", "fd", "maps", "stat", "statm", "status"))
_SYSTEM = (
    "/lib",
    "/lib64",
    "/usr/lib",
    "/usr/lib64",
    "/usr/local/lib",
    "/usr/share/zoneinfo",
    "/etc/ld.so.cache",
    "/etc/localtime",
)
# What the libraries of graphics processors read to find them, where a process may use devices.
DEVICE_FACTS = (
    "/proc/devices",
    "/proc/driver/nvidia",
    "/sys/bus/pci",
    "/sys/class/drm",
    "/sys/class/kfd",
    "/sys/devices/pci0000:00",
)
_DEVICES = ("/dev/urandom", "/dev/random")
DEV_NULL = "/dev/null"  # the one device that may be written


def installed_paths() -> list[str]:
    """The interpreter's library, its site-packages and this package, as real paths."""
    found = sysconfig.get_paths()
    names = [found[key] for key in ("stdlib", "platstdlib", "purelib", "platlib")]
    names += [str(sysconfig.get_config_var("LIBDIR") or ""), f"{sys.prefix}/pyvenv.cfg", *casemate.__path__]
    return _outermost([str(Path(name).resolve()) for name in names if name])


def system_paths() -> list[str]:
    """The system's libraries and time zones, as named (some are links)."""
    return [path for path in _SYSTEM if Path(path).exists()]


def readable_paths(extra: Sequence[Path] = ()) -> list[str]:
    """All that Landlock lets a confined process read."""
    return [
        *installed_paths(),
        *(str(path.resolve()) for path in extra),
        *_SYSTEM,
        *_MACHINE,
        *ITSELF,
        *_DEVICES,
    ]


def _outermost(paths: list[str]) -> list[str]:
    """Without duplicates and without what lies beneath another."""
    kept: list[str] = []
    for path in sorted(set(paths)):
        if not (kept and Path(path).is_relative_to(kept[-1])):
            kept.append(path)
    return kept
