"""Datasets and models: push, show, pull, verify, approve, revoke, delete."""

import asyncio
import tarfile
from collections.abc import AsyncIterator, Callable, Iterator
from concurrent.futures import Future
from functools import partial
from typing import Annotated, Any

import msgspec
from fastapi import Depends, Query, Request
from fastapi.responses import StreamingResponse
from pydantic import StringConstraints

from casemate.console.callers import Call, Caller
from casemate.console.data_asked import (
    base_named,
    dataset_as_pushed,
    dataset_made_from,
    dataset_named,
    dataset_newest,
    dataset_version,
    every_model,
    model_version,
)
from casemate.console.door import Also, Door
from casemate.console.flags import is_set
from casemate.console.places import Long
from casemate.console.uploads import BodyReader, client_gone, files_in_tar
from casemate.core import (
    Action,
    AssetKind,
    ConflictError,
    InputError,
    NotFoundError,
    Ref,
    Severity,
    checked_digest,
    parse_ref,
)
from casemate.core.datasheets import MAX_SHEET, read_sheet
from casemate.registry import (
    MAX_CLAIMS,
    RELEASING,
    Brought,
    Datasets,
    Lineage,
    Made,
    Models,
    Pushed,
    read_claims,
    released_on_record,
)
from casemate.signing.provenance import MAX_PROVENANCE
from casemate.storage import Sending

_ORDER = (Severity.CRITICAL, Severity.HIGH, Severity.MEDIUM, Severity.LOW, Severity.INFO)
PARQUET, _TAR = "application/vnd.apache.parquet", "application/x-tar"
MAX_SCRIPT = 4 << 20  # bytes of a training script


def _body(request: Request) -> BodyReader:
    return BodyReader(request.stream(), asyncio.get_running_loop())


async def _body_reader(request: Request) -> BodyReader:
    return _body(request)


async def _watched(request: Request) -> Callable[[], Future[None]]:
    return partial(client_gone, request, asyncio.get_running_loop())


Body = Annotated[BodyReader, Depends(_body_reader)]
Gone = Annotated[Callable[[], Future[None]], Depends(_watched)]
UploadId = Annotated[str, StringConstraints(pattern=r"^[a-z0-9_]{0,64}$")]  # in Rust, $ is the very end
OptionalRef = Annotated[str, Query(description="NAME[@VERSION]")]


def declare(door: Door) -> None:
    """The routes under /datasets and /models."""
    _declare_datasets(door)
    _declare_models(door)
    _declare_making(door)


def _declare_datasets(door: Door) -> None:
    @door.read("/datasets", Action.DATASET_READ)
    def datasets(call: Caller) -> dict[str, Any]:
        """The newest version of each dataset."""
        return plain({"items": call.services.datasets.newest(), "next": None})

    @door.change(
        "POST",
        "/datasets/{name}/versions",
        Action.DATASET_PUSH,
        about=dataset_as_pushed,
        also=Also(action=Action.DATASET_READ, about=dataset_made_from),  # its name and digest go into the version
        long=Long.BYTES,
    )
    def push(
        call: Caller,
        name: str,
        filename: str,
        body: Body,
        target: str = "",
        data_class: str = "",
        purpose: Annotated[tuple[str, ...], Query()] = (),
        sheet: Annotated[int, Query(ge=0, le=MAX_SHEET)] = 0,
        upload: UploadId = "",
        start: Annotated[int, Query(ge=0, le=1 << 50)] = 0,
        made_from: OptionalRef = "",
    ) -> dict[str, Any]:
        """Push a file of rows, or a folder as a tar stream, as the body. `data_class`, `purpose`: as before where not
        stated. `sheet`: so many bytes at the body's beginning are a datasheet, as JSON. `upload`: what breaks off is kept
        for an hour under this name of the sender's; with `start`, the rest of it from that byte on. `made_from`: the version
        that the rows were made from, as by anonymising it.
        """
        said = read_sheet(body.exactly(sheet)) if sheet else None
        answer = call.services.push_dataset(
            name,
            body.chunks(),
            filename=filename,
            target=target or None,
            data_class=data_class,
            purposes=purpose,
            widening=call.decided.attributes["lowers_class"] is True,
            sheet=said,
            sending=_sending(call, name, upload, start),
            origin=parse_ref(made_from) if made_from else None,
            actor=call.principal,
            intent=call.intent,
        )
        return plain(answer)

    @door.read("/datasets/{name}/uploads/{upload}", Action.DATASET_READ, about=dataset_newest)
    def kept(call: Caller, name: str, upload: UploadId) -> dict[str, Any]:
        """How much came of an upload of one's own that broke off: `size` in bytes, and their digest."""
        found = call.services.uploads.kept(_sending(call, name, upload))
        if found is None:
            raise NotFoundError("Nothing is kept of this upload: send all of it.", code="upload-not-found")
        return {"upload": upload, "size": found[0], "digest": found[1]}

    @door.change("POST", "/datasets/verify", Action.DATASET_VERIFY, long=Long.BYTES)
    def verify(call: Caller, ref: OptionalRef = "") -> dict[str, Any]:
        """Read every stored byte of one version, or of all."""
        return plain(
            call.services.datasets.verify(parse_ref(ref)) if ref else _verify_all(call, call.services.datasets)
        )

    @door.read("/datasets/{name}/versions/{version}", Action.DATASET_READ, about=dataset_version)
    def show(call: Caller, name: str, version: str) -> dict[str, Any]:
        """One version: digest, columns, who pushed it, what was made from it."""
        return plain(call.services.datasets.show(_ref(name, version)))

    @door.read(
        "/datasets/{name}/versions/{version}/rows",
        Action.DATASET_EXPORT,
        about=dataset_version,
        long=Long.BYTES,
        media=PARQUET,
    )
    def rows(
        call: Caller, name: str, version: str, start: Annotated[int, Query(ge=0, le=1 << 50)] = 0
    ) -> StreamingResponse:
        """The rows as Parquet. `start`: leave out so many bytes, of a download that broke off; its digest is in a header."""
        exported = call.services.datasets.export(_ref(name, version), start=start)
        headers = {"Content-Length": str(exported.size - start), "Casemate-Digest": exported.digest}
        return download(exported.chunks, PARQUET, headers)

    @door.change("DELETE", "/datasets/{name}/versions/{version}", Action.DATASET_DELETE, about=dataset_version)
    def delete(call: Caller, name: str, version: str) -> dict[str, Any]:
        """Delete a version and destroy its keys."""
        return plain(call.services.datasets.delete(numbered(name, version), intent=call.intent))


