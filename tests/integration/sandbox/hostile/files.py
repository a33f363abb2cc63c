"""Files outside: reading, changing, making, and finding out about them."""
# ruff: noqa: PTH101, PTH104 these are the calls of an attacker, made as the kernel names them

from __future__ import annotations

import ctypes
import os
import struct
from pathlib import Path

from hostile.calls import LIBC, call, held, read


def open_passwd(given):
    return read("/etc/passwd")


def open_hosts(given):
    return read("/etc/hostname")


def open_keys(given):
    return read(given["secret"])


def open_home(given):
    return f"listed home: {os.listdir(given['home'])}"


def open_by_symlink_of_ours(given):
    link = Path(given["writable"]) / "link"
    link.symlink_to(given["secret"])
    return read(str(link))


def open_by_found_symlink(given):
    return read(given["link"])


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
    return read(given["writable"] + "/../keys/" + Path(given["secret"]).name)


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


def watch_files(given):
    fd = LIBC.inotify_init1(0)
    if fd < 0:
        raise held()
    return f"watching: {call('inotify_add_watch', fd, given['secret'].encode(), 0xFFF)}"


def open_by_handle(given):
    handle = ctypes.create_string_buffer(struct.pack("=I", 128), 256)
    return f"handle: {call('name_to_handle_at', -100, given['secret'].encode(), handle, bytes(8), 0)}"


def fill_tmp(given):
    with Path("/tmp/planted").open("wb") as file:
        file.write(bytes(1 << 20))
    Path("/tmp/planted").unlink()
    return "filled /tmp"
