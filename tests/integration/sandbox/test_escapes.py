"""Hostile code inside a cell: every attempt to get out must be stopped, on the floor alone and with namespaces."""

from __future__ import annotations

import ctypes
import os
import socket
from pathlib import Path

import hostile
import pytest

from casemate.sandbox import Cell, Limits, Need, Walls, spawn

HERE = Path(__file__).parent
LIMITS = Limits(memory=256 << 20, cpu_seconds=20, wall_seconds=60, threads=32)
FLOOR = Walls(namespaces=Need.NEVER, cgroups=Need.NEVER)
SEALED_OFF = Walls(namespaces=Need.REQUIRED)

# Without walls these get through on an ordinary machine, as anybody: the control that proves the probes bite.
CONTROLS = """
    exec_program exec_shell fork clone_process fork_bomb memory_file socket_inet socket_unix socket_netlink connect
    socket_pair abstract_socket parent_environment parent_root list_processes kill_parent pidfd_parent open_passwd
    open_keys open_home open_by_symlink_of_ours open_by_found_symlink hard_link rename_out dots write_outside
    change_mode change_times undo_parent_death hide_from_supervisor shared_memory system_v_memory posix_shared_memory
    fill_tmp watch_files network_facts older_thread
""".split()  # noqa: SIM905

# Those whose calls a report passes by the supervisor.
REPORTED = """
    exec_program exec_in_place fork clone_process socket_inet connect trace_parent kill_parent open_keys cut_off_library
    write_outside open_by_found_symlink parent_mem_file mount bpf
""".split()  # noqa: SIM905


class Outside:
    """What a prisoner would like to reach, all of it within reach of the user who runs this."""

    def __init__(self, folder: Path, listener: socket.socket, abstract: str) -> None:
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
        self.listener, self.abstract = listener, abstract

    def given(self, probe: str) -> dict[str, object]:
        return {
            "probe": probe,
            "parent": os.getpid(),
            "address": ctypes.addressof(self.memory),
            "port": self.listener.getsockname()[1],
            "abstract": self.abstract,
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
    abstract = f"casemate-test-{os.getpid()}"
    with socket.socket() as listener, socket.socket(socket.AF_UNIX) as unix:
        listener.bind(("127.0.0.1", 0))
        listener.listen()
        unix.bind("\0" + abstract)
        unix.listen()
        made = Outside(tmp_path, listener, abstract)
        monkeypatch.setenv("CASEMATE_CANARY", made.canary)
        yield made


def stopped(outside: Outside, cell: Cell) -> None:
    answer = cell.channel.recv(timeout=30).message
    assert not answer["escaped"], answer["escaped"]
    assert outside.secret.read_text() == "a key"
    assert outside.secret.stat().st_mode & 0o777 == 0o600
    assert (outside.shown / "data").read_text() == "may be read"
    assert not list(outside.outside.iterdir())
    assert not [found for found in outside.writable.iterdir() if found.is_symlink() or found.stat().st_nlink > 1]


@pytest.mark.parametrize("probe", sorted(hostile.PROBES))
def test_floor_alone_stops(outside, probe):
    with outside.cell(probe, walls=FLOOR) as cell:
        assert cell.walls == ("privileges", "limits", "landlock", "seccomp")
        stopped(outside, cell)


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


@pytest.mark.parametrize("probe", CONTROLS)
def test_probe_gets_out_where_no_walls_stand(outside, probe):
    with outside.cell(probe) as cell:
        assert cell.walls == ()
        assert cell.channel.recv(timeout=30).message["escaped"]
