"""The record: entries, proofs, checkpoints, verification, export; and the state of the home."""

import base64
from typing import Annotated, Any

import msgspec
from fastapi import Query
from fastapi.responses import StreamingResponse

from casemate import __version__
from casemate.auditlog import verify_log
from casemate.console.asset_routes import Body, plain
from casemate.console.callers import Caller
from casemate.console.door import Door
from casemate.console.places import Long
from casemate.console.prediction_routes import check_proof, exported, shown_entries
from casemate.core import Action, InputError

_LINES = "application/x-ndjson"
_MAX_CHECKPOINT = 4096  # bytes


def declare(door: Door) -> None:
    """The routes under /audit, and /health, /status."""
    _declare_state(door)
    _declare_entries(door)
    _declare_tree(door)


def _declare_state(door: Door) -> None:

    @door.public("/health", inline=True)
    def health() -> dict[str, Any]:
        """That the control plane answers."""
        return {"ok": True}

    @door.read("/status", Action.STATUS_READ)
    def status(call: Caller) -> dict[str, Any]:
        """What the home holds and serves."""
        return {"version": __version__, **call.services.status()}


def _declare_entries(door: Door) -> None:
    @door.read("/audit/entries", Action.AUDIT_READ)
    def entries(
        call: Caller,
        kind: str = "",
        actor: str = "",
        action: str = "",
        resource: str = "",
        since: str = "",
        until: str = "",
        after: str | None = None,
        limit: Annotated[int, Query(ge=1, le=100_000)] = 50,
    ) -> dict[str, Any]:
        """Entries, newest first, a page of 200 at most. What is kept of predictions: to who may read that."""
        filters = {"kind": kind, "actor": actor, "action": action, "resource": resource}
        page = call.services.log.page(after=after, limit=limit, since=since, until=until, **filters)
        return plain(msgspec.structs.replace(page, items=shown_entries(call, page.items)))

    @door.read("/audit/entries/{entry}/proof", Action.AUDIT_READ)
    def proof(call: Caller, entry: str) -> dict[str, Any]:
        """A proof that an entry is in the log, to be checked offline."""
        proof = call.services.log.prove(entry)
        check_proof(call, base64.b64decode(proof["entry"]))
        return proof


def _declare_tree(door: Door) -> None:
    @door.read("/audit/checkpoint", Action.AUDIT_READ)
    def checkpoint(call: Caller) -> dict[str, Any]:
        """The newest signed root."""
        newest = call.services.log.newest_checkpoint()
        return {"checkpoint": newest.text if newest else ""}

    @door.read("/audit/export", Action.AUDIT_READ, long=Long.BYTES, media=_LINES)
    def export(call: Caller) -> StreamingResponse:
        """The whole log as JSON lines; of predictions the leaf alone, to who may not read them."""
        return StreamingResponse(exported(call, call.services.log.bodies()), media_type=_LINES)

    @door.change("POST", "/audit/verify", Action.AUDIT_VERIFY, long=Long.BYTES)
    def verify(call: Caller, body: Body) -> dict[str, Any]:
        """Recompute the whole log. The body may be a checkpoint that was kept elsewhere."""
        against = body.whole(_MAX_CHECKPOINT)
        if len(against) > _MAX_CHECKPOINT:
            raise InputError("This is not a checkpoint.", code="bad-checkpoint")
        kept = call.services.kept_checkpoints()
        if against:
            kept["the checkpoint that you gave"] = against.decode(errors="replace")
        return plain(verify_log(call.services.log, kept=kept))