def _sending(call: Call, name: str, upload: str, start: int = 0) -> Sending:
    return Sending(sender=f"{call.principal.id}:{name}", id=upload, start=start)


def _declare_models(door: Door) -> None:
    @door.read("/models", Action.MODEL_READ)
    def models(call: Caller) -> dict[str, Any]:
        """The newest version of each model."""
        return plain({"items": call.services.models.newest(), "next": None})

    @door.change("POST", "/models/verify", Action.MODEL_VERIFY, long=Long.BYTES)
    def verify(call: Caller, ref: OptionalRef = "") -> dict[str, Any]:
        """Read every stored byte of one version, or of all, and check every signature."""
        return plain(call.services.models.verify(parse_ref(ref)) if ref else _verify_all(call, call.services.models))

    @door.read("/models/{name}/versions/{version}", Action.MODEL_READ, about=model_version)
    def show(call: Caller, name: str, version: str) -> dict[str, Any]:
        """One version: digest, signature, files, approvals."""
        return plain(call.services.models.show(_ref(name, version)))

    @door.read("/models/{name}/versions/{version}/lineage", Action.MODEL_READ, about=model_version)
    def lineage(call: Caller, name: str, version: str) -> dict[str, Any]:
        """What it was made from, as a tree."""
        return plain(call.services.models.lineage(_ref(name, version)))

    @door.read(
        "/models/{name}/versions/{version}/files", Action.MODEL_EXPORT, about=model_version, long=Long.BYTES, media=_TAR
    )
    def files(call: Caller, name: str, version: str) -> StreamingResponse:
        """The files as a tar stream."""
        return download(_tar(call.services.models.export(_ref(name, version))), _TAR, {})

    @door.change(
        "POST",
        "/models/{name}/versions/{version}/revocation",
        Action.MODEL_REVOKE,
        also=Also(action=Action.MODEL_REVOKE, about=every_model),
        urgent=True,
    )
    def revoke(call: Caller, name: str, version: str, cascade: str = "") -> dict[str, Any]:
        """End a version for good, and pause what serves it. `cascade`: and what serves the same file."""
        deployments, ref = call.services.deployments, numbered(name, version)
        return plain(
            deployments.revoke(
                ref, actor=call.principal, intent=call.intent, reason=call.reason, cascade=is_set(cascade, "cascade")
            )
        )

    @door.change("DELETE", "/models/{name}/versions/{version}", Action.MODEL_DELETE)
    def delete(call: Caller, name: str, version: str) -> dict[str, Any]:
        """Delete a version and destroy its keys."""
        return plain(call.services.models.delete(numbered(name, version), intent=call.intent))


