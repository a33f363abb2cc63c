"""Hostile code for the escape tests: each probe returns evidence when it got out, and raises when it was stopped.

Runs inside a cell, and (as a control, without walls) outside of one. Standard library only.
"""
# ruff: noqa: PTH104, PTH101, PTH115 these are the calls of an attacker, made as the kernel names them

from __future__ import annotations

import array
import ctypes
import errno
import fcntl
import os
import platform
import signal
import socket
import struct
import subprocess
import sys
import threading
from pathlib import Path

_LIBC = ctypes.CDLL(None, use_errno=True)
_NUMBERS = {  # name: (x86_64, aarch64)
    "ptrace": (101, 117), "process_vm_readv": (310, 270), "mount": (165, 40), "unshare": (272, 97), "setns": (308, 268),
    "keyctl": (250, 219), "add_key": (248, 217), "bpf": (321, 280), "io_uring_setup": (425, 425), "kill": (62, 129),
    "perf_event_open": (298, 241), "userfaultfd": (323, 282), "memfd_create": (319, 279), "setuid": (105, 146),
    "clone3": (435, 435), "shmget": (29, 194), "inotify_add_watch": (254, 27), "pidfd_open": (434, 434),
    "memfd_secret": (447, 447), "seccomp": (317, 277), "personality": (135, 92), "capset": (126, 91),
    "name_to_handle_at": (303, 264), "clone": (56, 220),
}  # fmt: skip
_COLUMN = 0 if platform.machine() == "x86_64" else 1


def _call(name: str, *args: object) -> int:
    plain = [ctypes.c_long(a) if isinstance(a, int) else a for a in args]
    result = _LIBC.syscall(ctypes.c_long(_NUMBERS[name][_COLUMN]), *plain)
    if result < 0:
        raise OSError(ctypes.get_errno(), name)
    return result


def _read(path: str) -> str:
    return f"read {len(Path(path).read_bytes())} bytes of {path}"


def exec_program(given):
    return f"ran: {subprocess.run(['/bin/true'], check=False)}"


def exec_shell(given):
    if os.system("true"):
        raise PermissionError
    return "a shell ran"


def exec_in_place(given):
    os.execv(sys.executable, [sys.executable, "-c", f"import os; os.write({given['out']}, b'!')"])


def exec_from_memory(given):
    fd = os.memfd_create("program")
    os.write(fd, Path("/bin/true").read_bytes())
    if pid := os.fork():
        return f"a program ran from memory: {os.waitpid(pid, 0)}"
    return os.execve(fd, ["true"], {})


def memory_file(given):
    fd = os.memfd_create("hoard")
    return f"a memory file that no limit counts: {os.write(fd, bytes(100))}"


def fork(given):
    if os.fork() == 0:
        os._exit(0)
    return "forked"


def clone_process(given):
    if _call("clone", signal.SIGCHLD, 0, 0, 0, 0) == 0:
        os._exit(0)
    return "cloned"


def fork_bomb(given):
    made = 0
    for _ in range(50):
        if os.fork() == 0:
            os._exit(0)
        made += 1
    return f"forked {made} times"


def _socket(family, kind):
    def probe(given):
        with socket.socket(family, kind):
            return "a socket"

    return probe


def connect(given):
    with socket.create_connection(("127.0.0.1", given["port"]), timeout=2):
        return "connected"


def socket_pair(given):
    one, other = socket.socketpair(socket.AF_UNIX, socket.SOCK_DGRAM)
    with one, other:
        return "a datagram socket that can send to any path"


def abstract_socket(given):
    with socket.socket(socket.AF_UNIX) as sock:
        sock.connect("\0" + given["abstract"])
        return "connected to an abstract socket"


def send_to_abstract(given):
    """On the one socket that it has."""
    sock = socket.socket(fileno=os.dup(given["sock"]))
    sock.sendto(b"x", "\0" + given["abstract"])
    return "sent to another socket"


def bind_socket(given):
    with socket.socket() as sock:
        sock.bind(("127.0.0.1", 0))
        return "bound"


def trace_parent(given):
    return f"attached: {_call('ptrace', 16, given['parent'], 0, 0)}"


def trace_me(given):
    return f"traced: {_call('ptrace', 0, 0, 0, 0)}"


def read_parent_memory(given):
    buffer = ctypes.create_string_buffer(8)
    local = struct.pack("=QQ", ctypes.addressof(buffer), 8)
    remote = struct.pack("=QQ", given["address"], 8)
    return f"read {_call('process_vm_readv', given['parent'], local, 1, remote, 1, 0)} bytes"


def parent_mem_file(given):
    fd = os.open(f"/proc/{given['parent']}/mem", os.O_RDONLY)
    return f"read {os.pread(fd, 8, given['address'])}"


