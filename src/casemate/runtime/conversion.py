"""A pickle becomes a model that can be served: loaded once behind the walls, exported, scanned, and compared.

The process that loads the pickle is taken to be hostile. What it wrote is sealed before it sees a row of the sample, scanned like
any upload, loaded by a runtime in a second confined process, and must answer there what the first one said that the pickle
answers.

    with convert_model(sealed, "model.pkl", to="onnx") as converted:
        converted.file, converted.conversion
"""

from __future__ import annotations

import platform
from dataclasses import dataclass
from importlib.metadata import PackageNotFoundError, version
from typing import Any, Literal, Self, get_args

import msgspec
import numpy as np

from casemate import __version__
from casemate.core import (
    Finding,
    InputError,
    SandboxError,
    SealedFile,
    ServedFile,
    Signature,
    Verdict,
    VerificationError,
    digest_of,
    seal_bytes,
)
from casemate.registry.conversions import (
    Conversion,
    ConvertedResult,
    ConvertedSource,
    Sample,
    Tolerance,
)
from casemate.runtime.conversion_compare import compared
from casemate.runtime.conversion_export import MOST_NAME, exported
from casemate.runtime.conversion_rows import MOST_ROWS
from casemate.runtime.startup import WORKER_LIMITS, start_worker
from casemate.runtime.tensors import Array, decode_tensors, encode_tensors
from casemate.sandbox import run_confined
from casemate.scanning import ScanReport, scan
from casemate.signing import VersionIdentity

Target = Literal["lightgbm", "onnx", "safetensors", "skops", "xgboost"]

FILES: dict[Target, str] = {
    "lightgbm": "model.txt",
    "onnx": "model.onnx",
    "safetensors": "model.safetensors",
    "skops": "model.skops",
    "xgboost": "model.ubj",
}
RECORD = "conversion.json"
_WEIGHTS = "casemate.runtime.conversion_weights:main"
_PLAIN = frozenset(
    {"pickle-not-served", "archive-not-served"}
)  # against serving it, not against loading it behind walls
_BATCH = 1000  # rows asked at a time
_LIBRARIES: dict[Target, tuple[str, ...]] = {
    "lightgbm": ("lightgbm", "numpy"),
    "onnx": ("scikit-learn", "skl2onnx", "onnx", "onnxruntime", "numpy"),
    "safetensors": ("scikit-learn", "numpy"),
    "skops": ("scikit-learn", "skops", "numpy"),
    "xgboost": ("xgboost", "xgboost-cpu", "numpy"),
}


@dataclass(frozen=True, slots=True, kw_only=True)
class ConvertedModel:
    """A context manager that closes `file`. `signature` is None for weights, which nothing serves."""

    file: SealedFile
    conversion: Conversion
    signature: Signature | None

    @property
    def path(self) -> str:
        """The file's name."""
        return self.conversion.result.path

    @property
    def record(self) -> dict[str, Any]:
        """What `conversion.json` beside it says."""
        return {"schema": 1, **msgspec.to_builtins(self.conversion)}

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        self.file.close()


def checked_target(to: str) -> Target:
    """Raises: InputError `convert-target`."""
    for target in get_args(Target):
        if target == to:
            return target  # type: ignore[no-any-return]
    raise InputError(f"Nothing is converted to {to[:40]!r}: name one of {', '.join(FILES)}.", code="convert-target")


def convert_model(
    source: SealedFile,
    filename: str,
    *,
    to: Target,
    sample: Array | None = None,
    rows_of: VersionIdentity | None = None,
    despite_findings: bool = False,
    tolerance: Tolerance | None = None,
    insecure: bool = False,
) -> ConvertedModel:
    """Convert a pickle or joblib file into one of the formats that are served.

    Args:
        sample: float64 (n, features), the rows to compare on; without them `MADE_ROWS` made-up ones are taken.
        rows_of: The version of a dataset that the sample is of.
        despite_findings: Load it though the scan holds more against it than being a pickle.
    Raises:
        InputError: `convert-no-pickle`, `convert-flagged`, `convert-module`, `convert-load`, `convert-estimator`,
            `convert-unsupported`, `convert-sample`.
        VerificationError: `convert-attempt`: it tried what the walls refuse. `convert-refused`: what it wrote is refused by
            the scan or does not load. `convert-differs`.
        SandboxError: as `run_confined`.
    """
    if not filename or len(filename) > MOST_NAME or not filename.isprintable():
        raise InputError(f"A file's name has 1 to {MOST_NAME} characters that can be shown.", code="bad-filename")
    report = scan({"model.bin": source}, insecure=insecure)
    held = _check_source(report, filename, despite_findings=despite_findings)
    rows = None if sample is None else np.ascontiguousarray(sample, np.float32).astype(np.float64)
    if rows is not None and not 0 < len(rows) <= MOST_ROWS:
        raise InputError(f"A sample has 1 to {MOST_ROWS} rows; this one has {len(rows)}.", code="convert-sample")
    export, said = exported(source, to, rows, insecure=insecure)
    file = export.file
    try:
        given, signature = _answers(file, to, export.rows, insecure=insecure)
        found = compared(said, given, tolerance or Tolerance(), figures=rows_of is None)
    except BaseException:
        file.close()
        raise
    conversion = Conversion(
        source=ConvertedSource(
            name=filename,
            digest=source.digest,
            format=report.format,
            findings=tuple(held),
            estimator=export.estimator,
        ),
        result=ConvertedResult(path=FILES[to], digest=file.digest, format=to),
        libraries=_libraries(to),
        warnings=export.warnings,
        sample=_told(export.rows, given=rows is not None, rows_of=rows_of),
        compared=found,
        despite_findings=bool(set(held) - _PLAIN),
    )
    return ConvertedModel(file=file, conversion=conversion, signature=signature)


