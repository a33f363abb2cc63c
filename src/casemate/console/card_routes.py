"""What a model version is: its card, its bill of materials, and whether its training gives it again."""

from typing import Any

import msgspec

from casemate.console.asset_routes import MAX_SCRIPT, Body, Gone, numbered, plain
from casemate.console.callers import Caller
from casemate.console.data_asked import dataset_of_model, model_version
from casemate.console.door import Also, Door
from casemate.console.flags import is_set
from casemate.console.places import Long
from casemate.core import Action, InputError, TooLargeError, parse_ref
from casemate.registry import checked_description

_MAX_CARD = 65536  # bytes


def declare(door: Door) -> None:
    """The routes under /models/{name}/versions/{version} that describe it."""

    @door.read("/models/{name}/versions/{version}/card", Action.MODEL_READ, about=model_version)
    def card(call: Caller, name: str, version: str) -> dict[str, Any]:
        """What people say of a version, and what is signed of it; never a value of the training data."""
        return plain(call.services.models.card(parse_ref(f"{name}@{version}")))

    @door.change("PUT", "/models/{name}/versions/{version}/card", Action.MODEL_DESCRIBE, about=model_version)
    def describe(call: Caller, name: str, version: str, body: Body) -> dict[str, Any]:
        """Say what it is for, whose it is and where it ends. The body is the whole description, as JSON."""
        text = body.whole(_MAX_CARD)
        if len(text) > _MAX_CARD:
            raise InputError(f"A card has at most {_MAX_CARD} bytes.", code="bad-card")
        try:
            said = msgspec.json.decode(text, type=dict[str, Any])
        except msgspec.DecodeError as error:
            raise InputError("The card is not a JSON object.", code="bad-card") from error
        described = checked_description(said)
        return plain(
            call.services.models.write_card(
                numbered(name, version), described, actor=call.principal, intent=call.intent
            )
        )

    @door.change(
        "POST",
        "/models/{name}/versions/{version}/reproduction",
        Action.MODEL_VERIFY,
        about=model_version,
        also=Also(action=Action.DATASET_EXPORT, about=dataset_of_model),  # its script may print every row
        long=Long.BYTES,
    )
    def reproduce(call: Caller, name: str, version: str, body: Body, gone: Gone) -> dict[str, Any]:
        """Run its training again, with its script as the body, and compare what comes out. Nothing is kept."""
        script = body.whole(MAX_SCRIPT)
        if len(script) > MAX_SCRIPT:
            raise TooLargeError(f"A training script has at most {MAX_SCRIPT} bytes.", code="script-too-large")
        return plain(call.services.reproduce(numbered(name, version), script, gone=gone()))

    @door.read("/models/{name}/versions/{version}/bom", Action.MODEL_READ, about=model_version)
    def bom(call: Caller, name: str, version: str, signed: str = "") -> dict[str, Any]:
        """The bill of materials, CycloneDX 1.6; `signed`: and an envelope around it."""
        return plain(call.services.models.bom(parse_ref(f"{name}@{version}"), signed=is_set(signed, "signed")))
