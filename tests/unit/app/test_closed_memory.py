"""A keeper as it is started: it serves, leaves no core, and is closed to tracing."""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path

import msgspec
import pytest

from casemate.app.local import init_home
from casemate.settings import load_settings

# The keeper's own process, which a thread of ours asks the kernel about once it serves.
WATCHED = """
import ctypes, os, resource, signal, sys, threading, time
from pathlib import Path
from casemate.app import processes
from casemate.core.wire import Caller, is_served

def watch(socket):
    while not is_served(socket):
        time.sleep(0.02)
    caller = Caller(socket)
    assert caller.call("keys.public_pem", "release")
    caller.close()
    print("dumpable", ctypes.CDLL(None).prctl(3, 0, 0, 0, 0), "core", *resource.getrlimit(resource.RLIMIT_CORE))
    sys.stdout.flush()
    os.kill(os.getpid(), signal.SIGTERM)

threading.Thread(target=watch, args=(Path(sys.argv[2]),), daemon=True).start()
sys.exit(processes.main())
"""


def test_a_keeper_is_closed_and_serves(tmp_path: Path) -> None:
    settings = load_settings({}, home=tmp_path / "home", keys=tmp_path / "keys")
    init_home(settings)
    done = subprocess.run(
        [sys.executable, "-c", WATCHED, "keeper", str(settings.home / "run" / "keeper.sock")],
        input=msgspec.json.encode(settings, enc_hook=str),
        capture_output=True,
        timeout=300,
        check=False,
    )
    assert done.returncode == 0, done.stderr
    lines = {
        line for line in done.stdout.decode().splitlines() if not line.startswith("progress ")
    }  # two threads write them, in either order
    assert lines in ({"ready", "dumpable 0 core 1 1"}, {"ready", "dumpable 0 core 0 0"})


@pytest.mark.parametrize("limit", ["1", "0"])
def test_no_core_is_left(limit: str, tmp_path: Path) -> None:
    lower = "" if limit == "1" else "resource.setrlimit(resource.RLIMIT_CORE, (0, 0));"
    code = f"import os, resource; {lower}from casemate.core import forbid_core_dumps; forbid_core_dumps()"
    code += f"; assert resource.getrlimit(resource.RLIMIT_CORE) == ({limit}, {limit}); os.abort()"
    with subprocess.Popen([sys.executable, "-c", code], cwd=tmp_path) as process:
        _, status = os.waitpid(process.pid, 0)
        process.returncode = os.waitstatus_to_exitcode(status)
    assert (os.WIFSIGNALED(status), os.WCOREDUMP(status)) == (True, False)
    assert not list(tmp_path.iterdir())
