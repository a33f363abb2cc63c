"""Conversions that a home does, as Python calls: `casemate.conversions`."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path
from typing import Any

from casemate.client.connection import Connection
from casemate.client.files import CHUNK, Progress, file_size, told
from casemate.client.paths import name_part


class ConversionCalls:
    """The calls of one client."""

    def __init__(self, connection: Connection) -> None:
        self._change = connection.change

    def make(
        self,
        name: str,
        pickle: Path,
        *,
        to: str,
        dataset: str | None = None,
        sample: Path | None = None,
        sample_dataset: str | None = None,
        despite_findings: bool = False,
        reason: str = "",
        progress: Progress | None = None,
    ) -> dict[str, Any]:
        """Have the home load a pickle in its sandbox, and push what it becomes as a version of `name`, with a signed statement.

        Args:
            to: onnx, skops, xgboost, lightgbm or safetensors.
            dataset: What the model was trained on.
            sample, sample_dataset: A table of rows to compare on, or a version that has them; without either they are made up.
            despite_findings: Load it though the scan holds more against it; who may is for a policy to say.
        Returns: as of a push, and `conversion`: what is signed of it.
        """
        size = file_size(sample) if sample else 0
        total = size + file_size(pickle)
        query = {
            "to": to,
            "filename": pickle.name,
            "dataset": dataset,
            "sample": size or None,
            "sample_name": sample.name if sample else None,
            "sample_dataset": sample_dataset,
            "despite_findings": "true" if despite_findings else None,
            "reason": reason,
        }
        return self._change(
            "POST",
            f"/models/{name_part(name)}/conversions",
            query=query,
            content=told(_pieces(sample, pickle), total, progress),
        )


def _pieces(*paths: Path | None) -> Iterator[bytes]:
    for path in paths:
        if path is not None:
            with path.open("rb") as file:
                yield from iter(lambda file=file: file.read(CHUNK), b"")  # type: ignore[misc]
