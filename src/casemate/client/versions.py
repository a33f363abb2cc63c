"""Versions of a dataset beside each other, as Python calls: `casemate.versions`."""

from __future__ import annotations

from typing import Any

from casemate.client.connection import Connection
from casemate.client.paths import name_part, ref_path, version_part
from casemate.core import InputError, parse_ref


class VersionCalls:
    """The calls of one client."""

    def __init__(self, connection: Connection) -> None:
        self._get, self._change = connection.get, connection.change

    def preview(self, ref: str, *, rows: int = 10, reveal: bool = False, reason: str = "") -> dict[str, Any]:
        """What the first rows look like, `{"columns", "rows", "masked"}`; with `reveal`, as they are, for a `reason`."""
        path, query = f"/datasets/{ref_path(ref)}/preview", {"rows": rows, "reason": reason}
        return self._get(f"{path}/rows" if reveal else path, query)

    def sheet(self, ref: str) -> dict[str, Any]:
        """The datasheet of a version, as signed; `missing`: what is asked and not answered."""
        return self._get(f"/datasets/{ref_path(ref)}/datasheet")

    def diff(
        self, before: str, after: str, *, key: str | None = None, rows: int = 0, reason: str = ""
    ) -> dict[str, Any]:
        """What differs between two versions of one dataset: `{"schema", "rows", "columns"}`.

        Args: key: the column that names each row; without it, a changed row is one removed and one added. rows: how
            many of each kind to show under `shown`, for a `reason`; 0: no value leaves the walls.
        """
        first, second = parse_ref(before), parse_ref(after)
        if (first.project, first.name) != (second.project, second.name):
            raise InputError("Name two versions of one dataset: NAME@1 NAME@2.", code="other-dataset")
        query: dict[str, Any] = {"to": str(second.version or "latest"), "key": key, "reason": reason}
        path = f"/datasets/{ref_path(before)}/diff"
        return self._get(f"{path}/rows", {**query, "rows": rows}) if rows else self._get(path, query)

    def tag(self, ref: str, tag: str, *, reason: str = "") -> dict[str, Any]:
        """Let `tag` name this version from now on: NAME@TAG finds it."""
        path = f"/datasets/{ref_path(ref)}/tags/{_tag(tag)}"
        return self._change("PUT", path, query={"reason": reason})

    def untag(self, name: str, tag: str, *, reason: str = "") -> dict[str, Any]:
        """Take a tag away; its version stays."""
        return self._change("DELETE", f"/datasets/{name_part(name)}/tags/{_tag(tag)}", query={"reason": reason})

    def restore(self, ref: str, *, reason: str = "") -> dict[str, Any]:
        """Make an older version the newest again, under a new number, of the very same files."""
        return self._change("POST", f"/datasets/{ref_path(ref)}/restoration", query={"reason": reason})

    def revoke(self, ref: str, *, reason: str, cascade: bool = False) -> dict[str, Any]:
        """End a version for good: nothing is trained on it or restored from it any more.

        `cascade`: what was made from it ends, too: versions restored from it, and models, whose deployments are paused.
        """
        query = {"reason": reason, "cascade": "true" if cascade else None}
        return self._change("POST", f"/datasets/{ref_path(ref)}/revocation", query=query)

    def retain(
        self, name: str, *, keep: int = 0, life: str | None = None, trial: bool = False, reason: str = ""
    ) -> dict[str, Any]:
        """Delete the versions that nothing needs: not the newest `keep`, nor those of the last `life`, as in `90d`.

        What has a tag, or a model was made from, stays. `trial`: say which, and delete nothing.
        """
        query = {"keep": keep or None, "life": life, "trial": "true" if trial else None, "reason": reason}
        return self._change("POST", f"/datasets/{name_part(name)}/retention", query=query)

    def rule(self, name: str) -> dict[str, Any]:
        """The rule by which the home deletes older versions by itself: `{"rule", "by", "at", "due", "kept"}`; `rule` None: it does not."""
        return self._get(f"/datasets/{name_part(name)}/retention-rule")

    def keep_rule(self, name: str, *, keep: int = 0, life: str | None = None, reason: str) -> dict[str, Any]:
        """Let the home delete by itself, from now on, what `retain` would: all but the newest `keep`, and those of the last `life`."""
        query = {"keep": keep or None, "life": life, "reason": reason}
        return self._change("PUT", f"/datasets/{name_part(name)}/retention-rule", query=query)

    def end_rule(self, name: str, *, reason: str) -> dict[str, Any]:
        """Let the home delete nothing of it by itself."""
        return self._change("DELETE", f"/datasets/{name_part(name)}/retention-rule", query={"reason": reason})


def _tag(text: str) -> str:
    version = parse_ref(f"dataset@{text}").version
    if not isinstance(version, str) or ":" in version:
        raise InputError(f"{text[:80]!r} is no tag: begin with a letter.", code="bad-tag")
    return version_part(version)
