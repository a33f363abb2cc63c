"""Hostile archives: name -> (bytes, finding)."""

from __future__ import annotations

import gzip
import io
import struct
import tarfile
import zipfile
import zlib

from opcodes import TOUCH, call_4

EVIL = call_4("posix", "system", TOUCH)
MALFORMED = "archive-malformed"
AT = (2020, 1, 1, 0, 0, 0)


def zipped(members: dict[str, bytes], method: int = zipfile.ZIP_STORED, mode: int = 0o100600) -> bytes:
    buffer = io.BytesIO()
    with zipfile.ZipFile(buffer, "w") as archive:
        for name, content in members.items():
            info = zipfile.ZipInfo(name, AT)
            info.external_attr, info.compress_type, info.create_system = mode << 16, method, 3
            archive.writestr(info, content)
    return buffer.getvalue()


def tarred(*members: tuple[str, bytes, bytes]) -> bytes:
    """(name, content, type) each."""
    buffer = io.BytesIO()
    with tarfile.open(fileobj=buffer, mode="w", format=tarfile.USTAR_FORMAT) as archive:
        for name, content, kind in members:
            info = tarfile.TarInfo(name)
            info.type, info.size, info.linkname = kind, len(content), "/etc/passwd" if kind in b"12" else ""
            archive.addfile(info, io.BytesIO(content))
    return buffer.getvalue()


def _patched(data: bytes, magic: bytes, offset: int, value: bytes) -> bytes:
    at = data.index(magic) + offset
    return data[:at] + value + data[at + len(value) :]


def _gap(data: bytes, filler: bytes) -> bytes:
    """Hide bytes between the members and the directory."""
    at = data.index(b"PK\1\2")
    end = data.index(b"PK\5\6")
    start = struct.pack("<I", at + len(filler))
    return data[:at] + filler + data[at:end] + data[end : end + 16] + start + data[end + 20 :]


def _bomb_of_bombs(depth: int) -> bytes:
    data = b"a"
    for _ in range(depth):
        data = zipped({"inner.zip": data})
    return data


def _duplicate() -> bytes:
    one, two = zipped({"data.bin": b"good"}), zipped({"Data.bin": EVIL})
    local_1, local_2 = one[: one.index(b"PK\1\2")], two[: two.index(b"PK\1\2")]
    entry_1 = one[one.index(b"PK\1\2") : one.index(b"PK\5\6")]
    entry_2 = two[two.index(b"PK\1\2") : two.index(b"PK\5\6")]
    entry_2 = entry_2[:42] + struct.pack("<I", len(local_1)) + entry_2[46:]
    entries = entry_1 + entry_2
    end = struct.pack("<4sHHHHIIH", b"PK\5\6", 0, 0, 2, 2, len(entries), len(local_1 + local_2), 0)
    return local_1 + local_2 + entries + end


