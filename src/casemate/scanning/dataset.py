"""A table in whatever file -> normalised Parquet and schema.json, parsed in the sandbox."""

from __future__ import annotations

from casemate.core import SealedFile
from casemate.scanning.limits import DatasetLimits
from casemate.scanning.report import ConvertedDataset


def convert_dataset(
    file: SealedFile,
    filename: str,
    *,
    target: str | None = None,
    limits: DatasetLimits | None = None,
    insecure: bool = False,
) -> ConvertedDataset:
    """Convert CSV, JSON Lines or Parquet, told apart by content, into Parquet of plain columns.

    Args: filename: for messages only. target: the column with the role `target`; the others are features.
    Raises:
        InputError: `dataset-format`, `dataset-encoding`, `dataset-malformed` (names the line), `dataset-columns`,
            `dataset-target`, `dataset-empty`, `dataset-types`.
        TooLargeError: `dataset-too-large`.
        SandboxError: `walls-missing`, `sandbox-start`.
    """
    raise NotImplementedError
