"""Datasets: rows as Parquet with their schema, versioned, signed, encrypted."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from datetime import timedelta
from typing import Any, Self

import msgspec

from casemate.core import (
    SCHEMA,
    AssetKind,
    ConflictError,
    NotFoundError,
    Principal,
    Ref,
    SealedFile,
    Verdict,
    VerificationError,
    canonical,
    checked_name,
    digest_of,
)
from casemate.registry.data_use import DataUse, signed_use, stated_use, use_in, use_of_newest
from casemate.registry.dataset_differences import Compare, difference
from casemate.registry.dataset_versions import restore_version, retain_versions, tag_version, untag
from casemate.registry.releases import Draft, commit_version, record_deletion, remove_version
from casemate.registry.screening_records import standing_of
from casemate.registry.stores import Pen, Stores
from casemate.registry.tags import tags_of
from casemate.registry.verification import Released, newest_of, verified_pusher, verify_report
from casemate.registry.versions import (
    FileEntry,
    Manifest,
    Version,
    blobs_of,
    find_version,
    latest_versions,
    list_versions,
    signed_version,
)
from casemate.scanning import ConvertedDataset, compare_tables
from casemate.signing import verify_version

PARQUET, SCHEMA_FILE = "data.parquet", "schema.json"
SUSPECTS, REPORT = "suspects.parquet", "screening.json"  # what a quarantine set aside, and why: of no use to training
_CHUNK = 1 << 20  # bytes read at a time
_MAX_SCHEMA = 64 << 20  # bytes; 4,096 columns with categories stay below


class VerifiedDataset:
    """Rows in sealed memory, every byte as signed. Closes at exit. Only `Datasets.open` makes one."""

    def __init__(self, version: Version, files: dict[str, SealedFile]) -> None:
        self.about = version.about
        self.use = use_in(version.read_manifest())
        self.parquet, self._schema_file, self._files = files[PARQUET], files[SCHEMA_FILE], files
        self.schema: dict[str, Any] = msgspec.json.decode(self._schema_file.read())

    def file(self, path: str) -> SealedFile:
        """Raises: NotFoundError: the version has no such file."""
        if path not in self._files:
            raise NotFoundError(f"{self.about.name}@{self.about.number} has no {path}.", code="not-found")
        return self._files[path]

    def close(self) -> None:
        for file in self._files.values():
            file.close()

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        self.close()


class Datasets:
    """The datasets of one project. Args: pen: None where nothing may be changed."""

    def __init__(self, stores: Stores, pen: Pen | None = None, *, compare: Compare = compare_tables) -> None:
        self._stores, self._pen, self._compare = stores, pen, compare

    def push(
        self,
        name: str,
        dataset: ConvertedDataset,
        *,
        actor: Principal,
        intent: str,
        data_class: str = "",
        purposes: Sequence[str] = (),
        widening: bool = False,
    ) -> dict[str, Any]:
        """A new version of `name`, or the live one that has the same content.

        Args: dataset: as converted in the sandbox; stays the caller's to close. data_class, purposes: as `stated_use`
            takes them. widening: it may have a lower class, or more purposes, than the version before it.
        Returns: name, version, digest, created, verdict, findings.
        Raises: InputError; TooLargeError; StorageError; ConflictError `wider-use`. Nothing is left then.
        """
        stores = self._stores
        checked_name(name)
        before = use_of_newest(stores, AssetKind.DATASET, name)
        use = stated_use(before, data_class, purposes)
        if before is not None and use.is_wider_than(before) and not widening:
            raise ConflictError(
                f"The newest version of {name} is of the class {before.data_class}, or for fewer purposes: push it again.",
                code="wider-use",
            )
        with stores.blobs.push(stores.project, f"{AssetKind.DATASET}/{name}") as push:
            rows = push.add(PARQUET, _chunks(dataset.parquet))
            schema = push.add(SCHEMA_FILE, [canonical(dataset.schema)])
            manifest = Manifest(
                schema=SCHEMA,
                project=stores.project,
                kind=AssetKind.DATASET,
                name=name,
                files={
                    PARQUET: FileEntry(digest=rows.digest, size=rows.size),
                    SCHEMA_FILE: FileEntry(digest=schema.digest, size=schema.size),
                },
                data_class=use.data_class.value,
                purposes=use.purposes,
                facts={"rows": dataset.schema["rows"], "columns": len(dataset.schema["columns"])},
            )
            version, created = commit_version(
                stores, writable(self._pen), Draft(manifest=manifest), push, actor=actor, intent=intent
            )
        return {
            "verdict": Verdict.CLEAN,
            "findings": list(dataset.findings),
            "name": name,
            "version": version.number,
            "digest": version.digest,
            "created": created,
        }

    def push_clean(
        self,
        version: Version,
        clean: ConvertedDataset,
        suspects: SealedFile,
        *,
        report: bytes,
        facts: dict[str, Any],
        widening: bool,
        actor: Principal,
        intent: str,
    ) -> dict[str, Any]:
        """A new version of what is left of `version`, with its class and purposes; it keeps what was set aside, and why.

        Raises: ConflictError `wider-use`: as with `restore`. VerificationError; TooLargeError; StorageError.
        """
        stores, name = self._stores, version.about.name
        use, newest = signed_use(stores, version), use_of_newest(stores, AssetKind.DATASET, name)
        if newest is not None and use.is_wider_than(newest) and not widening:
            raise ConflictError(f"The newest version of {name} has changed: quarantine again.", code="wider-use")
        origin = {"version": version.number, "digest": version.digest, **facts}
        with stores.blobs.push(stores.project, f"{AssetKind.DATASET}/{name}") as push:
            contents = {
                PARQUET: _chunks(clean.parquet),
                SCHEMA_FILE: iter([canonical(clean.schema)]),
                SUSPECTS: _chunks(suspects),
                REPORT: iter([report]),
            }
            stored = {path: push.add(path, chunks) for path, chunks in contents.items()}
            manifest = Manifest(
                schema=SCHEMA,
                project=stores.project,
                kind=AssetKind.DATASET,
                name=name,
                files={path: FileEntry(digest=blob.digest, size=blob.size) for path, blob in stored.items()},
                data_class=use.data_class.value,
                purposes=use.purposes,
                facts={"rows": clean.schema["rows"], "columns": len(clean.schema["columns"]), "quarantined": origin},
            )
            made, created = commit_version(
                stores, writable(self._pen), Draft(manifest=manifest), push, actor=actor, intent=intent
            )
        return {
            "name": name,
            "version": made.number,
            "digest": made.digest,
            "created": created,
            "from": version.number,
            "aside": facts["aside"],
        }

    def find(self, ref: Ref) -> Version:
        """Raises: NotFoundError."""
        return find_version(self._stores, AssetKind.DATASET, ref)

    def use_of(self, ref: Ref) -> DataUse:
        """The class and purposes of a version, as signed. Raises: NotFoundError; VerificationError."""
        return signed_use(self._stores, self.find(ref))

    def use_of_newest(self, name: str) -> DataUse | None:
        """Of the newest version; None where there is none."""
        return use_of_newest(self._stores, AssetKind.DATASET, name)

    def newest(self) -> list[dict[str, Any]]:
        """The newest version of each dataset, and whether a trusted signer released it (`verified`)."""
        return newest_of(self._stores, AssetKind.DATASET)

    def count(self) -> int:
        """How many there are."""
        return len(latest_versions(self._stores, AssetKind.DATASET))

    def show(self, ref: Ref) -> dict[str, Any]:
        """One version: its row, counts, columns (names, types and roles: never a value), and who depends on it."""
        version = self.find(ref)
        manifest = version.read_manifest()
        columns = [
            {"name": column["name"], "type": column["type"], "role": column["role"]}
            for column in self.read_schema(version)["columns"]
        ]
        return {
            **version.summary(),
            **manifest.facts,
            "tags": [tag for tag, about in tags_of(self._stores, ref.name).items() if about == version.about],
            "purposes": list(manifest.purposes),
            "columns": columns,
            "size": sum(entry.size for entry in manifest.files.values()),
            "screening": standing_of(self._stores, version).summary(),
            "used_by": self._dependents(version),
        }

    def open(self, ref: Ref) -> VerifiedDataset:
        """The rows of a version, decrypted once into sealed memory and verified there. Raises: VerificationError."""
        stores, version = self._stores, self.find(ref)
        files: dict[str, SealedFile] = {}
        try:
            for path, record in blobs_of(stores, version).items():
                files[path] = stores.blobs.seal(record)
            found = {path: file.digest for path, file in files.items()}
            verify_version(signed_version(stores, version), found, stores.trust(), at=stores.clock.now())
            return VerifiedDataset(version, files)
        except BaseException:
            for file in files.values():
                file.close()
            raise

    def export(self, ref: Ref, path: str = PARQUET) -> tuple[int, Iterator[bytes]]:
        """The rows as Parquet: how many bytes, and the bytes, verified before the first is handed on.

        Args: path: or the rows that a quarantine set aside. Raises: NotFoundError: none were.
        """
        dataset = self.open(ref)
        try:
            return dataset.file(path).size, _handing_on(dataset, path)
        except BaseException:
            dataset.close()
            raise

    def diff(self, before: Ref, after: Ref, *, key: str = "", shown: int = 0) -> dict[str, Any]:
        """What differs between two versions, as `difference` tells it. Raises: NotFoundError; VerificationError."""
        with self.open(before) as first, self.open(after) as second:
            return difference(self._compare, first, second, key=key, shown=shown)

    def tag(self, ref: Ref, tag: str, *, actor: Principal, intent: str) -> dict[str, Any]:
        """As `tag_version`."""
        return tag_version(self._stores, writable(self._pen), ref, tag, actor=actor, intent=intent)

    def untag(self, name: str, tag: str, *, actor: Principal, intent: str) -> dict[str, Any]:
        """As `untag`."""
        return untag(self._stores, writable(self._pen), name, tag, actor=actor, intent=intent)

    def restore(self, ref: Ref, *, widening: bool = False, actor: Principal, intent: str) -> dict[str, Any]:
        """As `restore_version`."""
        pen = writable(self._pen)
        return restore_version(self._stores, pen, ref, widening=widening, actor=actor, intent=intent)

    def retain(self, name: str, *, keep: int, life: float, trial: bool, intent: str) -> dict[str, Any]:
        """As `retain_versions`. Args: life: seconds; 0: not asked."""
        since = self._stores.clock.now() - timedelta(seconds=life) if life else None
        pen = writable(self._pen)
        return retain_versions(self._stores, pen, name, keep=keep, since=since, trial=trial, intent=intent)

    def read_schema(self, version: Version) -> dict[str, Any]:
        """Content of schema.json as it was released: trusted signers name the manifest that names these very bytes.

        Raises: VerificationError: `manifest-changed`, `file-changed`, and as `verified_pusher`.
        """
        return _read_schema(self._stores, version)

    def verify(self, ref: Ref | None = None, *, recorded: Released = frozenset()) -> dict[str, Any]:
        """Read every stored byte of a version, or of all: `{"ok", "checked", "problems"}`. `recorded` must be there."""
        return verify_report(self._stores, AssetKind.DATASET, self.find(ref) if ref else None, recorded)

    def delete(self, ref: Ref, *, intent: str) -> dict[str, Any]:
        """Destroy a version's keys and rows; says which model versions were made from it and now cannot be made again.

        Raises: NotFoundError.
        """
        version = find_version(self._stores, AssetKind.DATASET, ref, deleted=True)
        dependents, pen = self._dependents(version), writable(self._pen)
        with pen.deciding:  # nothing that shares its blobs is committed meanwhile
            record_deletion(self._stores, pen, version, intent=intent)
            left = remove_version(self._stores, version, intent=intent)
        about = version.about
        return {"name": about.name, "version": about.number, "state": "deleted", "used_by": dependents, **left}

    def _dependents(self, version: Version) -> list[str]:
        found = []
        for model in list_versions(self._stores, AssetKind.MODEL):
            lineage = model.read_manifest().lineage
            if lineage and lineage.dataset and lineage.dataset.digest == version.digest:
                found.append(f"{model.about.name}@{model.number}")
        return found


def writable(pen: Pen | None) -> Pen:
    """Raises: TypeError: this part was built to read only, and is asked to write."""
    if pen is None:
        raise TypeError("built without a pen: it reads only")
    return pen


def _read_schema(stores: Stores, version: Version) -> dict[str, Any]:
    verified_pusher(stores, version)
    if digest_of(version.manifest) != version.digest:
        raise VerificationError(
            f"The manifest of {version.about} is not the one that was signed.", code="manifest-changed"
        )
    entry = version.read_manifest().files.get(SCHEMA_FILE)
    record = blobs_of(stores, version).get(SCHEMA_FILE)
    if entry is None or record is None or (record.digest, record.size) != (entry.digest, entry.size):
        raise _other_schema(version)
    if record.size > _MAX_SCHEMA:
        raise _other_schema(version)
    with stores.blobs.seal(record) as file:
        try:
            return msgspec.json.decode(file.read(), type=dict[str, Any])
        except msgspec.DecodeError as error:
            raise _other_schema(version) from error


def _other_schema(version: Version) -> VerificationError:
    return VerificationError(f"The schema of {version.about} is not what was signed.", code="file-changed")


def _chunks(file: SealedFile) -> Iterator[bytes]:
    with file.open() as reader:
        while piece := reader.read(_CHUNK):
            yield piece


def _handing_on(dataset: VerifiedDataset, path: str) -> Iterator[bytes]:
    with dataset:
        yield from _chunks(dataset.file(path))