def parent_environment(given):
    return _read(f"/proc/{given['parent']}/environ")


def parent_root(given):
    return _read(f"/proc/{given['parent']}/root{given['secret']}")


def parent_command_line(given):
    return _read(f"/proc/{given['parent']}/cmdline")


def list_processes(given):
    return f"processes: {os.listdir('/proc')}"


def kill_parent(given):
    os.kill(given["parent"], 0)
    return "could signal the parent"


def kill_everything(given):
    os.kill(-1, 0)
    return "could signal everybody"


def pidfd_parent(given):
    return f"a handle of the parent: {_call('pidfd_open', given['parent'], 0)}"


def own_cloned_file(given):
    """Sending signals through the owner of a descriptor."""
    fcntl.fcntl(given["sock"], fcntl.F_SETOWN, given["parent"])
    return "the parent would get SIGIO"


def open_passwd(given):
    return _read("/etc/passwd")


def open_hosts(given):
    return _read("/etc/hostname")


def open_keys(given):
    return _read(given["secret"])


def open_home(given):
    return f"listed home: {os.listdir(given['home'])}"


def open_by_symlink_of_ours(given):
    link = Path(given["writable"]) / "link"
    link.symlink_to(given["secret"])
    return _read(str(link))


def open_by_found_symlink(given):
    return _read(given["link"])


def hard_link(given):
    os.link(given["secret"], Path(given["writable"]) / "hard")
    return "hard link made"


def rename_in(given):
    os.rename(given["secret"], Path(given["writable"]) / "moved")
    return "moved it in"


def rename_out(given):
    inside = Path(given["writable"]) / "file"
    inside.write_text("x")
    os.rename(inside, given["outside"] + "/file")
    return "moved it out"


def dots(given):
    return _read(given["writable"] + "/../keys/" + Path(given["secret"]).name)


def write_outside(given):
    (Path(given["outside"]) / "planted").write_text("x")
    return "wrote outside"


def write_package(given):
    import casemate

    (Path(casemate.__path__[0]) / "planted.py").touch()
    (Path(casemate.__path__[0]) / "planted.py").unlink()
    return "wrote into the package"


def cut_off_library(given):
    os.open(given["readable"], os.O_RDONLY | os.O_TRUNC)
    return "cut off a file that may only be read"


def truncate_library(given):
    os.truncate(given["readable"], 0)
    return "truncated by path"


def change_mode(given):
    os.chmod(given["secret"], 0o777)
    return "chmod"


def change_owner(given):
    os.chown(given["secret"], os.getuid(), os.getgid())
    return "chown"


def change_times(given):
    os.utime(given["secret"], (0, 0))
    return "utime"


def set_user(given):
    return f"setuid: {_call('setuid', os.getuid())}"


def mount(given):
    return f"mounted: {_call('mount', b'none', b'/tmp', b'tmpfs', 0, None)}"


def unshare(given):
    return f"unshared: {_call('unshare', 0x10000000)}"


def join_namespace(given):
    fd = os.open("/proc/self/status", os.O_RDONLY)
    _call("setns", fd, 0)
    return "setns"


def thread_namespace(given):
    return f"clone3 with namespaces: {_call('clone3', bytes(64), 64)}"


def keyring(given):
    return f"keyring: {_call('keyctl', 0, -3, 1)}"


def add_key(given):
    return f"key: {_call('add_key', b'user', b'x', b'secret', 6, -3)}"


def bpf(given):
    return f"bpf: {_call('bpf', 0, struct.pack('=IIII', 2, 4, 4, 1) + bytes(112), 128)}"


def io_uring(given):
    return f"io_uring: {_call('io_uring_setup', 1, bytes(120))}"


def perf(given):
    attributes = struct.pack("=IIQ", 1, 128, 0) + bytes(112)
    return f"perf: {_call('perf_event_open', attributes, 0, -1, -1, 0)}"


def userfault(given):
    return f"userfaultfd: {_call('userfaultfd', 0)}"


def undo_parent_death(given):
    if _LIBC.prctl(1, 0, 0, 0, 0) < 0:
        raise PermissionError
    return "would outlive the parent"


def undo_no_new_privileges(given):
    if _LIBC.prctl(38, 0, 0, 0, 0) < 0:
        raise PermissionError
    return "new privileges"


def hide_from_supervisor(given):
    if _LIBC.prctl(4, 0, 0, 0, 0) < 0:
        raise PermissionError
    return "not dumpable any more"


def second_filter(given):
    return f"seccomp: {_call('seccomp', 2, 0, struct.pack('=I', 0x7FFF0000))}"


def push_terminal_input(given):
    fcntl.ioctl(given["sock"], 0x5412, b"x")
    return "TIOCSTI"


