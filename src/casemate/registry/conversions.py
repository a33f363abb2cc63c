"""What is known of a conversion: what it was made from, what came out, and how far the two are apart.

Beside a model's files, as `conversion.json`, it is what whoever converted says. In the manifest of a version, it is what this
home did itself, and signed.
"""

from __future__ import annotations

from typing import Literal

import msgspec

from casemate.core import Digest, SealedFile, VerificationError
from casemate.signing import VersionIdentity


class Tolerance(msgspec.Struct, frozen=True, kw_only=True):
    """How far a converted model may be from the first one.

    Args:
        difference: Of a probability, or of a number relative to its size; ONNX computes with 24 bits where scikit-learn has 53.
        labels: Share of rows whose class may differ: those that lie on a border.
    """

    difference: float = 1e-3
    labels: float = 0.01


class ConvertedSource(msgspec.Struct, frozen=True, kw_only=True):
    """What was loaded, and is not kept. Args: findings: ids of what the scan held against it. estimator: as its own process
    said, which is taken to be hostile."""

    name: str
    digest: Digest
    format: str | None
    findings: tuple[str, ...]
    estimator: str


class ConvertedResult(msgspec.Struct, frozen=True, kw_only=True):
    """The file that came out."""

    path: str
    digest: Digest
    format: str


class Sample(msgspec.Struct, frozen=True, kw_only=True, omit_defaults=True):
    """The rows that both models predicted. Args: digest: of their numbers; where a dataset's version gave them, `dataset` has its."""

    origin: Literal["made up", "given", "dataset"]
    rows: int
    digest: Digest | None = None
    dataset: VersionIdentity | None = None


class Compared(msgspec.Struct, frozen=True, kw_only=True):
    """How far both are apart. Args: max_difference: the largest, to two digits. labels_differ: rows of another class."""

    max_difference: float
    labels_differ: int
    tolerance: Tolerance


class Conversion(msgspec.Struct, frozen=True, kw_only=True, omit_defaults=True):
    """One conversion. Args: libraries: name -> version, of this environment. warnings: as `source.estimator`.
    despite_findings: it was loaded though the scan held more against it than being a pickle."""

    source: ConvertedSource
    result: ConvertedResult
    libraries: dict[str, str]
    warnings: tuple[str, ...]
    sample: Sample
    compared: Compared
    despite_findings: bool = False


def check_result(conversion: Conversion, files: dict[str, SealedFile]) -> None:
    """Return when the files of a push are what came out of the conversion, and no more. Raises: VerificationError."""
    result = conversion.result
    if {path: file.digest for path, file in files.items()} != {result.path: result.digest}:
        raise VerificationError(
            "These files are not what came out of the conversion: convert it again.", code="conversion-mismatch"
        )
