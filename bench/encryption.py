"""Encryption at rest: 256 MB through the streaming format in memory, beside the AES-256-GCM limit of the same library on
1 MiB messages and beside `openssl speed`, in one run and in turn; the median of five."""

from __future__ import annotations

import io
import json
import re
import shutil
import statistics
import subprocess
import time
from collections.abc import Callable

from cryptography.hazmat.primitives.ciphers.aead import AESGCM

from casemate.storage.stream import StreamReader, StreamWriter

SIZE, PIECE = 256 << 20, 1 << 20
KEY = bytes(32)


def speed(act: Callable[[], object]) -> float:
    start = time.perf_counter()
    act()
    return SIZE / (time.perf_counter() - start) / 1e9


def bound() -> None:
    aead, plain, sealed = AESGCM(KEY), bytearray(PIECE), bytearray(PIECE + 16)
    for number in range(SIZE // PIECE):
        aead.encrypt_into(number.to_bytes(12), plain, None, sealed)


def encrypt(into: io.BytesIO) -> None:
    into.seek(0)
    writer, piece = StreamWriter(into, KEY, b"bench"), bytes(PIECE)
    for _ in range(SIZE // PIECE):
        writer.write(piece)
    writer.close()


def decrypt(sealed: io.BytesIO) -> None:
    sealed.seek(0)
    reader, buffer = StreamReader(io.BytesIO(sealed.getbuffer()), KEY, b"bench"), bytearray(PIECE)
    while reader.readinto(buffer):
        pass


def openssl() -> float | None:
    if not shutil.which("openssl"):
        return None
    command = ["openssl", "speed", "-evp", "aes-256-gcm", "-bytes", str(PIECE), "-seconds", "1"]
    text = subprocess.run(command, capture_output=True, text=True, check=True).stdout
    found = re.search(r"([\d.]+)k\s*$", text)
    return float(found[1]) * 1000 / 1e9 if found else None


def main() -> None:
    sealed = io.BytesIO(bytes(SIZE + SIZE // 1000 + PIECE))
    sealed.truncate(0)
    encrypt(sealed)
    figures: dict[str, list[float]] = {"bound": [], "encrypt": [], "decrypt": [], "openssl": []}
    acts = {"bound": bound, "encrypt": lambda: encrypt(sealed), "decrypt": lambda: decrypt(sealed)}
    for turn in range(5):
        for name in list(acts) if turn % 2 else reversed(list(acts)):
            figures[name].append(speed(acts[name]))
        figures["openssl"] += [value for value in [openssl()] if value]
    limit = statistics.median(figures["bound"])
    rows = []
    for name in ("encrypt", "decrypt"):
        value = statistics.median(figures[name])
        ratio = statistics.median(a / b for a, b in zip(figures[name], figures["bound"], strict=True))
        about = {"value": value, "unit": "GB/s", "aim": ">= 0.9"}
        rows.append({"name": f"{name}, beside the library's limit", **about, "beside": limit, "ratio": ratio})
        if figures["openssl"]:
            speed_of = statistics.median(figures["openssl"])
            rows.append(
                {"name": f"{name}, beside openssl speed", **about, "beside": speed_of, "ratio": value / speed_of}
            )
    print(json.dumps(rows))


if __name__ == "__main__":
    main()
