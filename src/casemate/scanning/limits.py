"""The bounds of a scan and of a dataset conversion; over a bound means refused."""

from __future__ import annotations

from collections.abc import Iterable, Iterator

import msgspec

from casemate.core import TooLargeError


class ScanLimits(msgspec.Struct, frozen=True, kw_only=True):
    """Bounds of one scan.

    Args:
        files: Files in one model; one frame to the sandbox carries at most 250 descriptors.
        total_bytes: All files together.
        side_file_bytes: One Markdown or text file beside the model. json_bytes: one of JSON; large tokenizers take 20 MB.
        entries: Members of all archives together.
        depth: Archives within archives.
        expanded_bytes: What all archives together unpack to; it is held in memory.
        ratio: Unpacked over packed bytes of one member, once it is over 1 MiB. Weights compress 1.1 to 30 times.
        operations: Pickle opcodes and protobuf fields together.
        nodes: Nodes of an ONNX graph, functions expanded.
        memory: Bytes that the confined process may take.
        seconds: Wall time of the whole scan.
    """

    files: int = 200
    total_bytes: int = 16 << 30
    side_file_bytes: int = 4 << 20
    json_bytes: int = 32 << 20
    entries: int = 4096
    depth: int = 4
    expanded_bytes: int = 512 << 20
    ratio: int = 200
    operations: int = 10_000_000
    nodes: int = 1_000_000
    memory: int = 2 << 30
    seconds: float = 120.0


class DatasetLimits(msgspec.Struct, frozen=True, kw_only=True):
    """Bounds of one dataset.

    Args:
        file_bytes: The file as given; a folder is one, with all its files. A push is also held to its own quota.
        image_bytes, pixels: One image, as it lies and unpacked; four times a good camera's.
        uncompressed_bytes: All rows in memory, were they there at once.
        memory: Bytes that the confined process may take; it holds a few batches of rows, however many there are.
        seconds, rate: Wall time of the conversion: so many seconds, and one more for each `rate` bytes of the file.
        categories: A column of text, or a whole-number target, with at most so many values lists them.
    """

    file_bytes: int = 64 << 30
    rows: int = 1_000_000_000
    columns: int = 4096
    cell_bytes: int = 1 << 20
    image_bytes: int = 16 << 20
    pixels: int = 100_000_000
    uncompressed_bytes: int = 256 << 30
    memory: int = 4 << 30
    seconds: float = 300.0
    rate: int = 1 << 20
    categories: int = 32

    def bounded(self, chunks: Iterable[bytes], filename: str, *, before: int = 0) -> Iterator[bytes]:
        """The same chunks. Raises: TooLargeError `dataset-too-large` as soon as they, and what came before, are over
        `file_bytes`.
        """
        size = before
        for chunk in chunks:
            size += len(chunk)
            self.check_file(size, filename)
            yield chunk

    def check_file(self, size: int, filename: str) -> None:
        """Raises: TooLargeError `dataset-too-large`."""
        if size > self.file_bytes:
            raise TooLargeError(
                f"{filename[:200]} has more than the {self.file_bytes} bytes of a dataset: split it.",
                code="dataset-too-large",
            )
