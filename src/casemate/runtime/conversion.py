"""A pickle becomes a model that can be served: loaded once behind the walls, exported, scanned, and compared.

The process that loads the pickle is taken to be hostile. What it wrote is scanned like any upload, loaded by a runtime in a
second confined process, and must answer there what the first one said that the pickle answers.

    with convert_model(sealed, "model.pkl", to="onnx") as converted:
        converted.file, converted.record
"""

from __future__ import annotations

import os
from typing import Any, Literal, Self

import msgspec
import numpy as np

from casemate.core import (
    Finding,
    InputError,
    SandboxError,
    SealedFile,
    ServedFile,
    Severity,
    Signature,
    Verdict,
    VerificationError,
    digest_of,
    memory_file,
    seal_bytes,
)
from casemate.runtime.conversion_rows import made_rows
from casemate.runtime.startup import WORKER_LIMITS, start_worker
from casemate.runtime.tensors import Array, decode_tensors, encode_tensors
from casemate.runtime.training_findings import attempts_of
from casemate.sandbox import Denial, Limits, run_confined
from casemate.scanning import ScanReport, scan

Target = Literal["lightgbm", "onnx", "skops", "xgboost"]

FILES: dict[Target, str] = {
    "lightgbm": "model.txt",
    "onnx": "model.onnx",
    "skops": "model.skops",
    "xgboost": "model.ubj",
}
RECORD = "conversion.json"
MADE_ROWS = 300
MOST_ROWS = 10_000
_ENTRY = "casemate.runtime.conversion_job:main"
_LIMITS = Limits(memory=4 << 30, cpu_seconds=120, file_bytes=1 << 30)
_TIMEOUT = 120.0  # seconds
_EXPECTED = frozenset({"pickle-not-served"})
_BATCH = 1000  # rows asked at a time


class Tolerance(msgspec.Struct, frozen=True, kw_only=True):
    """How far a converted model may be from the first one.

    Args:
        difference: Of a probability, or of a number relative to its size; ONNX computes with 24 bits where scikit-learn has 53.
        labels: Share of rows whose class may differ: those that lie on a border.
    """

    difference: float = 1e-3
    labels: float = 0.01


class ConvertedModel(msgspec.Struct, frozen=True, kw_only=True):
    """A context manager that closes `file`. `record` is what `conversion.json` beside it says."""

    file: SealedFile
    path: str
    record: dict[str, Any]
    signature: Signature

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        self.file.close()


class _Answer(msgspec.Struct, forbid_unknown_fields=True):
    estimator: str
    width: int
    shapes: dict[str, list[int]]
    libraries: dict[str, str]
    warnings: list[str]


def convert_model(
    source: SealedFile,
    filename: str,
    *,
    to: Target,
    sample: Array | None = None,
    despite_findings: bool = False,
    tolerance: Tolerance | None = None,
    insecure: bool = False,
) -> ConvertedModel:
    """Convert a pickle or joblib file into one of the formats that are served.

    Args:
        sample: float64 (n, features), the rows to compare on; without them `MADE_ROWS` made-up ones are taken.
        despite_findings: Load it though the scan holds more against it than being a pickle.
    Raises:
        InputError: `convert-no-pickle`, `convert-flagged`, `convert-module`, `convert-load`, `convert-estimator`,
            `convert-unsupported`, `convert-sample`.
        VerificationError: `convert-attempt`: it tried what the walls refuse. `convert-refused`: what it wrote is refused by
            the scan or does not load. `convert-differs`.
        SandboxError: as `run_confined`.
    """
    report = scan({"model.bin": source}, insecure=insecure)
    held = _check_source(report, filename, despite_findings=despite_findings)
    rows = None if sample is None else np.ascontiguousarray(sample, np.float32).astype(np.float64)
    if rows is not None and not 0 < len(rows) <= MOST_ROWS:
        raise InputError(f"A sample has 1 to {MOST_ROWS} rows; this one has {len(rows)}.", code="convert-sample")
    file, answer, said = _run(source, to, rows, insecure=insecure)
    try:
        compared_rows = made_rows(MADE_ROWS, answer.width) if rows is None else rows
        given, signature = _served_answers(file, to, compared_rows, insecure=insecure)
        compared = _compared(said, given, tolerance or Tolerance())
    except BaseException:
        file.close()
        raise
    record = {
        "schema": 1,
        "source": {
            "name": filename[:200], "digest": source.digest, "format": report.format, "findings": held,
            "estimator": answer.estimator,
        },
        "result": {"path": FILES[to], "digest": file.digest, "format": to},
        "libraries": answer.libraries,
        "warnings": answer.warnings,
        "sample": {
            "origin": "made up" if rows is None else "given",
            "rows": len(compared_rows),
            "digest": digest_of(compared_rows.tobytes()),
        },
        "compared": compared,
    }  # fmt: skip
    return ConvertedModel(file=file, path=FILES[to], record=record, signature=signature)


