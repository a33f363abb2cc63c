"""How a change reaches what serves: the running gateway is asked, or, where none runs, the change is tried."""

from __future__ import annotations

from contextlib import closing, suppress
from pathlib import Path
from typing import Any

from casemate.core import CasemateError
from casemate.core.wire import Caller
from casemate.registry import Deployments
from casemate.runtime import check_serves

_PATIENCE = 150.0  # seconds for a gateway to answer about a model; it gives up before
_SOON = 5.0  # seconds for it to look at the signed state; one that has not looked for so long lets nobody in


class RunningGateway:
    """The running gateway, asked to reach what the signed state says."""

    def __init__(self, socket: Path) -> None:
        """Args: socket: on which it listens."""
        self._socket = socket
        self._emergencies = Caller(socket, timeout=_SOON)

    def converge(self, name: str, number: int) -> None:
        with closing(Caller(self._socket, timeout=_PATIENCE)) as caller:  # of its own: nothing waits for this model
            caller.call("converge", name, number)

    def heed(self) -> None:
        self._emergencies.call("heed")

    def refresh(self) -> None:
        """Let the gateway see a change of grants now; one that does not answer looks by itself soon."""
        with suppress(CasemateError):
            self._emergencies.call("refresh")

    def observed(self, rows: list[dict[str, Any]]) -> list[dict[str, Any]]:
        """Deployments as on record, with the state that the gateway has them in, and `why` where it serves another."""
        try:
            standing: dict[str, dict[str, Any]] = self._emergencies.call("standing")
        except CasemateError as error:
            nobody = {"digest": None, "ready": False, "why": f"the gateway does not answer: {error.message}"}
            standing = {row["name"]: nobody for row in rows}
        return [observed(row, standing.get(row["name"])) for row in rows]

    def close(self) -> None:
        """Let go of the connection; the next call makes a new one."""
        self._emergencies.close()


def observed(row: dict[str, Any], stands: dict[str, Any] | None) -> dict[str, Any]:
    """A deployment as on record, with the state that a gateway has it in.

    Args: stands: as `Fleet.standing` has it; None: it has not read of it.
    """
    if row["state"] == "paused":
        return row
    if stands is None:
        return row | {"state": "not serving", "why": "the gateway has not read of it yet"}
    if stands["digest"] != row["digest"]:
        why = stands["why"] or "its model is being loaded"
        return row | (
            {"state": "not serving", "why": why}
            if stands["digest"] is None
            else {"state": f"serving version {stands['version']}", "why": why}
        )
    if not stands["ready"]:
        return row | {"state": "not serving", "why": "its worker is being started again"}
    return row


class TrialRollout:
    """With no gateway running: proves that what is recorded verifies, loads and answers behind the walls."""

    def __init__(self, deployments: Deployments, *, insecure: bool) -> None:
        self._deployments, self._insecure = deployments, insecure

    def converge(self, name: str, number: int) -> None:
        del number
        found, model = self._deployments.load(name)
        with model:
            if not found.paused:
                check_serves(model, insecure=self._insecure)

    def heed(self) -> None:
        """Nothing answers."""
