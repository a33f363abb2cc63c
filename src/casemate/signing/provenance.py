"""Provenance of a training that ran elsewhere: SLSA provenance v1, made for a trainer, read strictly for a home.

Source: in-toto Statement v1 and ResourceDescriptor; SLSA v1, build provenance. A dependency's name says what it is:
`dataset:NAME`, `script:NAME`, `environment:NAME`; a `git+` URI with a `gitCommit` is the repository.
"""

from __future__ import annotations

from collections.abc import Mapping
from datetime import UTC, datetime
from typing import Annotated, Any, Final, Literal

import msgspec

from casemate.core import Digest, InputError, VerificationError, canonical, checked_path, rfc3339

PROVENANCE: Final = "https://slsa.dev/provenance/v1"
BUILD_TYPE: Final = "https://casemate.dev/outside-training/v1"
MAX_PROVENANCE: Final = 1 << 20  # bytes of a signed statement
MAX_PARAMETERS: Final = 100_000  # bytes of parameters and seeds, as JSON

_TYPE: Final = "https://in-toto.io/Statement/v1"
_Line = Annotated[str, msgspec.Meta(max_length=1000)]
Kind = Literal["dataset", "script", "environment", "repository", "other"]
_KINDS = ("dataset", "script", "environment")


class Dependency(msgspec.Struct, frozen=True, kw_only=True, omit_defaults=True):
    """Something that went into a training. Args: name: without what it is. digest: of its bytes; or else commit: of Git."""

    kind: Kind
    name: str = ""
    digest: Digest = Digest("")
    uri: str = ""
    commit: str = ""


class OutsideTraining(msgspec.Struct, frozen=True, kw_only=True, omit_defaults=True):
    """What a statement says of a training. Args: files: path -> digest of each file of the model.

    model: the name that it was made for, if it says one. builder: the URI of what ran it. by: who started it.
    started, finished: RFC 3339, or empty.
    """

    files: dict[str, Digest]
    builder: str
    dependencies: tuple[Dependency, ...] = ()
    parameters: dict[str, Any] = {}
    seeds: dict[str, int] = {}
    model: str = ""
    by: str = ""
    run: str = ""
    started: str = ""
    finished: str = ""

    def of(self, kind: str) -> tuple[Dependency, ...]:
        return tuple(one for one in self.dependencies if one.kind == kind)


class _Descriptor(msgspec.Struct, frozen=True, kw_only=True):
    name: _Line = ""
    uri: _Line = ""
    digest: dict[str, _Line] = {}


class _Definition(msgspec.Struct, frozen=True, kw_only=True, rename="camel"):
    build_type: _Line
    external_parameters: dict[str, Any] = {}
    resolved_dependencies: Annotated[tuple[_Descriptor, ...], msgspec.Meta(max_length=1000)] = ()


class _Builder(msgspec.Struct, frozen=True, kw_only=True):
    id: Annotated[str, msgspec.Meta(min_length=1, max_length=1000)]


class _Metadata(msgspec.Struct, frozen=True, kw_only=True, rename="camel"):
    invocation_id: _Line = ""
    started_on: datetime | None = None
    finished_on: datetime | None = None


class _Run(msgspec.Struct, frozen=True, kw_only=True):
    builder: _Builder
    metadata: _Metadata = _Metadata()


class _Predicate(msgspec.Struct, frozen=True, kw_only=True, rename="camel"):
    build_definition: _Definition
    run_details: _Run


class _Head(msgspec.Struct, frozen=True, kw_only=True):
    type: str = msgspec.field(name="_type")
    predicate_type: str = msgspec.field(name="predicateType")


class _Statement(msgspec.Struct, frozen=True, kw_only=True):
    subject: Annotated[tuple[_Descriptor, ...], msgspec.Meta(min_length=1, max_length=1000)]
    predicate: _Predicate


def provenance_statement(training: OutsideTraining) -> bytes:
    """The statement that a trainer signs. Raises: InputError `bad-parameters`: too many, or no plain JSON."""
    external = {
        "parameters": training.parameters,
        "seeds": training.seeds,
        **({"model": training.model} if training.model else {}),
        **({"by": training.by} if training.by else {}),
    }
    _check_size(external)
    times = {"startedOn": training.started, "finishedOn": training.finished, "invocationId": training.run}
    return canonical(
        {
            "_type": _TYPE,
            "subject": [
                {"name": path, "digest": {"sha256": digest.removeprefix("sha256:")}}
                for path, digest in sorted(training.files.items())
            ],
            "predicateType": PROVENANCE,
            "predicate": {
                "buildDefinition": {
                    "buildType": BUILD_TYPE,
                    "externalParameters": external,
                    "internalParameters": {},
                    "resolvedDependencies": [_descriptor(one) for one in training.dependencies],
                },
                "runDetails": {
                    "builder": {"id": training.builder},
                    "metadata": {name: value for name, value in times.items() if value},
                },
            },
        }
    )


