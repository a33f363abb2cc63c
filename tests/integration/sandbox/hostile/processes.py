"""Starting programs and processes; reaching other processes."""

from __future__ import annotations

import ctypes
import fcntl
import os
import signal
import struct
import subprocess
import sys
from pathlib import Path

from hostile.calls import call, held, read


def exec_program(given):
    return f"ran: {subprocess.run(['/bin/true'], check=False)}"


def exec_shell(given):
    if os.system("true"):
        raise held()
    return "a shell ran"


def exec_in_place(given):
    os.execv(sys.executable, [sys.executable, "-c", f"import os; os.write({given['out']}, b'!')"])


def exec_from_memory(given):
    fd = os.memfd_create("program")
    os.write(fd, Path("/bin/true").read_bytes())
    if pid := os.fork():
        return f"a program ran from memory: {os.waitpid(pid, 0)}"
    try:
        os.execve(fd, ["true"], {})
    finally:
        os._exit(1)


def fork(given):
    if os.fork() == 0:
        os._exit(0)
    return "forked"


def clone_process(given):
    if call("clone", signal.SIGCHLD, 0, 0, 0, 0) == 0:
        os._exit(0)
    return "cloned"


def fork_bomb(given):
    made = 0
    for _ in range(50):
        if os.fork() == 0:
            os._exit(0)
        made += 1
    return f"forked {made} times"


def trace_parent(given):
    """PTRACE_SEIZE, which does not stop it."""
    return f"attached: {call('ptrace', 0x4206, given['parent'], 0, 0)}"


def trace_me(given):
    return f"traced: {call('ptrace', 0, 0, 0, 0)}"


def read_parent_memory(given):
    buffer = ctypes.create_string_buffer(8)
    local = struct.pack("=QQ", ctypes.addressof(buffer), 8)
    remote = struct.pack("=QQ", given["address"], 8)
    return f"read {call('process_vm_readv', given['parent'], local, 1, remote, 1, 0)} bytes"


def parent_mem_file(given):
    fd = os.open(f"/proc/{given['parent']}/mem", os.O_RDONLY)
    return f"read {os.pread(fd, 8, given['address'])}"


def parent_environment(given):
    return read(f"/proc/{given['parent']}/environ")


def parent_root(given):
    return read(f"/proc/{given['parent']}/root{given['secret']}")


def parent_command_line(given):
    return read(f"/proc/{given['parent']}/cmdline")


def list_processes(given):
    return f"processes: {os.listdir('/proc')}"


def kill_parent(given):
    os.kill(given["parent"], 0)
    return "could signal the parent"


def kill_everything(given):
    os.kill(-1, 0)
    return "could signal everybody"


def pidfd_parent(given):
    return f"a handle of the parent: {call('pidfd_open', given['parent'], 0)}"


def own_cloned_file(given):
    """Sending signals through the owner of a descriptor."""
    fcntl.fcntl(given["sock"], fcntl.F_SETOWN, given["parent"])
    return "the parent would get SIGIO"