def _declare_making(door: Door) -> None:
    named = Also(action=Action.DATASET_READ, about=dataset_named)  # its name, digest and ranges go into the version
    other = Also(action=Action.MODEL_READ, about=base_named)
    pins = {"dataset": AssetKind.DATASET, "base": AssetKind.MODEL}

    @door.change("POST", "/models/{name}/versions", Action.MODEL_PUSH, also=(named, other), pins=pins, long=Long.BYTES)
    def push(
        call: Caller,
        name: str,
        body: Body,
        dataset: OptionalRef = "",
        base: OptionalRef = "",
        provenance: Annotated[int, Query(ge=0, le=MAX_PROVENANCE)] = 0,
        script: str = "",
        environment: str = "",
        claims: Annotated[int, Query(ge=0, le=MAX_CLAIMS)] = 0,
    ) -> dict[str, Any]:
        """Push a model's files, as an uncompressed tar stream. `provenance`: so many bytes at the body's beginning are what
        an outside trainer signed. `script`, `environment`: digests that it must name. `claims`: so many after these are what
        another system says of the training, as JSON. `base`: the model version that it was made from.
        """
        services = call.services
        if not provenance and (script or environment):
            raise InputError("A script and an environment are compared with a provenance.", code="no-provenance")
        brought = _brought(body.exactly(provenance), script, environment) if provenance else None
        claimed = read_claims(body.exactly(claims)) if claims else None
        about = services.datasets.find(parse_ref(dataset)).about if dataset else None
        origin = services.models.find(parse_ref(base)).about if base else None
        lineage = Lineage(dataset=about, claimed=claimed, base=origin) if about or claimed or origin else None
        pushed = services.models.push(
            name, files_in_tar(body), Made(lineage=lineage, brought=brought), actor=call.principal, intent=call.intent
        )
        return told(pushed)


def plain(value: Any) -> dict[str, Any]:
    """A struct or dict of ours as plain JSON values."""
    answer: dict[str, Any] = msgspec.to_builtins(value)
    return answer


def told(pushed: Pushed) -> dict[str, Any]:
    """The answer to a push, worst findings first."""
    worst_first = sorted(pushed.findings, key=lambda finding: _ORDER.index(finding.severity))
    return plain(msgspec.structs.replace(pushed, findings=tuple(worst_first)))


def _verify_all(call: Call, assets: Datasets | Models) -> dict[str, Any]:
    return assets.verify(recorded=released_on_record(call.services.log.outcomes(RELEASING)))


def _ref(name: str, version: str) -> Ref:
    return parse_ref(f"{name}@{version}")


def numbered(name: str, version: str) -> Ref:
    """Exactly one version, by its number or digest. Raises: InputError `bad-version`: a tag, `latest` among them."""
    ref = _ref(name, version)
    if isinstance(ref.version, str) and ":" not in ref.version:  # a tag, which may name another by then
        raise InputError("Name the very version that you mean: NAME@VERSION.", code="bad-version")
    return ref


def decided_ref(call: Call, assets: Datasets | Models, named: str, digest: str) -> Ref:
    """The version that the gate decided on, whatever a tag means by now. Args: digest: which attribute has its. Raises: as `the_pinned`."""
    ref, found = parse_ref(named), call.decided.attributes.get(digest)
    if not found:
        assets.find(ref)
        raise _came_since(ref)
    return msgspec.structs.replace(ref, version=checked_digest(str(found)))


def the_pinned(call: Call, named: str) -> Ref:
    """The version of a dataset that an argument among the route's `pins` names.

    Raises: NotFoundError, VerificationError: what kept it from being found; ConflictError `changed-meanwhile`: it came after the gate decided.
    """
    ref = parse_ref(named)
    call.services.datasets.find(ref)
    if not isinstance(ref.version, int):
        raise _came_since(ref)
    return ref


def _came_since(ref: Ref) -> ConflictError:
    return ConflictError(f"{ref} came after this was decided: ask again.", code="changed-meanwhile")


def _brought(data: bytes, script: str, environment: str) -> Brought:
    """Raises: InputError `bad-digest`."""
    return Brought(
        data=data,
        script=checked_digest(script) if script else None,
        environment=checked_digest(environment) if environment else None,
    )


def download(pieces: Iterator[bytes], media: str, headers: dict[str, str]) -> StreamingResponse:
    """A streamed answer whose first piece is there: what is altered is refused before a status is sent."""
    first = next(pieces, b"")

    async def all_pieces() -> AsyncIterator[bytes]:
        yield first
        while (piece := await asyncio.to_thread(next, pieces, None)) is not None:
            yield piece

    return StreamingResponse(all_pieces(), media_type=media, headers=headers)


def _tar(files: Iterator[tuple[str, int, Iterator[bytes]]]) -> Iterator[bytes]:
    for path, size, pieces in files:
        header = tarfile.TarInfo(path)
        header.size = size
        yield header.tobuf(tarfile.GNU_FORMAT)
        yield from pieces
        yield bytes(-size % tarfile.BLOCKSIZE)
    yield bytes(2 * tarfile.BLOCKSIZE)
