"""A confined process does its work, and each way of ending early has its own name."""

from __future__ import annotations

import os
import subprocess
import sys
import threading
from pathlib import Path

import pytest
from every_wall import FLOOR, WALLS

from casemate.core import digest_of
from casemate.core.errors import InputError, SandboxError
from casemate.core.sealed import SealedFile, memory_file, seal_bytes
from casemate.sandbox import Denial, ExitReason, Limits, Need, Walls, probe_walls, run_confined, spawn

HERE = Path(__file__).parent
SMALL = Limits(memory=128 << 20, wall_seconds=60, threads=32)


def is_gone(pid: int) -> bool:
    """Whether nothing of it runs any more."""
    try:
        return "State:\tZ" in Path(f"/proc/{pid}/status").read_text()
    except (FileNotFoundError, ProcessLookupError):
        return True


@pytest.mark.parametrize("walls", WALLS)
def test_echo_crosses_both_ways(walls):
    with spawn("guests:echo", limits=SMALL, walls=walls, paths=[HERE], args={"a": 1}) as cell:
        for number in range(3):
            cell.channel.send(number, [b"abc", bytes(3 << 20)])
            frame = cell.channel.recv(timeout=120)
            assert (frame.message["got"], frame.message["args"]) == (number, {"a": 1})
            assert frame.buffers == [b"abc", bytes(3 << 20)]
        assert Path(f"/proc/{cell.pid}/status").exists()
    assert cell.wait().reason is ExitReason.KILLED
    assert is_gone(cell.pid)


@pytest.mark.parametrize("walls", WALLS)
@pytest.mark.parametrize(
    ("entry", "limits", "reason"),
    [
        ("finish", {}, ExitReason.FINISHED),
        ("fail", {}, ExitReason.FAILED),
        ("leave", {}, ExitReason.FAILED),
        ("crash", {}, ExitReason.CRASHED),
        ("abort", {}, ExitReason.CRASHED),
        ("spin", {"cpu_seconds": 1}, ExitReason.CPU),
        ("spin_deaf", {"cpu_seconds": 1}, ExitReason.CPU),
        ("hang", {"wall_seconds": 1.0}, ExitReason.TIMEOUT),
        ("eat_memory", {}, ExitReason.MEMORY),
        ("eat_memory_natively", {}, ExitReason.MEMORY),
        ("eat_threads", {}, ExitReason.THREADS),
    ],
)
def test_each_end_has_its_reason(walls, entry, limits, reason):
    bounds = Limits(**{"memory": 128 << 20, "wall_seconds": 60, "threads": 32, **limits})
    with spawn(f"guests:{entry}", limits=bounds, walls=walls, paths=[HERE]) as cell:
        if entry == "eat_threads" and "cgroups" in cell.walls:
            assert cell.channel.recv(timeout=120).message["threads"] <= 32  # the kernel itself refuses the next
        else:
            assert cell.wait(30).reason is reason, cell.output


@pytest.mark.parametrize("walls", WALLS)
def test_sealed_files_are_opened_again_and_stay_sealed(walls):
    output = memory_file("answer")
    with seal_bytes([b"weights"]) as one, seal_bytes([b"x" * 100_000]) as other:
        before = (one.digest, other.digest)
        answer = run_confined(
            "guests:read_sealed", {"files": 2}, files=[one, other], outputs=[output], paths=[HERE], walls=walls
        )
        assert answer.message["texts"] == [[b"weights"] * 2, [b"x" * 100_000] * 2]
        assert answer.buffers == [b"a buffer"]
        assert (digest_of(one.read()), digest_of(other.read())) == before
    with SealedFile(output) as written:
        assert written.read() == b"written inside"


@pytest.mark.parametrize("name", ["\xff", "\x1cThreads:z", "\rThreads: z", "\nThreads: 1", ") S 1 (\xfe"])
def test_no_name_hides_what_a_process_uses(name):
    with spawn("guests:eat_threads_under_a_name", limits=SMALL, walls=FLOOR, paths=[HERE], args={"name": name}) as cell:
        assert cell.wait(30).reason is ExitReason.THREADS, cell.output


def test_job_may_refuse_its_input():
    with pytest.raises(InputError) as caught:
        run_confined("guests:refuse", None, paths=[HERE])
    assert (caught.value.code, caught.value.message) == ("bad-file", "The file is ?[31mmalformed.")