def read_provenance(payload: bytes) -> OutsideTraining:
    """What a payload says, whose signature the caller has verified.

    Raises: VerificationError `predicate-mismatch`: it is a statement of another type; `provenance-malformed`: it cannot be
        read, names a file twice, or nothing by SHA-256.
    """
    try:
        head = msgspec.json.decode(payload, type=_Head)
        if (head.type, head.predicate_type) != (_TYPE, PROVENANCE):
            raise VerificationError(
                f"This is a statement of type {head.predicate_type[:200]!r}, and provenance is of type {PROVENANCE!r}: "
                "bring the statement about the training.",
                code="predicate-mismatch",
            )
        said = msgspec.json.decode(payload, type=_Statement)
        definition, run = said.predicate.build_definition, said.predicate.run_details
        external = definition.external_parameters
        _check_size({name: external.get(name) for name in ("parameters", "seeds")})
        files = {checked_path(one.name): _sha256(one) for one in said.subject}
        if len(files) != len(said.subject) or not all(files.values()):
            raise ValueError
        return OutsideTraining(
            files=files,
            builder=_shown(run.builder.id),
            dependencies=tuple(_dependency(one) for one in definition.resolved_dependencies),
            parameters=msgspec.convert(external.get("parameters", {}), dict[str, Any]),
            seeds=msgspec.convert(external.get("seeds", {}), dict[str, int]),
            model=_shown(msgspec.convert(external.get("model", ""), _Line)),
            by=_shown(msgspec.convert(external.get("by", ""), _Line)),
            run=_shown(run.metadata.invocation_id),
            started=_time(run.metadata.started_on),
            finished=_time(run.metadata.finished_on),
        )
    except (ValueError, OverflowError, RecursionError, InputError) as error:
        raise VerificationError(
            "The provenance cannot be read: it is SLSA provenance v1 in an in-toto statement, and names every file of "
            "the model once, by SHA-256. Make one with casemate model attest.",
            code="provenance-malformed",
        ) from error


def is_bare_statement(data: bytes) -> bool:
    """Whether it is a statement that nobody signed."""
    try:
        msgspec.json.decode(data, type=_Head)
    except ValueError:
        return False
    return True


def _check_size(external: Mapping[str, Any]) -> None:
    try:
        if len(canonical(external)) <= MAX_PARAMETERS:
            return
    except (TypeError, ValueError, OverflowError) as error:
        raise InputError("The parameters are not plain JSON.", code="bad-parameters") from error
    raise InputError(f"Parameters and seeds have at most {MAX_PARAMETERS} bytes.", code="bad-parameters")


def _descriptor(one: Dependency) -> dict[str, Any]:
    name = f"{one.kind}:{one.name}" if one.kind in _KINDS else one.name
    digest = {"sha256": one.digest.removeprefix("sha256:")} if one.digest else {"gitCommit": one.commit}
    return {**({"name": name} if name else {}), **({"uri": one.uri} if one.uri else {}), "digest": digest}


def _dependency(one: _Descriptor) -> Dependency:
    head, _, name = one.name.partition(":")
    commit = one.digest.get("gitCommit", "")
    kind: Any = head if head in _KINDS else "repository" if commit and one.uri.startswith("git+") else "other"
    shown = name if kind in _KINDS else one.name
    digest = _sha256(one)
    return Dependency(kind=kind, name=_shown(shown), digest=digest, uri=_shown(one.uri), commit=_shown(commit))


def _sha256(one: _Descriptor) -> Digest:
    """Raises: ValueError: it names one that is none."""
    text = one.digest.get("sha256", "")
    if text and (len(text) != 64 or set(text) - set("0123456789abcdef")):
        raise ValueError
    return Digest(f"sha256:{text}" if text else "")


def _shown(text: str) -> str:
    """Raises: ValueError: characters that cannot be shown."""
    if not text.isprintable():
        raise ValueError
    return text


def _time(instant: datetime | None) -> str:
    """Raises: ValueError: without a zone."""
    if instant is None:
        return ""
    if instant.tzinfo is None:
        raise ValueError
    return rfc3339(instant.astimezone(UTC))
