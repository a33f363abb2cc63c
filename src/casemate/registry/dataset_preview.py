"""The first rows of a version, as signed: what they look like, or what they are."""

from __future__ import annotations

from typing import Any, Protocol

from casemate.core import InputError
from casemate.registry.dataset_push import PARQUET
from casemate.registry.stores import Stores
from casemate.registry.verification import verify_stored
from casemate.registry.versions import Version, blobs_of
from casemate.storage import StoredFile

MOST_ROWS = 100


class Preview(Protocol):
    """`scanning.preview_table`."""

    def __call__(self, source: StoredFile, rows: int, *, masked: bool = True) -> list[dict[str, Any]]: ...


def preview_version(
    stores: Stores, preview: Preview, version: Version, schema: dict[str, Any], *, rows: int, masked: bool
) -> dict[str, Any]:
    """`{"name", "version", "digest", "of", "masked", "columns", "rows"}`; every byte is verified first.

    Args: schema: the version's own, as signed. Raises: InputError `bad-count`; VerificationError; SandboxError.
    """
    if not 1 <= rows <= MOST_ROWS:
        raise InputError(f"A preview shows 1 to {MOST_ROWS} rows.", code="bad-count")
    files = blobs_of(stores, version)
    verify_stored(stores, version, files)
    with StoredFile(stores.blobs, files[PARQUET]) as file:
        found = preview(file, rows, masked=masked)
    return {
        "name": version.about.name,
        "version": version.number,
        "digest": version.digest,
        "of": schema["rows"],
        "masked": masked,
        "columns": [{"name": column["name"], "type": column["type"]} for column in schema["columns"]],
        "rows": found,
    }
