"""Namespaces through bubblewrap, where it is installed and works: the host's other files, processes, network and user
ids are not refused but absent. The floor is raised inside all the same.
"""

from __future__ import annotations

import os
import shutil
import subprocess
import sys
from collections.abc import Sequence
from functools import cache
from pathlib import Path

from casemate.sandbox.view import DEVICE_FACTS, installed_paths, system_paths

_PROBE_SECONDS = 10.0


def find_bubblewrap() -> str | None:
    """Its path, from the system's folders only."""
    return shutil.which("bwrap", path="/usr/bin:/bin:/usr/local/bin")


def bubblewrap_command(
    program: str, *, extra: Sequence[str], writable: str | None, devices: Sequence[str] = ()
) -> list[str]:
    """What to put before the command of the child.

    Args: extra: further folders to show, read-only. writable: the folder to show as it is. devices: nodes to show.
    """
    command = [program, "--unshare-all", "--unshare-user", "--disable-userns", "--die-with-parent", "--new-session"]
    command += ["--cap-drop", "ALL", "--hostname", "casemate"]
    command += ["--tmpfs", "/tmp", "--proc", "/proc", "--dev", "/dev"]  # noqa: S108 its own, new and empty
    for path in system_paths():
        command += _shown(path)
    for path in ("/sys/devices/system/cpu", "/sys/devices/system/node", *installed_paths(), *extra):
        command += ["--ro-bind-try", path, path]
    command += _interpreter()
    if writable:
        command += ["--bind", writable, writable]
    for device in devices:
        command += ["--dev-bind", device, device]
    for path in (path for path in DEVICE_FACTS if devices and path.startswith("/sys/")):
        command += ["--ro-bind-try", path, path]
    return [*command, "--remount-ro", "/", "--chdir", "/", "--"]


@cache
def why_no_bubblewrap() -> str:
    """Empty when it works here; else what is in the way. Tried once per process."""
    program = find_bubblewrap()
    if program is None:
        return "bwrap is not installed"
    command = [*bubblewrap_command(program, extra=(), writable=None), sys.executable, "-I", "-S", "-c", "pass"]
    try:
        done = subprocess.run(  # noqa: S603 our own command
            command, env={}, stdin=subprocess.DEVNULL, capture_output=True, timeout=_PROBE_SECONDS, check=False
        )
    except (OSError, subprocess.TimeoutExpired) as error:
        return f"bwrap does not run: {error}"
    said = done.stderr.decode(errors="replace").strip()[:200]
    return "" if done.returncode == 0 else f"bwrap fails: {said or done.returncode}"


def _shown(path: str) -> list[str]:
    """Show a system path; a link such as /lib -> usr/lib stays a link."""
    if Path(path).is_symlink() and path.count("/") == 1:
        return ["--symlink", os.readlink(path), path]  # noqa: PTH115 the text of the link, as it stands
    return ["--ro-bind", path, path]


def _interpreter() -> list[str]:
    """The one program, under the name by which it finds its environment."""
    real = os.path.realpath(sys.executable)
    arguments = ["--ro-bind", real, real]
    if real != sys.executable:
        arguments += ["--symlink", real, sys.executable]
    home = Path(sys.prefix) / "lib64"
    if home.is_symlink():
        arguments += ["--symlink", os.readlink(home), str(home)]  # noqa: PTH115
    return arguments
