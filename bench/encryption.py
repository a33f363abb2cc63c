"""Encryption at rest, one thread, 256 MB in Tink's format, beside `openssl speed -evp aes-256-gcm` on 1 MiB blocks in
the same run, in swapped order; medians. Rows without a mark count CPU seconds (user and system), as `openssl speed` does
(user); rows marked "wall" count elapsed time, beside `-elapsed`. "Bare cipher" is `cryptography`'s AES-GCM over one
buffer of 1 MiB: what our format cannot be faster than. Files lie in the page cache and are not synced.
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
KEY, ABOUT = bytes(32), b"bench"


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
    memory = Memory(len(sealed.getbuffer()))
    with tempfile.TemporaryDirectory() as folder:
        path = Path(folder) / "blob"

        def memory_in() -> None:
            memory.seek(0)
            encrypt(memoryview(plain), memory)

        def memory_out() -> None:
            memory.seek(0)
            decrypt(memory, target)

        def file_in() -> None:
            with path.open("wb") as file:
                encrypt(memoryview(plain), file)

        def file_out() -> None:
            decrypt(path.open("rb", buffering=0), target)

        acts = {
            "encrypt, bare cipher": lambda: bare_cipher(bytearray(1 << 20), bytearray((1 << 20) + 16)),
            "encrypt, memory to memory": memory_in,
            "decrypt, memory to memory": memory_out,
            "encrypt, to a file": file_in,
            "decrypt, from a file": file_out,
        }
        for act in acts.values():
            act()
        assert target == plain
        print(json.dumps(rows_of(measured(acts), list(acts))))


def measured(acts: dict[str, Callable[[], None]]) -> dict[str, float]:
    """Medians of all figures, ours and openssl's, taken in turns."""
    figures: dict[str, list[float]] = defaultdict(list)
    for number in range(ROUNDS):
        steps = [*acts.items(), ("openssl encrypt", None), ("openssl decrypt", None)]
        for name, act in steps if number % 2 else reversed(steps):
            flags = ("-decrypt",) if name.endswith("decrypt") else ()
            cpu, wall = speeds_of(act) if act else (openssl(*flags), openssl("-elapsed", *flags))
            if cpu is not None and wall is not None:
                figures[name].append(cpu)
                figures[f"{name}, wall"].append(wall)
    return {name: statistics.median(values) for name, values in figures.items()}


def rows_of(middle: dict[str, float], names: list[str]) -> list[dict[str, object]]:
    rows = []
    for name in names:
        for mark in ("", ", wall"):
            value, program = middle[name + mark], middle.get(f"openssl {name.split(',')[0]}{mark}")
            limits = {"bare cipher": middle[names[0] + mark] if name != names[0] else None, "openssl speed": program}
            for limit, beside in limits.items():
                if beside is not None:
                    row = {"name": f"{name}{mark}, beside {limit}", "value": value, "unit": "GB/s"}
                    row |= {"beside": beside, "ratio": value / beside}
                    rows.append(row if name == names[0] else row | {"aim": ">= 0.9"})  # the bare cipher is not ours
    return rows


if __name__ == "__main__":
    main()
