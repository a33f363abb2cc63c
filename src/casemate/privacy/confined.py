"""A dataset's Parquet file is looked at, made anonymous, or turned back, in the sandbox: the rows are foreign bytes."""

from __future__ import annotations

import os
from collections.abc import Sequence
from typing import Any, Self, TypeVar

import msgspec

from casemate.core import DataClass, InputError, SandboxError, SealedFile, TooLargeError, Verdict, memory_file
from casemate.privacy.anonymise import AnonymisationReport
from casemate.privacy.policy import Policy
from casemate.privacy.report import PersonalConfig, PersonalReport
from casemate.privacy.second_opinion import is_installed
from casemate.privacy.treatments import Keys
from casemate.sandbox import TOO_MUCH, Limits, run_confined

_ENTRY, _WITH_OPINION = "casemate.privacy.job:main", "casemate.privacy.job_with_opinion:main"
SECONDS = 3600.0
_MEMORY = 6 << 30  # bytes
_FILE = 1 << 30  # bytes of the new table
_Report = TypeVar("_Report", PersonalReport, AnonymisationReport)


class Anonymised(msgspec.Struct, frozen=True, kw_only=True):
    """A context manager that closes the file. Args: parquet: the new table; None where the report refuses."""

    report: AnonymisationReport
    parquet: SealedFile | None

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        if self.parquet is not None:
            self.parquet.close()


class Reidentified(msgspec.Struct, frozen=True, kw_only=True):
    """A context manager that closes the file. Args: parquet: the table. rows: in it."""

    parquet: SealedFile
    rows: int

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        self.parquet.close()


def find_personal_data(
    parquet: SealedFile,
    *,
    declared: DataClass = DataClass.INTERNAL,
    config: PersonalConfig | None = None,
    insecure: bool = False,
) -> PersonalReport:
    """Look at a table as `scanning` makes them. Blocks. The report holds no value of any cell.

    Raises: InputError `no-presidio`; TooLargeError `personal-too-large`; SandboxError.
    """
    config = config or PersonalConfig()
    message = {"do": "look", "declared": declared.value, "config": msgspec.to_builtins(config)}
    return _answer(_run(message, parquet, config, insecure=insecure), PersonalReport)


def anonymise_dataset(
    parquet: SealedFile,
    policy: Policy,
    *,
    keys: Keys | None = None,
    config: PersonalConfig | None = None,
    insecure: bool = False,
) -> Anonymised:
    """Make a table anonymous as a policy says, look at it again, and measure what is left. Blocks.

    Raises: InputError `personal-policy`, `personal-key`, `personal-treatment`, `no-presidio`; TooLargeError `personal-too-large`;
        SandboxError.
    """
    config, keys = config or PersonalConfig(), keys or Keys()
    if policy.needs_key and not keys.pseudonym:
        raise _no_key("--key")
    if policy.needs_reversible_key and not keys.reversible:
        raise _no_key("--reversible-key")
    message = {"do": "anonymise", "policy": msgspec.to_builtins(policy), "config": msgspec.to_builtins(config)}
    output = memory_file("anonymous")
    try:
        answer = _run(
            message, parquet, config, buffers=[keys.pseudonym, keys.reversible], output=output, insecure=insecure
        )
        report = _answer(answer, AnonymisationReport)
    except BaseException:
        os.close(output)
        raise
    if report.verdict is not Verdict.CLEAN:
        os.close(output)
        return Anonymised(report=report, parquet=None)
    return Anonymised(report=report, parquet=SealedFile(output))


def reidentify_dataset(
    parquet: SealedFile,
    *,
    column: str,
    domain: str = "",
    key: bytes,
    values: Sequence[str] = (),
    insecure: bool = False,
) -> Reidentified:
    """The table with one column's reversible pseudonyms turned back. Whoever has the key can do it. Blocks.

    Args: domain: of the policy; empty: the column's name. values: pseudonyms whose rows alone are wanted; none: all rows.
    Raises: InputError `personal-column`, `not-reversible`, `no-such-pseudonym`; TooLargeError `personal-too-large`; SandboxError.
    """
    message = {"do": "reidentify", "column": column, "domain": domain or column, "values": list(values)}
    output = memory_file("reidentified")
    try:
        answer = _run(message, parquet, PersonalConfig(), buffers=[key], output=output, insecure=insecure)
        rows = answer.get("rows") if isinstance(answer, dict) else None
        if not isinstance(rows, int):
            raise SandboxError("Turning pseudonyms back broke the protocol.", code="sandbox-protocol")
    except BaseException:
        os.close(output)
        raise
    return Reidentified(parquet=SealedFile(output), rows=rows)


def _run(
    message: dict[str, Any],
    parquet: SealedFile,
    config: PersonalConfig,
    *,
    buffers: Sequence[bytes] = (),
    output: int | None = None,
    insecure: bool,
) -> Any:
    if config.second_opinion and not is_installed():
        raise InputError(
            "Presidio is not installed: pip install 'casemate[presidio]', or leave out --second-opinion.",
            code="no-presidio",
        )
    try:
        return run_confined(
            _WITH_OPINION if config.second_opinion else _ENTRY,
            message,
            buffers=buffers,
            files=[parquet],
            outputs=[] if output is None else [output],
            limits=Limits(memory=_MEMORY, cpu_seconds=2 * int(SECONDS), file_bytes=_FILE),
            timeout=SECONDS,
            insecure=insecure,
        ).message
    except SandboxError as error:
        if error.code not in TOO_MUCH:
            raise
        raise TooLargeError(
            "The dataset takes more memory or time than a look for personal data may: split it.",
            code="personal-too-large",
        ) from error


def _answer(message: Any, kind: type[_Report]) -> _Report:
    try:
        return msgspec.convert(message, kind)
    except msgspec.ValidationError as error:
        raise SandboxError("The look for personal data broke the protocol.", code="sandbox-protocol") from error


def _no_key(option: str) -> InputError:
    return InputError(
        f"The policy needs a key: make one with `casemate dataset personal-key`, and name it with {option}.",
        code="personal-key",
    )