def _check_source(report: ScanReport, filename: str, *, despite_findings: bool) -> list[str]:
    """Ids of what the scan holds against it. Raises: InputError."""
    held = sorted({finding.id for finding in report.findings})
    if report.format != "pickle" and not {"pickle-not-served", "pickle-forbidden-import"} & set(held):
        raise InputError(
            f"{filename} is no pickle but {report.format or 'of no known format'}: only pickles are converted.",
            code="convert-no-pickle",
        )
    odd = [finding for finding in report.findings if finding.id not in _EXPECTED | {"archive-not-served"}]
    if odd and not despite_findings:
        raise InputError(
            f"{filename} is more than a plain pickle ({odd[0].id}: {odd[0].evidence}). If you know its author, convert it "
            "all the same with --despite-findings: it is loaded in the sandbox only.",
            code="convert-flagged",
        )
    return held


def _run(
    source: SealedFile, to: Target, rows: Array | None, *, insecure: bool
) -> tuple[SealedFile, _Answer, dict[str, Array]]:
    """(what it wrote, what it says about itself, what it says that it predicts)."""
    output, denials = memory_file("converted"), list[Denial]()
    try:
        frame = run_confined(
            _ENTRY,
            {"to": to, "rows": MADE_ROWS, "width": 0 if rows is None else rows.shape[1]},
            buffers=[] if rows is None else [rows.tobytes()],
            files=[source],
            outputs=[output],
            limits=_LIMITS,
            timeout=_TIMEOUT,
            insecure=insecure,
            denials=denials,
        )
        _check_attempts(denials)
        answer = msgspec.convert(frame.message, _Answer)
        said = _arrays(answer.shapes, frame.buffers)
    except BaseException as error:
        os.close(output)
        if isinstance(error, InputError | SandboxError):
            _check_attempts(denials)
        if isinstance(error, msgspec.ValidationError | ValueError | TypeError):
            raise SandboxError("The conversion broke the protocol.", code="sandbox-protocol") from error
        raise
    return SealedFile(output), answer, said


def _check_attempts(denials: list[Denial]) -> None:
    """Raises: VerificationError `convert-attempt`."""
    attempts = [one for one in attempts_of(denials) if one.severity is not Severity.INFO]
    if attempts:
        raise VerificationError(
            f"The pickle tried what no model does ({attempts[0].evidence}); it was stopped. Treat it as hostile.",
            code="convert-attempt",
        )


def _arrays(shapes: dict[str, list[int]], buffers: list[Any]) -> dict[str, Array]:
    """Raises: ValueError: sizes that are not those of its shapes."""
    if not shapes.keys() <= {"label", "probabilities"} or len(shapes) != len(buffers) or "label" not in shapes:
        raise ValueError("other outputs")
    return {
        name: np.frombuffer(buffer, np.float64).reshape(shape)
        for (name, shape), buffer in zip(shapes.items(), buffers, strict=True)
    }