def _check_source(report: ScanReport, filename: str, *, despite_findings: bool) -> list[str]:
    """Ids of what the scan holds against it. Raises: InputError."""
    held = sorted({finding.id for finding in report.findings})
    if report.format != "pickle" and not {"pickle-not-served", "pickle-forbidden-import"} & set(held):
        raise InputError(
            f"{filename} is no pickle but {report.format or 'of no known format'}: only pickles are converted.",
            code="convert-no-pickle",
        )
    odd = [finding for finding in report.findings if finding.id not in _PLAIN]
    if odd and not despite_findings:
        raise InputError(
            f"{filename} is more than a plain pickle ({odd[0].id}: {odd[0].evidence}). If you know its author, convert it "
            "all the same with --despite-findings: it is loaded in the sandbox only.",
            code="convert-flagged",
        )
    return held


def _libraries(to: Target) -> dict[str, str]:
    """Of this environment, in which both processes ran; what the pickle's process says of it would prove nothing."""
    found = {"casemate": __version__, "python": platform.python_version()}
    for name in _LIBRARIES[to]:
        try:
            found[name] = version(name)
        except PackageNotFoundError:
            continue
    return found


def _told(rows: Array, *, given: bool, rows_of: VersionIdentity | None) -> Sample:
    if rows_of is not None:
        return Sample(origin="dataset", rows=len(rows), dataset=rows_of)
    return Sample(origin="given" if given else "made up", rows=len(rows), digest=digest_of(rows.tobytes()))


def _answers(file: SealedFile, to: Target, rows: Array, *, insecure: bool) -> tuple[dict[str, Array], Signature | None]:
    """What the export answers, in a process that has never seen the pickle. Raises: VerificationError; SandboxError."""
    files = {FILES[to]: file}
    report = scan(files, insecure=insecure)
    served = None if to == "safetensors" else ServedFile(path=FILES[to], runtime=to)
    if report.verdict is not Verdict.CLEAN or report.served != served or (served is None and report.format != to):
        raise VerificationError(
            f"The export is refused by the scan ({_first(report.findings)}): it is not kept.", code="convert-refused"
        )
    if served is None:
        return {"label": _scores(file, rows, insecure=insecure)}, None
    started = start_worker(files, served, limits=WORKER_LIMITS, insecure=insecure)
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


def _scores(file: SealedFile, rows: Array, *, insecure: bool) -> Array:
    """What a linear model's weights give for the rows: nothing serves them, so they are computed. Raises: VerificationError."""
    try:
        frame = run_confined(_WEIGHTS, {}, buffers=[rows.tobytes()], files=[file], insecure=insecure)
        return np.frombuffer(frame.buffers[0], np.float64).reshape(frame.message["rows"], frame.message["outputs"])
    except (SandboxError, KeyError, TypeError, ValueError, IndexError) as error:
        if isinstance(error, SandboxError) and error.code != "sandbox-failed":
            raise
        raise VerificationError("The export holds no weights of a linear model.", code="convert-refused") from error


def _first(findings: tuple[Finding, ...]) -> str:
    return f"{findings[0].id}: {findings[0].evidence}" if findings else "nothing that can be served"


def seal_record(converted: ConvertedModel) -> SealedFile:
    """`conversion.json`, as it lies beside the model."""
    return seal_bytes([msgspec.json.format(msgspec.json.encode(converted.record)) + b"\n"])