def test_code_that_is_none_is_not_passed_on():
    with pytest.raises(InputError) as caught:
        run_confined("guests:refuse_in_colour", None, paths=[HERE])
    assert caught.value.code == "sandbox-failed"


def test_job_cannot_speak_for_other_rooms():
    with pytest.raises(SandboxError) as caught:
        run_confined("guests:claim", None, paths=[HERE])
    assert caught.value.code == "sandbox-failed"


@pytest.mark.parametrize(
    ("name", "code"),
    [
        ("fail", "sandbox-failed"),
        ("finish", ""),
        ("leave", "sandbox-failed"),
        ("crash", "sandbox-crashed"),
        ("eat_memory", "sandbox-memory"),
        ("hang", "sandbox-timeout"),
        ("spin", "sandbox-cpu"),
    ],
)
def test_job_that_ends_early_says_why(name, code):
    limits = Limits(memory=128 << 20, cpu_seconds=1)
    seconds = 2.0 if name == "hang" else 30.0
    if not code:
        assert run_confined("guests:job_of", name, limits=limits, paths=[HERE], timeout=seconds).message is None
        return
    with pytest.raises(SandboxError) as caught:
        run_confined("guests:job_of", name, limits=limits, paths=[HERE], timeout=seconds)
    assert caught.value.code == code


def test_descriptor_from_a_cell_that_can_send_one_is_refused():
    """Where a report is made, the filter lets descriptors out."""
    with (
        spawn("guests:send_descriptor", limits=SMALL, walls=FLOOR, paths=[HERE], report=True) as cell,
        pytest.raises(SandboxError, match="sent a descriptor") as caught,
    ):
        cell.channel.recv(timeout=120)
    assert caught.value.code == "sandbox-protocol"


@pytest.mark.parametrize(
    ("entry", "code"),
    [
        ("send_descriptor", "sandbox-gone"),  # it may not, and ends
        ("send_rubbish", "sandbox-protocol"),
        ("close_socket_and_stay", "sandbox-gone"),
        ("finish", "sandbox-gone"),
        ("drip", "sandbox-timeout"),
        ("hang", "sandbox-timeout"),
    ],
)
def test_peer_that_breaks_the_protocol_is_named(entry, code):
    open_before = len(os.listdir("/proc/self/fd"))
    with spawn(f"guests:{entry}", limits=SMALL, walls=FLOOR, paths=[HERE]) as cell:
        with pytest.raises(SandboxError) as caught:
            cell.channel.recv(timeout=1)
        assert caught.value.code == code
    assert len(os.listdir("/proc/self/fd")) == open_before


def test_output_is_kept_to_a_bound():
    with spawn("guests:chatter", limits=SMALL, walls=FLOOR, paths=[HERE]) as cell:
        cell.wait(20)
    assert cell.output.endswith(b"last words\n")
    assert len(cell.output) <= 64 << 10


def test_output_without_end_waits_for_us_and_not_we_for_it():
    """It would use up its processor time, and as much of ours, if all of it were taken."""
    limits = Limits(memory=256 << 20, cpu_seconds=1, wall_seconds=4)
    with spawn("guests:chatter_without_end", limits=limits, walls=FLOOR, paths=[HERE]) as cell:
        assert cell.wait(60).reason is ExitReason.TIMEOUT


@pytest.mark.parametrize("walls", WALLS)
def test_report_names_what_was_refused(walls, tmp_path):
    secret, outside, folder = tmp_path / "kek.json", tmp_path / "outside", tmp_path / "output"
    secret.write_text("a key")
    outside.mkdir()
    folder.mkdir()
    args = {"secret": str(secret), "outside": str(outside), "folder": str(folder)}
    with spawn(
        "guests:attempts", limits=SMALL, walls=walls, writable=folder, paths=[HERE], report=True, args=args
    ) as cell:
        cell.channel.recv(timeout=120)
        seen = set(cell.denials)
    assert seen >= {
        Denial("socket", "AF_INET stream"),
        Denial("open", str(secret), "read"),
        Denial("open", "/etc/passwd", "read"),
        Denial("open", f"{outside}/planted", "write"),
        Denial("exec", "/bin/true"),
        Denial("signal", "kill"),
    }
    assert {denial.kind for denial in seen} == {"socket", "open", "exec", "signal", "fork"}
    assert {d.target for d in seen if d.kind == "open"} == {str(secret), "/etc/passwd", f"{outside}/planted"}
    assert (folder / "model").read_text() == "allowed"