def _served_answers(file: SealedFile, to: Target, rows: Array, *, insecure: bool) -> tuple[dict[str, Array], Signature]:
    """What the runtime that will serve it answers, in a process that has never seen the pickle. Raises: VerificationError."""
    files = {FILES[to]: file}
    report = scan(files, insecure=insecure)
    if report.verdict is not Verdict.CLEAN or report.served != ServedFile(path=FILES[to], runtime=to):
        raise VerificationError(
            f"The export is refused by the scan ({_first(report.findings)}): it is not kept.", code="convert-refused"
        )
    started = start_worker(files, report.served, limits=WORKER_LIMITS, insecure=insecure)
    with started.cell as cell:
        (given, *more) = started.signature.inputs
        if more:
            raise VerificationError("The export takes more than one table of rows.", code="convert-refused")
        kind = {"FP32": np.float32, "FP64": np.float64}.get(given.datatype)
        if kind is None:
            raise VerificationError(f"The export takes {given.datatype}, no floats.", code="convert-refused")
        parts: dict[str, list[Array]] = {}
        for start in range(0, len(rows), _BATCH):
            headers, buffers = encode_tensors({given.name: rows[start : start + _BATCH].astype(kind)})
            cell.channel.send({"id": start, "inputs": headers}, buffers)
            frame = cell.channel.recv(60)
            if "outputs" not in frame.message:
                raise VerificationError("The export fails on the sample's rows.", code="convert-refused")
            for name, array in decode_tensors(frame.message["outputs"], frame.buffers).items():
                parts.setdefault(name, []).append(array)
    return {name: np.concatenate(arrays) for name, arrays in parts.items()}, started.signature


def _first(findings: tuple[Finding, ...]) -> str:
    return f"{findings[0].id}: {findings[0].evidence}" if findings else "nothing that can be served"


def _compared(said: dict[str, Array], given: dict[str, Array], tolerance: Tolerance) -> dict[str, Any]:
    """How far they are apart. Raises: VerificationError `convert-differs`."""
    label = given.get("label", given.get("variable", given.get("output_label")))
    probabilities = given.get("probabilities", given.get("output_probability"))
    facts: dict[str, Any] = {"tolerance": msgspec.to_builtins(tolerance)}
    if "probabilities" in said:
        if probabilities is None or probabilities.shape != said["probabilities"].shape:
            raise _differs("it gives no probabilities, or of other classes")
        facts["max_difference"] = _distance(said["probabilities"], probabilities)
        chosen = probabilities.argmax(axis=1)
        facts["labels_differ"] = int((said["probabilities"].argmax(axis=1) != chosen).sum())
    elif label is None:
        raise _differs("it gives no label")
    elif label.dtype.kind in "iufb":
        facts["max_difference"] = _distance(said["label"].reshape(label.shape), label.astype(np.float64))
        facts["labels_differ"] = (
            int((said["label"].reshape(label.shape) != label).sum()) if label.dtype.kind == "i" else 0
        )
        if label.dtype.kind == "i":
            facts["max_difference"] = 0.0
    else:
        raise _differs("its labels are text without probabilities, which cannot be compared")
    rows = len(said["label"])
    if not facts["max_difference"] <= tolerance.difference or facts["labels_differ"] > tolerance.labels * rows:
        raise _differs(
            f"by up to {facts['max_difference']:.3g}, and in the class of {facts['labels_differ']} of {rows} rows"
        )
    return facts


def _distance(first: Array, second: Array) -> float:
    """Largest difference, relative to numbers over 1; not finite when either is not where the other is."""
    if first.shape != second.shape or not (np.isfinite(first) == np.isfinite(second)).all():
        return float("inf")
    apart = np.abs(first - second) / np.maximum(1.0, np.abs(first))
    return float(np.nan_to_num(apart).max(initial=0.0))


def _differs(how: str) -> VerificationError:
    return VerificationError(
        f"The export does not predict as the pickle does: {how}. It is not kept; try another format.",
        code="convert-differs",
    )


def read_sample(file: SealedFile, filename: str, *, insecure: bool = False) -> Array:
    """The numbers of a CSV, JSON Lines or Parquet table as float64 (n, columns), parsed behind the walls.

    Raises: InputError: as `convert_dataset`, and `convert-sample`: a column that is no number.
    """
    from casemate.scanning import convert_dataset

    with convert_dataset(file, filename, insecure=insecure) as table:
        frame = run_confined(
            "casemate.runtime.conversion_sample:main", {"most": MOST_ROWS}, files=[table.parquet], insecure=insecure
        )
    try:
        rows, width = frame.message["rows"], frame.message["width"]
        return np.frombuffer(frame.buffers[0], np.float64).reshape(rows, width)
    except (KeyError, TypeError, ValueError, IndexError) as error:
        raise SandboxError("The sample's reader broke the protocol.", code="sandbox-protocol") from error


def seal_record(converted: ConvertedModel) -> SealedFile:
    """`conversion.json`, as it lies beside the model."""
    return seal_bytes([msgspec.json.format(msgspec.json.encode(converted.record)) + b"\n"])
