"""Entries that the tests start inside a cell: ordinary work, and work that breaks a bound."""

from __future__ import annotations

import ctypes
import os
import signal
import sys
import threading
from pathlib import Path

from casemate.core.errors import AuthError, InputError
from casemate.core.wire import Frame


def echo(channel, args):
    """Send back whatever comes, with what it saw of itself."""
    while True:
        frame = channel.recv()
        channel.send({"got": frame.message, "args": args, "pid": os.getpid()}, frame.buffers)


def finish(channel, args):
    return None


def fail(channel, args):
    raise RuntimeError("of its own making")


def leave(channel, args):
    os._exit(3)


def crash(channel, args):
    ctypes.string_at(0)


def abort(channel, args):
    os.abort()


def spin(channel, args):
    while True:
        pass


def spin_deaf(channel, args):
    signal.signal(signal.SIGXCPU, signal.SIG_IGN)
    spin(channel, args)


def hang(channel, args):
    threading.Event().wait()


def eat_memory(channel, args):
    hoard = []
    while True:
        hoard.append(bytearray(8 << 20))


def eat_memory_natively(channel, args):
    """Without MemoryError: the allocator is called past Python, and the first refusal ends in a crash."""
    libc = ctypes.CDLL(None)
    libc.malloc.restype = ctypes.c_void_p
    while True:
        ctypes.memset(libc.malloc(ctypes.c_size_t(1 << 20)), 1, 1 << 20)
        threading.Event().wait(0.02)


def eat_threads(channel, args):
    threading.stack_size(64 << 10)
    stop = threading.Event()
    try:
        while True:
            threading.Thread(target=stop.wait, daemon=True).start()
    except RuntimeError:
        channel.send({"threads": threading.active_count()})
    stop.wait()


def eat_threads_under_a_name(channel, args):
    """The kernel shows a process's name in the same file as its use."""
    assert ctypes.CDLL(None).prctl(15, args["name"].encode("latin-1")) == 0
    eat_threads(channel, args)


def fill_folder(channel, args):
    for number in range(1_000_000):
        (Path(args["folder"]) / str(number)).write_bytes(bytes(1 << 20))


def nest_folders(channel, args):
    """A big file where no path is long enough to name it."""
    os.chdir(args["folder"])
    for _ in range(args["depth"]):
        Path("d").mkdir()
        os.chdir("d")
    for number in range(args["files"]):
        Path(str(number)).write_bytes(bytes(1 << 20))
    channel.send({})
    channel.recv()


def make_many_folders(channel, args):
    for number in range(args["folders"]):
        Path(args["folder"], str(number)).mkdir()
    channel.send({})
    channel.recv()


def hide_files(channel, args):
    """In a folder that may be written and not be listed."""
    hidden = Path(args["folder"], "hidden")
    hidden.mkdir(mode=0o300)
    for number in range(2):
        (hidden / str(number)).write_bytes(bytes(1 << 20))
    channel.send({})
    channel.recv()


def hold_deleted(channel, args):
    """Files that no folder shows any more: open, or only mapped (Python's own maps keep a descriptor)."""
    libc = ctypes.CDLL(None)
    libc.mmap.restype = ctypes.c_void_p
    libc.mmap.argtypes = [ctypes.c_void_p, ctypes.c_size_t, *[ctypes.c_int] * 3, ctypes.c_long]
    held = []
    for number in range(args["files"]):
        with Path(args["folder"], f"{number}\r (deleted)").open("w+b", buffering=0) as file:
            file.write(bytes(args["size"]))
            if args["mapped"]:
                held.append(libc.mmap(None, 4096, 1, 1, file.fileno(), 0))  # readable, shared
                assert held[-1] != ctypes.c_void_p(-1).value
            else:
                held.append(os.dup(file.fileno()))
        Path(args["folder"], f"{number}\r (deleted)").unlink()
    channel.send({})
    channel.recv()


def write_big_file(channel, args):
    with (Path(args["folder"]) / "big").open("wb") as file:
        try:
            while True:
                file.write(bytes(1 << 20))
        except OSError as error:
            channel.send({"errno": error.errno, "size": file.tell()})


def send_descriptor(channel, args):
    channel.send({}, fds=[0])


def send_rubbish(channel, args):
    channel.socket.sendall(b"\x00\x00\x00\x02\xff\xff")


def close_socket_and_stay(channel, args):
    channel.close()
    threading.Event().wait()


def drip(channel, args):
    """A frame that never ends."""
    channel.socket.sendall(b"\x00\x00\xff\xff")
    while True:
        channel.socket.sendall(b"\x00")
        threading.Event().wait(0.05)


def chatter(channel, args):
    sys.stdout.write("x" * (1 << 20))
    sys.stdout.write("last words\n")
    sys.stdout.flush()


def chatter_without_end(channel, args):
    while True:
        os.write(1, bytes(1 << 16))


def attempts(channel, args):
    """What training code that means harm would try; each is refused, and the program goes on."""
    import socket
    import subprocess

    for attempt in (
        lambda: socket.socket(socket.AF_INET, socket.SOCK_STREAM),
        lambda: Path(args["secret"]).read_bytes(),
        lambda: os.open("etc/../etc/passwd", os.O_RDONLY),
        lambda: Path(args["outside"], "planted").write_text("x"),
        lambda: Path("/nowhere/at/all").read_bytes(),
        lambda: os.execv("/bin/true", ["true"]),
        lambda: subprocess.run(["/bin/true"], check=False),
        os.fork,
        lambda: os.kill(os.getppid(), 0),
        lambda: Path(args["folder"], "model").write_text("allowed"),
        lambda: Path(os.__file__).read_bytes(),
    ):
        try:
            attempt()
        except OSError:
            continue
    channel.send({})
    channel.recv()


def many_attempts(channel, args):
    for number in range(3000):
        try:
            Path(args["outside"], str(number)).touch()
        except OSError:
            continue
    channel.send({})
    channel.recv()


def read_sealed(frame: Frame) -> Frame:
    """Open what was handed over again, by its name under /proc."""
    import mmap

    texts = []
    for fd in frame.fds[: frame.message["files"]]:
        path = f"/proc/self/fd/{fd}"
        with Path(path).open("rb") as file, mmap.mmap(file.fileno(), 0, access=mmap.ACCESS_READ) as view:
            texts.append([file.read(), bytes(view)])
        for flags in (os.O_RDWR, os.O_WRONLY | os.O_TRUNC):
            try:
                os.write(os.open(path, flags), b"altered")
            except OSError:
                continue
    for fd in frame.fds[frame.message["files"] :]:
        with Path(f"/proc/self/fd/{fd}").open("wb") as file:
            file.write(b"written inside")
    return Frame({"texts": texts}, [bytearray(b"a buffer")])


def refuse(frame: Frame) -> Frame:
    raise InputError("The file is \x1b[31mmalformed.", code="bad-file")


def refuse_in_colour(frame: Frame) -> Frame:
    raise InputError("The file is malformed.", code="\x1b[2J\r\nall is well")


def claim(frame: Frame) -> Frame:
    raise AuthError("You are somebody else.", code="no-credential")


def job_of(frame: Frame) -> Frame:
    """Run one of the entries above as a job."""
    globals()[frame.message](None, {})
    return Frame(None)
