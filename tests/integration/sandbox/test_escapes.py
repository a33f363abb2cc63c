"""Hostile code inside a cell: every attempt to get out must be stopped, on the floor alone and with namespaces."""

from __future__ import annotations

import ctypes
import json
import os
import socket
import subprocess
import sys
from pathlib import Path

import hostile
import pytest

from casemate.sandbox import Cell, ExitReason, Limits, Need, Walls, spawn

HERE = Path(__file__).parent
LIMITS = Limits(memory=256 << 20, cpu_seconds=20, wall_seconds=60, threads=32)
FLOOR = Walls(namespaces=Need.NEVER, cgroups=Need.NEVER)
SEALED_OFF = Walls(namespaces=Need.REQUIRED)

# What stops a probe on the floor alone, as the kernel names it; anything else would be another reason than a wall.
STOPPED_BY = {"EPERM", "EACCES", "ENOSYS", "EXDEV"}
CONNECTED = "EISCONN"  # the one socket of a cell: the kernel sends from it to nobody but us
ON_ITS_SOCKET = ("send_to_abstract", "park_descriptors")  # which is ours at the other end
INHERITED = ("inherited_descriptors", "inherited_environment")  # a cell drops them before any wall
# What the kernel says of a feature that it was built without: then the probe proves nothing here, and says so.
ABSENT = {"ENOSYS", "EAFNOSUPPORT", "EOPNOTSUPP"}

STATUS = Path("/proc/self/status").read_text()
SYS_ADMIN = 21
OF_ROOT = ("mount", "unshare", "join_namespace", "socket_packet", "capabilities")
LOCKED = {  # probe: setting of the kernel, its values under which an ordinary user may
    "bpf": ("kernel/unprivileged_bpf_disabled", "0"),
    "perf": ("kernel/perf_event_paranoid", "-1", "0", "1", "2"),
    "io_uring": ("kernel/io_uring_disabled", "0", ""),
    "clone_namespace": ("kernel/unprivileged_userns_clone", "1", ""),
    "clone3_namespace": ("kernel/unprivileged_userns_clone", "1", ""),
    "trace_parent": ("kernel/yama/ptrace_scope", "0", ""),
    "read_parent_memory": ("kernel/yama/ptrace_scope", "0", ""),
    "parent_mem_file": ("kernel/yama/ptrace_scope", "0", ""),
}

# Those whose calls a report passes by the supervisor.
REPORTED = """
    exec_program exec_in_place fork clone_process socket_inet connect trace_parent kill_parent open_keys cut_off_library
    write_outside open_by_found_symlink parent_mem_file mount bpf
""".split()  # noqa: SIM905


class Outside:
    """What a prisoner would like to reach, all of it within reach of the user who runs this."""

    def __init__(self, folder: Path, listener: socket.socket, abstract: str, datagrams: str) -> None:
        self.canary = "canary-in-the-environment"
        self.secret = folder / "keys" / "kek.json"
        self.outside, self.writable, self.shown = folder / "outside", folder / "output", folder / "shown"
        for made in (self.secret.parent, self.outside, self.writable, self.shown):
            made.mkdir()
        self.secret.write_text("a key")
        self.secret.chmod(0o600)
        (self.shown / "data").write_text("may be read")
        (self.shown / "link").symlink_to(self.secret)
        self.memory = ctypes.create_string_buffer(b"secrets!")
        self.listener, self.abstract, self.datagrams = listener, abstract, datagrams

    def given(self, probe: str) -> dict[str, object]:
        return {
            "probe": probe,
            "parent": os.getpid(),
            "address": ctypes.addressof(self.memory),
            "port": self.listener.getsockname()[1],
            "abstract": self.abstract,
            "datagrams": self.datagrams,
            "canary": self.canary,
            "secret": str(self.secret),
            "home": str(Path.home()),
            "writable": str(self.writable),
            "outside": str(self.outside),
            "readable": str(self.shown / "data"),
            "link": str(self.shown / "link"),
            "out": 1,
        }

    def cell(self, probe: str, *, walls: Walls | None = None, report: bool = False) -> Cell:
        return spawn(
            "hostile:run",
            limits=LIMITS,
            walls=walls,
            writable=self.writable,
            paths=[HERE, self.shown],
            report=report,
            args=self.given(probe),
            insecure=walls is None,
        )


@pytest.fixture
def outside(tmp_path, monkeypatch):
    abstract, datagrams = f"casemate-test-{os.getpid()}", f"casemate-test-datagrams-{os.getpid()}"
    with (
        socket.socket() as listener,
        socket.socket(socket.AF_UNIX) as unix,
        socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM) as receiver,
    ):
        listener.bind(("127.0.0.1", 0))
        listener.listen()
        unix.bind("\0" + abstract)
        unix.listen()
        receiver.bind("\0" + datagrams)
        made = Outside(tmp_path, listener, abstract, datagrams)
        monkeypatch.setenv("CASEMATE_CANARY", made.canary)
        yield made


