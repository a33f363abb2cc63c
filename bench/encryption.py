"""Encryption at rest, one thread, 256 MB in Tink's format, beside `openssl speed -evp aes-256-gcm` on 1 MiB blocks in
the same run, in swapped order; medians. Rows without a mark count CPU seconds (user and system), as `openssl speed` does
(user); rows marked "wall" count elapsed time, beside `-elapsed`. `openssl speed` goes over one buffer that stays in the
processor's cache: "in cache" does the same with our format, and all other rows go over memory or a file. "Bare cipher" is
`cryptography`'s AES-GCM over one buffer of 1 MiB: what our format cannot be faster than. Rows "unencrypted" move the
same bytes with no cipher at all: what no cipher over memory or a file can be faster than. Files are new, lie in the page
cache of the folder for temporary files and are not synced.
"""

from __future__ import annotations

import io
import json
import mmap
import os
import re
import shutil
import statistics
import subprocess
import tempfile
import time
from collections import defaultdict
from collections.abc import Callable
from pathlib import Path

from cryptography.hazmat.primitives.ciphers.aead import AESGCM

from casemate.storage import StreamReader, StreamWriter

SIZE = 256_000_000  # bytes
CHUNK = 4 << 20  # bytes handed over at a time
ROUNDS = 5
SEGMENT = (1 << 20) - 16  # bytes of plain text in a segment
FIRST = SEGMENT - 40  # bytes of plain text before the second one
KEY, ABOUT = bytes(32), b"bench"
BARE = "encrypt, bare cipher"


class Memory(io.RawIOBase):
    """A file in memory that was touched before, so that page faults are not measured as encryption."""

    def __init__(self, size: int) -> None:
        self.buffer, self.position = mmap.mmap(-1, size), 0
        self.size = size
        self.buffer.write(bytes(size))

    def write(self, data) -> int:
        self.buffer[self.position : self.position + len(data)] = data
        self.position += len(data)
        return len(data)

    def seek(self, offset: int, whence: int = os.SEEK_SET) -> int:
        self.position = offset if whence == os.SEEK_SET else self.size + offset
        return self.position

    def readinto(self, target) -> int:
        end = min(self.size, self.position + len(target))
        size = end - self.position
        with memoryview(self.buffer) as view:
            target[:size] = view[self.position : end]
        self.position = end
        return size


class Nowhere:
    """Takes what is written, and keeps nothing."""

    def write(self, data) -> int:
        return len(data)


def encrypt(plain: memoryview, file) -> None:
    writer = StreamWriter(file, KEY, ABOUT)
    for start in range(0, len(plain), CHUNK):
        writer.write(plain[start : start + CHUNK])
    writer.close()


def decrypt(file, target: bytearray) -> None:
    reader = StreamReader(file, KEY, ABOUT)
    view = memoryview(target)
    for start in range(0, SIZE, CHUNK):
        reader.readinto(view[start : start + CHUNK])


