"""What a training script left behind, taken over as sealed files once its process is dead."""

from __future__ import annotations

import os
import stat
from collections.abc import Iterable, Iterator
from dataclasses import dataclass, field
from pathlib import Path

from casemate.core import InputError, SealedFile, checked_path, seal_bytes

MAX_FILES = 100  # a model with its weights and reports; a worker takes 250 descriptors at most
CHECKPOINTS = "checkpoints"  # the folder for what a later run can go on from
MAX_DEPTH = 8  # folders below the output folder
_CHUNK = 1 << 20  # bytes per read


@dataclass(slots=True)
class Outputs:
    """Files by their path in the folder; `refused` names, with the reason, what was not taken.

    Args: only: the one entry of the folder that was looked at; empty: all.
    """

    files: dict[str, SealedFile] = field(default_factory=dict)
    refused: list[str] = field(default_factory=list)
    size: int = 0
    only: str = ""


def collect_outputs(folder: Path, *, max_bytes: int, only: str = "") -> Outputs:
    """Copy the regular files of `folder` into sealed memory. Follows no link and crosses to no other file system.

    Args: only: one entry of the folder, whatever else there is.
    """
    outputs = Outputs(only=only)
    try:
        fd = os.open(folder, os.O_RDONLY | os.O_DIRECTORY | os.O_NOFOLLOW | os.O_CLOEXEC)
    except OSError:
        outputs.refused.append("the output folder itself: it was removed or exchanged")
        return outputs
    try:
        _collect(fd, "", os.fstat(fd).st_dev, outputs, max_bytes)
    finally:
        os.close(fd)
    return outputs


def checkpoints_in(paths: Iterable[str]) -> list[str]:
    """Those of `paths` that lie in the folder for checkpoints."""
    return [path for path in paths if path.startswith(f"{CHECKPOINTS}/")]


def without_checkpoints(paths: Iterable[str]) -> list[str]:
    """The others."""
    return [path for path in paths if not path.startswith(f"{CHECKPOINTS}/")]


def _collect(folder: int, prefix: str, device: int, outputs: Outputs, max_bytes: int) -> None:
    for name in sorted(os.listdir(folder)):
        if not prefix and outputs.only not in ("", name):
            continue
        if len(outputs.refused) >= MAX_FILES:
            return
        path = prefix + name
        try:
            fd = os.open(name, os.O_RDONLY | os.O_NOFOLLOW | os.O_NONBLOCK | os.O_CLOEXEC, dir_fd=folder)
        except OSError as error:
            outputs.refused.append(f"{path!a}: {'a link' if _is_link(folder, name) else error.strerror}")
            continue
        try:
            facts = os.fstat(fd)
            if stat.S_ISDIR(facts.st_mode) and facts.st_dev == device and path.count("/") < MAX_DEPTH:
                _collect(fd, path + "/", device, outputs, max_bytes)
            elif why := _refusal(path, facts, device, outputs, max_bytes):
                outputs.refused.append(f"{path!a}: {why}")
            else:
                outputs.files[path] = file = seal_bytes(_chunks(fd, facts.st_size), name="casemate-output")
                outputs.size += file.size
        finally:
            os.close(fd)


def _refusal(path: str, facts: os.stat_result, device: int, outputs: Outputs, max_bytes: int) -> str:
    """Why this is not taken; empty when it is."""
    if not stat.S_ISREG(facts.st_mode) or facts.st_dev != device:
        return f"no regular file, or over {MAX_DEPTH} folders deep"
    if facts.st_nlink != 1:
        return "a second name of a file elsewhere"
    if len(outputs.files) >= MAX_FILES:
        return f"over {MAX_FILES} files"
    if outputs.size + facts.st_size > max_bytes:
        return f"over {max_bytes} bytes in all"
    try:
        checked_path(path)
    except (InputError, UnicodeError):
        return "a name that no asset can have"
    return ""


def _is_link(folder: int, name: str) -> bool:
    return stat.S_ISLNK(os.stat(name, dir_fd=folder, follow_symlinks=False).st_mode)


def _chunks(fd: int, size: int) -> Iterator[bytes]:
    """At most `size` bytes: a file that grew meanwhile is cut off at what was counted."""
    offset = 0
    while offset < size and (chunk := os.pread(fd, min(_CHUNK, size - offset), offset)):
        offset += len(chunk)
        yield chunk