def stopped(outside: Outside, cell: Cell) -> str:
    """What stopped it; nothing outside was touched."""
    answer = cell.channel.recv(timeout=120).message
    assert not answer["escaped"], answer["escaped"]
    assert outside.secret.read_text() == "a key"
    assert outside.secret.stat().st_mode & 0o777 == 0o600
    assert (outside.shown / "data").read_text() == "may be read"
    assert not list(outside.outside.iterdir())
    assert not [found for found in outside.writable.iterdir() if found.is_symlink() or found.stat().st_nlink > 1]
    return answer["errno"]


@pytest.mark.parametrize("probe", sorted(hostile.PROBES))
def test_floor_alone_stops(outside, probe):
    with outside.cell(probe, walls=FLOOR) as cell:
        assert cell.walls == ("privileges", "limits", "landlock", "seccomp")
        assert stopped(outside, cell) in ({CONNECTED} if probe == "send_to_abstract" else STOPPED_BY)


@pytest.mark.program("bwrap")
@pytest.mark.parametrize("probe", sorted(hostile.PROBES))
def test_floor_with_namespaces_stops(outside, probe):
    with outside.cell(probe, walls=SEALED_OFF) as cell:
        assert "namespaces" in cell.walls
        stopped(outside, cell)


@pytest.mark.parametrize("probe", REPORTED)
def test_reporting_opens_no_hole(outside, probe):
    with outside.cell(probe, walls=FLOOR, report=True) as cell:
        stopped(outside, cell)


@pytest.mark.parametrize("probe", sorted({*hostile.PROBES} - {*INHERITED, *ON_ITS_SOCKET, "exec_in_place"}))
def test_probe_gets_out_where_no_walls_stand(outside, probe):
    """The control that proves the probe bites, or a reason why this machine has none, found out beforehand."""
    if why := lacking(probe):
        pytest.skip(why)
    with outside.cell(probe) as cell:
        assert cell.walls == ()
        answer = cell.channel.recv(timeout=120).message
    if answer.get("errno") in ABSENT:
        pytest.skip(f"this kernel was built without it: {answer['stopped']}")
    assert answer["escaped"], answer["stopped"]


def test_program_takes_the_place_of_a_cell_where_no_walls_stand(outside):
    with outside.cell("exec_in_place") as cell:
        assert cell.wait(30).reason is ExitReason.FINISHED
        assert cell.output == b"!"


@pytest.mark.parametrize("probe", INHERITED)
def test_ordinary_child_inherits_what_a_cell_does_not(outside, probe):
    command = "import hostile, json, sys; print(hostile.attempt(json.loads(sys.argv[1]))['escaped'])"
    given = json.dumps({**outside.given(probe), "sock": 0})
    inherited = [outside.listener.fileno()]
    child = subprocess.run(
        [sys.executable, "-c", command, given], cwd=HERE, pass_fds=inherited, capture_output=True, check=True
    )
    assert (b"socket:[" if probe == "inherited_descriptors" else b"CASEMATE_CANARY") in child.stdout


@pytest.mark.parametrize("probe", ON_ITS_SOCKET)
def test_socket_of_another_kind_would_send_to_anybody(outside, probe):
    one, other = socket.socketpair(socket.AF_UNIX, socket.SOCK_DGRAM)
    with one, other:
        answer = hostile.attempt({**outside.given(probe), "sock": one.fileno()})
    assert answer["escaped"], answer["stopped"]


def lacking(probe: str) -> str:
    """Why even a process without our walls cannot do this on this machine, to this user; empty when it can."""
    if probe in OF_ROOT and not is_capable(SYS_ADMIN):
        return "wants CAP_SYS_ADMIN, which these tests run without"
    if probe in LOCKED and not is_capable(SYS_ADMIN) and kernel_says((lock := LOCKED[probe])[0]) not in lock[1:]:
        return f"{lock[0]} forbids it to ordinary users here"
    if probe == "new_privileges" and "NoNewPrivs:\t1" in STATUS:
        return "these tests run under no_new_privs themselves"
    if probe in vars(hostile.kernel) and "Seccomp:\t0" not in STATUS:
        return "these tests run under a filter of system calls themselves"
    return ""


def is_capable(capability: int) -> bool:
    held = next(line for line in STATUS.splitlines() if line.startswith("CapEff:"))
    return bool(int(held.split()[1], 16) >> capability & 1)


def kernel_says(setting: str) -> str:
    """Empty where the kernel has no such setting."""
    file = Path("/proc/sys", setting)
    return file.read_text().strip() if file.exists() else ""