def encrypt_in_cache(buffer: bytearray) -> None:
    writer = StreamWriter(Nowhere(), KEY, ABOUT)
    for _ in range(SIZE // len(buffer)):
        writer.write(buffer)
    writer.close()


def decrypt_in_cache(buffer: bytearray) -> None:
    """The second segment of three, again and again: the reader keeps none that it decrypts into the caller's buffer."""
    file = io.BytesIO()
    encrypt(memoryview(bytes(3 * SEGMENT)), file)
    file.seek(0)
    reader = StreamReader(file, KEY, ABOUT)
    for _ in range(SIZE // len(buffer)):
        reader.seek(FIRST)
        reader.readinto(buffer)


def copy(source, target) -> None:
    """One buffer of 1 MiB in between, as a file's reader and writer have."""
    kept = memoryview(bytearray(1 << 20))
    while size := source.readinto(kept):
        target.write(kept[:size])


def bare_cipher(buffer: bytearray, sealed: bytearray) -> None:
    cipher = AESGCM(KEY)
    for number in range(SIZE // len(buffer)):
        cipher.encrypt_into(number.to_bytes(12), buffer, None, sealed)


def speeds_of(act: Callable[[], None]) -> tuple[float, float]:
    """GB per CPU second and per second elapsed."""
    start, start_cpu = time.perf_counter(), time.process_time()
    act()
    cpu, wall = time.process_time() - start_cpu, time.perf_counter() - start
    return SIZE / cpu / 1e9, SIZE / wall / 1e9


def openssl(*flags: str) -> float | None:
    """GB/s; None where there is no such program."""
    if not shutil.which("openssl"):
        return None
    command = ["openssl", "speed", *flags, "-evp", "aes-256-gcm", "-bytes", "1048576", "-seconds", "2"]
    said = subprocess.run(command, capture_output=True, text=True, check=True).stdout
    return float(re.findall(r"([\d.]+)k\s*$", said, re.MULTILINE)[-1]) / 1e6


def main() -> None:
    plain, target = os.urandom(SIZE), bytearray(os.urandom(1) * SIZE)
    sealed = io.BytesIO()
    encrypt(memoryview(plain), sealed)
    memory, other = Memory(len(sealed.getbuffer())), Memory(len(sealed.getbuffer()))
    with tempfile.TemporaryDirectory() as folder:
        new, kept = Path(folder) / "new", Path(folder) / "kept"
        kept.write_bytes(sealed.getbuffer())

        def memory_in() -> None:
            memory.seek(0)
            encrypt(memoryview(plain), memory)

        def memory_out() -> None:
            memory.seek(0)
            decrypt(memory, target)

        def file_in() -> None:
            with new.open("wb") as file:
                encrypt(memoryview(plain), file)

        def memory_copied() -> None:
            other.seek(0)
            copy(io.BytesIO(plain), other)

        def file_written() -> None:
            with new.open("wb", buffering=0) as file:
                copy(io.BytesIO(plain), file)

        def file_read() -> None:
            other.seek(0)
            with kept.open("rb", buffering=0) as file:
                copy(file, other)

        acts = {
            BARE: lambda: bare_cipher(bytearray(1 << 20), bytearray((1 << 20) + 16)),
            "unencrypted, memory to memory": memory_copied,
            "unencrypted, to a file": file_written,
            "unencrypted, from a file": file_read,
            "encrypt, in cache": lambda: encrypt_in_cache(bytearray(1 << 20)),
            "decrypt, in cache": lambda: decrypt_in_cache(bytearray(SEGMENT)),
            "encrypt, memory to memory": memory_in,
            "decrypt, memory to memory": memory_out,
            "encrypt, to a file": file_in,
            "decrypt, from a file": lambda: decrypt(kept.open("rb", buffering=0), target),
        }
        for act in acts.values():
            new.unlink(missing_ok=True)
            act()
        assert target == plain
        print(json.dumps(rows_of(measured(acts, new), list(acts))))


def measured(acts: dict[str, Callable[[], None]], new: Path) -> dict[str, float]:
    """Medians of all figures, ours and openssl's, taken in turns. Args: new: a file to be written, not there before."""
    figures: dict[str, list[float]] = defaultdict(list)
    for number in range(ROUNDS):
        steps = [*acts.items(), ("openssl encrypt", None), ("openssl decrypt", None)]
        for name, act in steps if number % 2 else reversed(steps):
            new.unlink(missing_ok=True)
            flags = ("-decrypt",) if name.endswith("decrypt") else ()
            cpu, wall = speeds_of(act) if act else (openssl(*flags), openssl("-elapsed", *flags))
            if cpu is not None and wall is not None:
                figures[name].append(cpu)
                figures[f"{name}, wall"].append(wall)
    return {name: statistics.median(values) for name, values in figures.items()}


def rows_of(middle: dict[str, float], names: list[str]) -> list[dict[str, object]]:
    """The aim is for what is ours beside `openssl speed`; the bare cipher beside it says what could be had at most."""
    rows = []
    for name in names:
        ours = name.startswith(("encrypt", "decrypt")) and name != BARE
        program = "decrypt" if name.startswith("decrypt") else "encrypt"
        for mark in ("", ", wall"):
            limits = {"bare cipher": middle[BARE + mark]} if ours else {}
            limits |= {"openssl speed": middle.get(f"openssl {program}{mark}")}
            for limit, beside in limits.items():
                if beside is not None:
                    value = middle[name + mark]
                    row = {"name": f"{name}{mark}, beside {limit}", "value": value, "unit": "GB/s"}
                    row |= {"beside": beside, "ratio": value / beside}
                    rows.append(row | {"aim": ">= 0.9"} if ours and limit == "openssl speed" else row)
    return rows


if __name__ == "__main__":
    main()