def zip_files() -> dict[str, tuple[bytes, str]]:
    plain, deflated = zipped({"model.pkl": EVIL}), zipped({"model.pkl": EVIL}, zipfile.ZIP_DEFLATED)
    flags = _patched(_patched(plain, b"PK\3\4", 6, b"\1\0"), b"PK\1\2", 8, b"\1\0")
    lying = _patched(deflated, b"PK\3\4", 22, struct.pack("<I", 1))
    nothing = zipfile.ZipInfo("bomb.bin", AT)
    nothing.compress_type = zipfile.ZIP_DEFLATED
    bomb = io.BytesIO()
    with zipfile.ZipFile(bomb, "w") as archive:
        archive.writestr(nothing, bytes(32 << 20))
    return {
        "zip-pickle": (plain, "pickle-forbidden-import"),
        "zip-pickle-deflated": (deflated, "pickle-forbidden-import"),
        "zip-in-zip": (zipped({"inner.zip": plain}), "pickle-forbidden-import"),
        "zip-tar-in-zip": (zipped({"a.tar": tarred(("m.pkl", EVIL, b"0"))}), "pickle-forbidden-import"),
        "zip-encrypted-flag": (flags, "archive-encrypted"),
        "zip-encrypted-in-directory-only": (_patched(plain, b"PK\1\2", 8, b"\1\0"), "archive-encrypted"),
        "zip-odd-flag": (_patched(_patched(plain, b"PK\3\4", 6, b"\0\x10"), b"PK\1\2", 8, b"\0\x10"), MALFORMED),
        "zip-flag-in-local-only": (_patched(plain, b"PK\3\4", 6, b"\1\0"), MALFORMED),
        "zip-wrong-sum": (_patched(_patched(plain, b"PK\3\4", 14, b"abcd"), b"PK\1\2", 16, b"abcd"), MALFORMED),
        "zip-sum-differs": (_patched(plain, b"PK\3\4", 14, b"abcd"), MALFORMED),
        "zip-size-differs": (lying, MALFORMED),
        "zip-name-differs": (_patched(plain, b"PK\3\4", 30, b"nodel.txt"), MALFORMED),
        "zip-method-differs": (_patched(plain, b"PK\3\4", 8, b"\x08\0"), MALFORMED),
        "zip-unknown-method": (
            _patched(_patched(plain, b"PK\3\4", 8, b"\x0c\0"), b"PK\1\2", 10, b"\x0c\0"),
            "archive-unsupported",
        ),
        "zip-hidden-bytes": (_gap(plain, EVIL), MALFORMED),
        "zip-appended": (plain + EVIL, MALFORMED),
        "zip-comment": (plain[:-2] + struct.pack("<H", len(EVIL)) + EVIL, MALFORMED),
        "zip-cut-off": (plain[:-4], MALFORMED),
        "zip-two-directories": (plain + plain, MALFORMED),
        "zip-prepended": (b"harmless words\n" + plain, "polyglot"),
        "zip-after-pickle": (EVIL + plain, "pickle-forbidden-import"),
        "zip-duplicate-name": (_duplicate(), "archive-duplicate-name"),
        "zip-traversal": (zipped({"../../etc/cron.d/x": b"x"}), "archive-path-traversal"),
        "zip-absolute": (zipped({"/etc/cron.d/x": b"x"}), "archive-path-traversal"),
        "zip-backslash": (
            _patched(_patched(zipped({"..+..+x": b"x"}), b"PK\3\4", 30, b"..\\..\\x"), b"PK\1\2", 46, b"..\\..\\x"),
            "archive-path-traversal",
        ),
        "zip-symlink": (zipped({"weights": b"/etc/passwd"}, mode=0o120777), "archive-link"),
        "zip-device": (zipped({"weights": b""}, mode=0o020666), "archive-link"),
        "zip-bomb": (bomb.getvalue(), "archive-bomb"),
        "zip-nested-deep": (_bomb_of_bombs(9), "archive-bomb"),
        "zlib-bomb": (zlib.compress(bytes(64 << 20), 9), "archive-bomb"),
        "gzip-bomb": (gzip.compress(bytes(64 << 20), mtime=0), "archive-bomb"),
        "zip-many-members": (zipped({f"{n}.txt": b"" for n in range(5000)}), "archive-bomb"),
        "torch-evil": (zipped({"archive/data.pkl": EVIL, "archive/version": b"3\n"}), "pickle-forbidden-import"),
        "torchscript": (
            zipped({"m/data.pkl": b"\x80\2}.", "m/constants.pkl": b"\x80\2).", "m/code/m.py": b"import os"}),
            "torchscript-dangerous-operator",
        ),
        "keras-lambda": (
            zipped({"config.json": b'{"class_name": "Lambda"}', "metadata.json": b"{}", "model.weights.h5": b"x"}),
            "keras-code",
        ),
        "npz-objects": (zipped({"a.npy": npy("|O", "(1,)", EVIL)}), "numpy-object-array"),
        "npz-objects-import": (zipped({"a.npy": npy("|O", "(1,)", EVIL)}), "pickle-forbidden-import"),
    }


def npy(descr: str, shape: str, content: bytes) -> bytes:
    header = f"{{'descr': {descr!r}, 'fortran_order': False, 'shape': {shape}, }}".encode()
    header += b" " * (-(len(header) + 11) % 64) + b"\n"
    return b"\x93NUMPY\x01\x00" + struct.pack("<H", len(header)) + header + content


def tar_files() -> dict[str, tuple[bytes, str]]:
    plain = tarred(("model.pkl", EVIL, b"0"))
    return {
        "tar-pickle": (plain, "pickle-forbidden-import"),
        "tar-symlink": (tarred(("weights", b"", b"2")), "archive-link"),
        "tar-hardlink": (tarred(("weights", b"", b"1")), "archive-link"),
        "tar-device": (tarred(("weights", b"", b"3")), "archive-link"),
        "tar-traversal": (tarred(("../../x", b"x", b"0")), "archive-path-traversal"),
        "tar-absolute": (tarred(("/etc/x", b"x", b"0")), "archive-path-traversal"),
        "tar-duplicate": (tarred(("a", b"1", b"0"), ("A", b"2", b"0")), "archive-duplicate-name"),
        "tar-appended": (plain + EVIL, MALFORMED),
        "tar-cut-off": (plain[:600], MALFORMED),
        "tar-pax-renames": (tarred(("p", b"27 path=../../../../etc/x\n\n", b"x"), ("a", b"1", b"0")), MALFORMED),
    }


def all_archives() -> dict[str, tuple[bytes, str]]:
    return zip_files() | tar_files()
