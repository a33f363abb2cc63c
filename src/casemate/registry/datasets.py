"""Datasets: rows as Parquet with their schema, versioned, signed, encrypted."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from datetime import timedelta
from typing import TYPE_CHECKING, Any, NamedTuple, Self

import msgspec

from casemate.core import (
    AssetKind,
    Digest,
    InputError,
    NotFoundError,
    Principal,
    Ref,
    SealedFile,
    VerificationError,
    digest_of,
)
from casemate.core.datasheets import Datasheet
from casemate.registry.data_use import DataUse, signed_use, use_in, use_of_newest
from casemate.registry.dataset_differences import Compare, difference
from casemate.registry.dataset_preview import Preview, preview_version
from casemate.registry.dataset_push import (
    PARQUET,
    SCHEMA_FILE,
    Aside,
    Stated,
    Table,
    push_clean,
    push_version,
    signed_sheet,
)
from casemate.registry.dataset_versions import restore_version, retain_versions, tag_version, untag
from casemate.registry.releases import record_deletion, remove_version
from casemate.registry.revocations import check_not_revoked, is_revoked
from casemate.registry.screening_records import standing_of
from casemate.registry.stores import Pen, Stores
from casemate.registry.tags import tags_of
from casemate.registry.verification import Released, newest_of, verified_pusher, verify_report, verify_stored
from casemate.registry.versions import (
    Version,
    blobs_of,
    find_version,
    latest_versions,
    list_versions,
    signed_version,
)
from casemate.scanning import compare_tables, preview_table
from casemate.signing import verify_version

if TYPE_CHECKING:
    from casemate.privacy import Look

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


class Exported(NamedTuple):
    """The rows on their way out. Args: size, digest: of the whole file, as signed. chunks: from where was asked on."""

    size: int
    digest: Digest
    chunks: Iterator[bytes]


class Datasets:
    """The datasets of one project. Args: pen: None where nothing may be changed."""

    def __init__(
        self,
        stores: Stores,
        pen: Pen | None = None,
        *,
        compare: Compare = compare_tables,
        look: Look | None = None,
        preview: Preview = preview_table,
    ) -> None:
        """Args: look: for personal data, at each table that is pushed; None: nobody looks."""
        self._stores, self._pen, self._compare = stores, pen, compare
        self._look, self._preview = look, preview

    def push(
        self,
        name: str,
        dataset: Table,
        *,
        actor: Principal,
        intent: str,
        data_class: str = "",
        purposes: Sequence[str] = (),
        widening: bool = False,
        sheet: Datasheet | None = None,
        sheet_required: bool = False,
        origin: Ref | None = None,
    ) -> dict[str, Any]:
        """As `push_version`. Args: dataset: stays the caller's to close. Others: as of `Stated`."""
        said = Stated(
            data_class=data_class,
            purposes=purposes,
            widening=widening,
            sheet=sheet,
            required=sheet_required,
            origin=self.find(origin).about if origin else None,
        )
        return self.push_stated(name, dataset, said, actor=actor, intent=intent)

    def push_stated(self, name: str, dataset: Table, said: Stated, *, actor: Principal, intent: str) -> dict[str, Any]:
        """As `push_version`."""
        pen = writable(self._pen)
        return push_version(self._stores, pen, name, dataset, said, look=self._look, actor=actor, intent=intent)

    def push_clean(
        self, version: Version, clean: Table, aside: Aside, *, actor: Principal, intent: str
    ) -> dict[str, Any]:
        """As `push_clean`: a new version of what is left of `version`."""
        return push_clean(self._stores, writable(self._pen), version, clean, aside, actor=actor, intent=intent)

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
            "datasheet": (manifest.datasheet or Datasheet()).shown([column["name"] for column in columns]),
            "size": sum(entry.size for entry in manifest.files.values()),
            "screening": standing_of(self._stores, version).summary(),
            "used_by": self._dependents(version),
            "revoked": is_revoked(self._stores, version),
        }

    def open(self, ref: Ref) -> VerifiedDataset:
        """The rows of a version, decrypted once into sealed memory and verified there. Raises: VerificationError."""
        stores, version = self._stores, self.find(ref)
        files: dict[str, SealedFile] = {}
        try:
            for path, pieces in blobs_of(stores, version).items():
                files[path] = stores.blobs.seal_file(pieces)
            found = {path: file.digest for path, file in files.items()}
            verify_version(signed_version(stores, version), found, stores.trust(), at=stores.clock.now())
            return VerifiedDataset(version, files)
        except BaseException:
            for file in files.values():
                file.close()
            raise

    def check_trainable(self, ref: Ref) -> None:
        """Raises: NotFoundError; VerificationError `revoked`: nothing is made from it any more."""
        check_not_revoked(self._stores, self.find(ref))

    def export(self, ref: Ref, *, start: int = 0, path: str = PARQUET) -> Exported:
        """The rows as Parquet, from byte `start` on; all are verified before the first is handed on.

        Args: path: or the rows that a quarantine set aside.
        They are read twice, and never held: each piece was encrypted under a key of its own, so that what is read the
        second time is what was verified the first time, or nothing.
        """
        stores, version = self._stores, self.find(ref)
        files = blobs_of(stores, version)
        verify_stored(stores, version, files)
        entry = version.read_manifest().files.get(path)
        if entry is None:
            raise NotFoundError(f"{version.about.name}@{version.number} has no {path}.", code="not-found")
        if start > entry.size:
            raise InputError(f"The rows have {entry.size} bytes, and no more: pull them anew.", code="bad-start")
        return Exported(entry.size, entry.digest, stores.blobs.read_file(files[path], start))

    def preview(self, ref: Ref, *, rows: int, masked: bool = True) -> dict[str, Any]:
        """As `preview_version`. Raises: NotFoundError."""
        version = self.find(ref)
        schema = self.read_schema(version)
        return preview_version(self._stores, self._preview, version, schema, rows=rows, masked=masked)

    def sheet(self, ref: Ref) -> dict[str, Any]:
        """The datasheet of a version, as signed, with its class and purposes. Raises: NotFoundError; VerificationError."""
        version = self.find(ref)
        sheet, use = signed_sheet(self._stores, version) or Datasheet(), signed_use(self._stores, version)
        columns = self.read_schema(version)["columns"]
        return {
            "name": version.about.name,
            "version": version.number,
            "digest": version.digest,
            "data_class": use.data_class.value,
            "purposes": list(use.purposes),
            "types": {column["name"]: column["type"] for column in columns},
            **sheet.shown([column["name"] for column in columns]),
        }

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
    pieces = blobs_of(stores, version).get(SCHEMA_FILE, [])
    if entry is None or len(pieces) != 1 or (pieces[0].digest, pieces[0].size) != (entry.digest, entry.size):
        raise _other_schema(version)
    (record,) = pieces
    if record.size > _MAX_SCHEMA:
        raise _other_schema(version)
    with stores.blobs.seal(record) as file:
        try:
            return msgspec.json.decode(file.read(), type=dict[str, Any])
        except msgspec.DecodeError as error:
            raise _other_schema(version) from error


def _other_schema(version: Version) -> VerificationError:
    return VerificationError(f"The schema of {version.about} is not what was signed.", code="file-changed")
