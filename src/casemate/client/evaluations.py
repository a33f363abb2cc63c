"""Evaluations of a model's versions, as Python calls: `casemate.evaluations`."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from casemate.client.connection import Connection
from casemate.client.paths import name_part, ref_path


class EvaluationCalls:
    """The calls of one client."""

    def __init__(self, connection: Connection) -> None:
        self._get, self._change = connection.get, connection.change

    def evaluate(
        self,
        ref: str,
        *,
        on: str,
        label: str,
        members: str | None = None,
        slices: Sequence[str] = (),
        groups: Sequence[str] = (),
        sensitive: Sequence[str] = (),
        positive: str | None = None,
        reason: str = "",
    ) -> dict[str, Any]:
        """Measure a version on the rows of a dataset. `{"name", "version", "state", "evaluation", "report"}`.

        `members`: the dataset that it was trained on, where the version does not name it. `slices`, `groups`, `sensitive`:
        columns. `positive`: the class that counts as the good outcome between groups.
        """
        query: dict[str, Any] = {"dataset": on, "label": label, "members": members, "positive": positive}
        query |= {"slice": list(slices), "group": list(groups), "sensitive": list(sensitive), "reason": reason}
        return self._change("POST", f"/models/{ref_path(ref)}/evaluation", query=query)

    def report(self, ref: str) -> dict[str, Any]:
        """What the last evaluation of a version said: all figures, slices, groups, the calibration curve, each attack."""
        return self._get(f"/models/{ref_path(ref)}/evaluation")

    def fingerprint(
        self, ref: str, *, on: str, label: str, questions: int | None = None, reason: str = ""
    ) -> dict[str, Any]:
        """Questions that tell a copy of a version, with its answers: `document` is a secret that is kept nowhere else."""
        query: dict[str, Any] = {"dataset": on, "label": label, "count": questions, "reason": reason}
        return self._change("POST", f"/models/{ref_path(ref)}/fingerprint", query=query)

    def claim(self, ref: str, document: bytes, *, at_most: float | None = None) -> dict[str, Any]:
        """Whether a version is a copy of the model that a fingerprint was made of."""
        query: dict[str, Any] = {"at_most": at_most}
        return self._change("POST", f"/models/{ref_path(ref)}/claim", query=query, content=document)

    def gates(self, name: str) -> dict[str, Any]:
        """What versions of a model must meet before `strict` serves them."""
        return self._get(f"/models/{name_part(name)}/gates")

    def set_gates(
        self,
        name: str,
        gates: Sequence[str] = (),
        *,
        unset: Sequence[str] = (),
        on: str | None = None,
        label: str | None = None,
        reason: str,
    ) -> dict[str, Any]:
        """Change them: each as `accuracy>=0.9`. `unset`: metrics whose default holds again. `on`, `label`: the dataset and
        column that count; empty: any; None: as before."""
        query: dict[str, Any] = {"gate": list(gates), "unset": list(unset), "reason": reason}
        query |= {"evaluated_on": "*" if on == "" else on, "column": "*" if label == "" else label}
        return self._change("PUT", f"/models/{name_part(name)}/gates", query=query)

    def except_version(self, ref: str, *, reason: str, ended: bool = False) -> dict[str, Any]:
        """Let a version pass whatever its gates say, on record; `ended`: no more."""
        query = {"ended": "true" if ended else None, "reason": reason}
        return self._change("POST", f"/models/{ref_path(ref)}/gate-exception", query=query)
