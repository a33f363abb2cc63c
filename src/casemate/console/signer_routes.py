"""Signers outside: whose provenance of a training is believed, for which models, and until when."""

from datetime import timedelta
from typing import Any

from casemate.console.asset_routes import Body, plain
from casemate.console.callers import Caller
from casemate.console.data_asked import every_model
from casemate.console.door import Also, Door
from casemate.console.flags import is_set
from casemate.core import Action, TooLargeError, parse_duration
from casemate.registry import MAX_SIGNER, read_signer


def declare(door: Door) -> None:
    """The routes under /signers."""

    @door.read("/signers", Action.SIGNER_READ)
    def signers(call: Caller) -> dict[str, Any]:
        """All signers outside that were not removed, with what each is trusted for; never a key whole."""
        return plain({"items": call.services.signers.all(), "next": None})

    @door.change("POST", "/signers/{name}", Action.SIGNER_ADD)
    def add(call: Caller, name: str, body: Body, expires: str = "90d") -> dict[str, Any]:
        """Believe what a signer outside says of a training, until it expires. The body, as JSON: who, and for which models."""
        said = body.whole(MAX_SIGNER)
        if len(said) > MAX_SIGNER:
            raise TooLargeError(f"A signer has at most {MAX_SIGNER} bytes of certificates.", code="signer-too-large")
        life = timedelta(seconds=parse_duration(expires))
        return plain(
            call.services.signers.add(name, read_signer(said), life=life, actor=call.principal, intent=call.intent)
        )

    @door.change(
        "DELETE",
        "/signers/{name}",
        Action.SIGNER_REMOVE,
        also=Also(action=Action.MODEL_REVOKE, about=every_model),
        urgent=True,
    )
    def remove(call: Caller, name: str, cascade: str = "") -> dict[str, Any]:
        """Believe a signer no more. `cascade`: and end every version that was pushed under its word."""
        return plain(
            call.services.deployments.end_signer(
                name, actor=call.principal, intent=call.intent, reason=call.reason, cascade=is_set(cascade, "cascade")
            )
        )
