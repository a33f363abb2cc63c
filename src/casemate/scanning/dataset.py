"""A table in whatever file -> pieces of one normalised Parquet file and its schema, parsed in the sandbox."""

from __future__ import annotations

import os
from collections.abc import Callable, Sequence
from typing import Any, Protocol

import msgspec

from casemate.core import Finding, InputError, SandboxError, SealedFile, TooLargeError, memory_file
from casemate.sandbox import TOO_MUCH, Limits, run_confined
from casemate.scanning.limits import DatasetLimits
from casemate.scanning.report import ConvertedDataset, DescribedDataset

_ENTRY = "casemate.scanning.dataset_conversion:main"
_NOT_OF_THE_FILE = frozenset({"walls-missing", "sandbox-start"})  # nothing foreign was touched
_MOST_READ = 4 << 20  # bytes that the confined process is given at once


class Source(Protocol):
    """The file as it was given, wherever it lies: sealed in memory, or encrypted on a disk."""

    @property
    def size(self) -> int: ...
    def read_at(self, offset: int, size: int) -> bytes:
        """So many bytes, fewer only at the end."""
        ...


class _Ask(msgspec.Struct, forbid_unknown_fields=True):
    """One of the two things that the confined process may want."""

    read: tuple[int, int] | None = None
    piece: int | None = None


class _Answer(msgspec.Struct, forbid_unknown_fields=True):
    schema: dict[str, Any]
    findings: list[Finding]


def stream_dataset(
    source: Source,
    filename: str,
    take: Callable[[bytearray], None],
    *,
    target: str | None = None,
    limits: DatasetLimits | None = None,
    insecure: bool = False,
) -> DescribedDataset:
    """Convert a table, told apart by its content, and give `take` the pieces of its Parquet file, in order.

    CSV, JSON Lines, Parquet, Arrow (IPC file or stream, Feather), NumPy (.npy, .npz), and a folder of images or of text
    files as a tar stream. Neither the file nor the rows are held whole, here or in the sandbox.

    Args: filename: for messages only. take: what it raises ends the conversion. target: the column with the role
        `target`; the others are features.
    Raises:
        InputError: `dataset-format`, `dataset-encoding`, `dataset-malformed` (names the line), `dataset-columns`,
            `dataset-target`, `dataset-empty`, `dataset-types`, `dataset-folder`, `dataset-image`.
        TooLargeError: `dataset-too-large`.
        SandboxError: `walls-missing`, `sandbox-start`.
    """
    limits = limits or DatasetLimits()
    limits.check_file(source.size, filename)
    seconds = limits.seconds + source.size / limits.rate

    def answer(asked: Any, buffers: list[bytearray]) -> tuple[Any, Sequence[bytes]]:
        wanted = msgspec.convert(asked, _Ask)
        if wanted.read is not None and 0 < wanted.read[1] <= _MOST_READ and wanted.read[0] >= 0 and not buffers:
            return None, [source.read_at(*wanted.read)]
        if wanted.piece is not None and len(buffers) == 1:
            take(buffers[0])
            return None, []
        raise _broke_protocol()

    try:
        frame = run_confined(
            _ENTRY,
            {
                "filename": filename[:200],
                "size": source.size,
                "target": target,
                "limits": msgspec.to_builtins(limits),
            },
            limits=Limits(memory=limits.memory, cpu_seconds=int(seconds) + 1),
            timeout=seconds,
            insecure=insecure,
            asked=answer,
        )
        found = msgspec.convert(frame.message, _Answer)
    except SandboxError as error:
        if error.code in _NOT_OF_THE_FILE:
            raise
        if error.code in TOO_MUCH:
            raise TooLargeError(
                f"{filename} takes more memory or time than a dataset may: split it.", code="dataset-too-large"
            ) from error
        raise InputError(
            f"{filename} cannot be read as a table: export it again as CSV or Parquet.", code="dataset-malformed"
        ) from error
    except msgspec.ValidationError as error:
        raise _broke_protocol() from error
    return DescribedDataset(schema=found.schema, findings=tuple(found.findings))


def convert_dataset(
    file: SealedFile,
    filename: str,
    *,
    target: str | None = None,
    limits: DatasetLimits | None = None,
    insecure: bool = False,
) -> ConvertedDataset:
    """As `stream_dataset`, with the whole Parquet file in sealed memory. Raises: the same."""
    parquet = memory_file("dataset")
    sizes: list[int] = []

    def take(piece: bytearray) -> None:
        sizes.append(len(piece))
        view = memoryview(piece)
        while view:
            view = view[os.write(parquet, view) :]

    try:
        told = stream_dataset(_Sealed(file), filename, take, target=target, limits=limits, insecure=insecure)
    except BaseException:
        os.close(parquet)
        raise
    return ConvertedDataset(
        parquet=SealedFile(parquet), schema=told.schema, findings=told.findings, pieces=tuple(sizes)
    )


class _Sealed:
    def __init__(self, file: SealedFile) -> None:
        self._fd, self.size = file.fd, file.size

    def read_at(self, offset: int, size: int) -> bytes:
        return os.pread(self._fd, size, offset)


def _broke_protocol() -> SandboxError:
    return SandboxError("The conversion broke the protocol.", code="sandbox-protocol")