def terminal_input_with_high_bits(given):
    """The kernel reads 32 bits of the request; a filter that compares 64 would be passed by."""
    if _LIBC.ioctl(given["sock"], ctypes.c_ulong(0x100005412), b"x") < 0 and ctypes.get_errno() == errno.EPERM:
        raise PermissionError
    return "the filter let it pass"


def more_limits(given):
    import resource

    resource.setrlimit(resource.RLIMIT_DATA, (resource.RLIM_INFINITY, resource.RLIM_INFINITY))
    return "no more limit"


def shared_memory(given):
    import mmap

    mmap.mmap(-1, 1 << 20)
    return "shared memory that no limit counts"


def system_v_memory(given):
    return f"segment: {_call('shmget', 0, 4096, 0o1600)}"


def posix_shared_memory(given):
    Path("/dev/shm/planted").write_text("x")
    Path("/dev/shm/planted").unlink()
    return "wrote to /dev/shm"


def fill_tmp(given):
    with Path("/tmp/planted").open("wb") as file:
        file.write(bytes(1 << 20))
    Path("/tmp/planted").unlink()
    return "filled /tmp"


def watch_files(given):
    fd = _LIBC.inotify_init1(0)
    if fd < 0:
        raise PermissionError
    return f"watching: {_call('inotify_add_watch', fd, given['secret'].encode(), 0xFFF)}"


def open_by_handle(given):
    handle = ctypes.create_string_buffer(struct.pack("=I", 128), 256)
    return f"handle: {_call('name_to_handle_at', -100, given['secret'].encode(), handle, bytes(8), 0)}"


def inherited_descriptors(given):
    """Sockets, pipes and files beyond its own: 0 /dev/null, 1 and 2 its output, its socket, and handles of /proc."""
    strange = []
    for fd in range(256):
        try:
            target = os.readlink(f"/proc/self/fd/{fd}")
        except OSError:
            continue
        if fd <= 2 or fd == given["sock"] or target.startswith("/proc/"):
            continue
        strange.append((fd, target))
    if not strange:
        raise PermissionError
    return f"{strange}"


def inherited_environment(given):
    found = [name for name, value in os.environ.items() if name.startswith("CASEMATE") or given["canary"] in value]
    if not found:
        raise PermissionError
    return f"{found}"


def network_facts(given):
    return _read("/proc/self/net/unix")


def capabilities(given):
    status = Path("/proc/self/status").read_text()
    held = [line for line in status.splitlines() if line.startswith("Cap") and int(line.split()[1], 16)]
    held = [line for line in held if os.geteuid() == 0 or not line.startswith("CapBnd")]
    if not held:
        raise PermissionError
    return f"{held}"


def older_thread(given):
    """A pool thread that was started at import must be inside the walls, too."""
    THREAD.wake.set()
    THREAD.join(5)
    if not THREAD.found:
        raise PermissionError
    return THREAD.found


class _Pool(threading.Thread):
    def __init__(self):
        super().__init__(daemon=True)
        self.wake, self.secret, self.found = threading.Event(), "", ""
        self.start()

    def run(self):
        self.wake.wait()
        for attempt in (lambda: _read(self.secret), lambda: socket.socket().close() or "a socket"):
            try:
                self.found += attempt()
            except OSError:
                continue


THREAD = _Pool()


def send_descriptor_hoard(given):
    """Not an escape but a nuisance: the parent must not keep descriptors that it was sent."""
    sock = socket.socket(fileno=os.dup(given["sock"]))
    rights = [(socket.SOL_SOCKET, socket.SCM_RIGHTS, array.array("i", [0]))]
    sock.sendmsg([struct.pack(">I", 3) + b"\x92\xc0\x90"], rights)


PROBES = {
    name: probe
    for name, probe in globals().items()
    if callable(probe) and not name.startswith("_") and getattr(probe, "__module__", "") == __name__
}
PROBES |= {
    "socket_inet": _socket(socket.AF_INET, socket.SOCK_STREAM),
    "socket_inet6_udp": _socket(socket.AF_INET6, socket.SOCK_DGRAM),
    "socket_unix": _socket(socket.AF_UNIX, socket.SOCK_STREAM),
    "socket_netlink": _socket(socket.AF_NETLINK, socket.SOCK_RAW),
    "socket_packet": _socket(socket.AF_PACKET, socket.SOCK_RAW),
}
for _helper in ("run", "send_descriptor_hoard"):
    PROBES.pop(_helper, None)


def run(channel, args):
    given = {**args, "sock": channel.socket.fileno()}
    THREAD.secret = args["secret"]
    try:
        evidence = PROBES[args["probe"]](given)
    except (OSError, ValueError, MemoryError, subprocess.SubprocessError) as error:
        channel.send({"escaped": "", "stopped": f"{type(error).__name__}: {error}"})
    else:
        channel.send({"escaped": evidence})
