"""What a scan and a conversion give back."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any, Self

import msgspec

from casemate.core import Finding, SealedFile, ServedFile, Verdict


class ScanReport(msgspec.Struct, frozen=True, kw_only=True):
    """The outcome of a scan.

    Args:
        verdict: REFUSED when any finding is high or critical.
        format: `onnx`, `safetensors`, `skops`, `pickle`, `torch`, ... of the model; empty when there is none.
        served: The one file that a runtime loads, told by its content; None when there is none, or more than one.
        facts: For ONNX `opset`, `ir_version`, `nodes`, and `inputs` and `outputs` as lists of {"name", "datatype",
            "shape"}; for safetensors `tensors` and `parameters`; for skops `estimator`. What the file claims about
            itself: as foreign as the file.
    """

    verdict: Verdict
    findings: tuple[Finding, ...]
    format: str
    served: ServedFile | None
    facts: dict[str, Any]


class DescribedDataset(msgspec.Struct, frozen=True, kw_only=True):
    """What a conversion says of a table.

    Args:
        schema: Content of schema.json: {"schema": 1, "rows": N, "columns": [{"name", "type", "role", "min", "max",
            "nulls", "categories"?}]}; type is int64, float64, bool, string, date, timestamp or image; role is feature
            or target; min and max are null where a type has none.
        findings: What was changed or is odd; never refusing, as what is refused raises.
    """

    schema: dict[str, Any]
    findings: tuple[Finding, ...]


class ConvertedDataset(msgspec.Struct, frozen=True, kw_only=True):
    """A dataset as normalised Parquet; a context manager that closes the sealed file.

    Args: schema, findings: as of `DescribedDataset`. pieces: bytes of each piece of the file; empty: it is one.
    """

    parquet: SealedFile
    schema: dict[str, Any]
    findings: tuple[Finding, ...]
    pieces: tuple[int, ...] = ()

    def stream(self, take: Callable[[bytes], None]) -> DescribedDataset:
        """Give `take` the pieces, in order."""
        with self.parquet.open() as reader:
            for size in self.pieces or (self.parquet.size,):
                take(reader.read(size))
        return DescribedDataset(schema=self.schema, findings=self.findings)

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        self.parquet.close()