def test_report_is_bounded(tmp_path):
    with spawn(
        "guests:many_attempts", limits=SMALL, walls=FLOOR, paths=[HERE], report=True, args={"outside": str(tmp_path)}
    ) as cell:
        cell.channel.recv(timeout=60)
        assert len(cell.denials) == 1000
    assert not list(tmp_path.iterdir())


@pytest.mark.parametrize("entry", ["no_such_module:run", "guests:no_such_function", "math"])
def test_entry_that_cannot_be_imported_is_named(entry):
    with pytest.raises(SandboxError) as caught:
        spawn(entry, limits=SMALL, walls=FLOOR, paths=[HERE])
    assert caught.value.code == "sandbox-start"
    assert entry in caught.value.message


def test_nothing_is_left_after_a_failed_start():
    before = (len(os.listdir("/proc/self/fd")), threading.active_count())
    for _ in range(3):
        with pytest.raises(SandboxError):
            spawn("no_such_module:run", limits=SMALL, paths=[HERE])
    assert (len(os.listdir("/proc/self/fd")), threading.active_count()) <= (before[0], before[1] + 1)


def test_cell_dies_with_its_parent():
    """Killed, not closed: the parent has no chance to tidy up."""
    program = (
        "import os, sys; from pathlib import Path; from casemate.sandbox import spawn\n"
        "cell = spawn('guests:hang', paths=[Path(sys.argv[1])])\n"
        "print(cell.pid, flush=True); os.kill(os.getpid(), 9)\n"
    )
    done = subprocess.run([sys.executable, "-c", program, HERE], capture_output=True, text=True, check=False)
    pid = int(done.stdout)
    for _ in range(500):
        if is_gone(pid):
            break
        threading.Event().wait(0.01)
    assert is_gone(pid)


def test_cell_outlives_the_thread_that_asked_for_it():
    found = []
    asker = threading.Thread(target=lambda: found.append(spawn("guests:echo", walls=FLOOR, paths=[HERE])))
    asker.start()
    asker.join()
    with found[0] as cell:
        cell.channel.send("still here")
        assert cell.channel.recv(timeout=120).message["got"] == "still here"


def test_doctor_finds_the_floor():
    walls = {status.name: status for status in probe_walls()}
    assert [name for name, status in walls.items() if status.floor] == ["privileges", "limits", "landlock", "seccomp"]
    assert all(status.present for status in walls.values() if status.floor)
    assert all(bool(status.mend) != status.present for status in walls.values())


def test_groups_are_removed():
    if "cgroups" not in {status.name for status in probe_walls() if status.present}:
        pytest.skip("no writable control group")
    with spawn("guests:echo", limits=SMALL, walls=Walls(cgroups=Need.REQUIRED), paths=[HERE]) as cell:
        mine = [line for line in Path(f"/proc/{cell.pid}/cgroup").read_text().splitlines() if "casemate" in line]
        assert mine
    assert not [found for found in groups() if found.name in mine[0]]


def test_groups_of_a_killed_supervisor_are_swept():
    if "cgroups" not in {status.name for status in probe_walls() if status.present}:
        pytest.skip("no writable control group")
    program = (
        "import os, sys; from pathlib import Path; from casemate.sandbox import spawn\n"
        "cell = spawn('guests:hang', paths=[Path(sys.argv[1])])\n"
        "print(os.getpid(), cell.pid, flush=True); os.kill(os.getpid(), 9)\n"
    )
    done = subprocess.run([sys.executable, "-c", program, HERE], capture_output=True, text=True, check=False)
    killed, confined = map(int, done.stdout.split())
    while not is_gone(confined):
        threading.Event().wait(0.01)
    assert [found for found in groups() if found.name.startswith(f"casemate_{killed}_")]
    spawn("guests:echo", limits=SMALL, walls=Walls(cgroups=Need.REQUIRED), paths=[HERE]).__exit__()
    assert not [found for found in groups() if found.name.startswith(f"casemate_{killed}_")]


def groups() -> list[Path]:
    return list(Path("/sys/fs/cgroup").rglob("casemate_*"))
