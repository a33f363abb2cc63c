"""A version made anonymous by the home, under a name of its own; and its pseudonyms turned back, by an owner, on record first."""

from collections.abc import Iterator
from typing import TYPE_CHECKING, Annotated, Any

from fastapi import Query
from fastapi.responses import StreamingResponse

from casemate.console.asset_routes import PARQUET, Body, download, numbered, plain
from casemate.console.callers import Caller
from casemate.console.data_asked import (
    anonymous_name,
    dataset_made_anonymous,
    dataset_of_anonymous,
    dataset_turned_back,
)
from casemate.console.door import Also, Door
from casemate.console.places import Long
from casemate.core import Action, InputError
from casemate.registry import MAX_POLICY

if TYPE_CHECKING:
    from casemate.privacy import Reidentified


def declare(door: Door) -> None:
    """The routes of anonymous versions under /datasets/{name}."""

    @door.change(
        "POST",
        "/datasets/{name}/versions/{version}/anonymisation",
        Action.DATASET_ANONYMIZE,
        about=dataset_made_anonymous,
        also=Also(action=Action.DATASET_PUSH, about=dataset_of_anonymous),
        long=Long.BYTES,
    )
    def anonymize(
        call: Caller,
        name: str,
        version: str,
        body: Body,
        new: str = "",
        data_class: str = "",
        purpose: Annotated[tuple[str, ...], Query()] = (),
    ) -> dict[str, Any]:
        """Make a version of the dataset `new` (NAME-anonymous by default), as the policy in the body says, with keys that the
        home makes and keeps. `data_class`, `purpose`: as before, or as of the source, where not stated.
        """
        policy = body.whole(MAX_POLICY)
        if not policy:
            raise InputError("The body is no policy: send its TOML.", code="personal-policy")
        return plain(
            call.services.anonymisations.make(
                numbered(name, version),
                anonymous_name(name, new),
                policy,
                data_class=data_class,
                purposes=purpose,
                widening=call.decided.attributes["lowers_class"] is True,
                actor=call.principal,
                intent=call.intent,
            )
        )

    @door.change(
        "POST",
        "/datasets/{name}/versions/{version}/reidentification",
        Action.DATASET_REIDENTIFY,
        about=dataset_turned_back,
        also=Also(action=Action.DATASET_EXPORT, about=dataset_turned_back),  # rows leave
        long=Long.BYTES,
        media=PARQUET,
    )
    def reidentify(
        call: Caller, name: str, version: str, column: str, value: Annotated[tuple[str, ...], Query()] = ()
    ) -> StreamingResponse:
        """The rows as Parquet with the reversible pseudonyms of one column turned back, for a stated reason. `value`: those alone
        that hold this pseudonym. How many rows leave, and the digest of them, is on record before the first byte does.
        """
        found = call.services.anonymisations.turn_back(numbered(name, version), column, values=value)
        assert call.entry is not None, "only a change has an entry"
        # The sandbox counted the rows; these two are our own.
        sent = {"size": found.parquet.size, "digest": found.parquet.digest}
        call.entry.facts.update(rows=found.rows, asked=len(value), sent=sent)
        headers = {
            "Content-Length": str(found.parquet.size),
            "Casemate-Digest": found.parquet.digest,
            "Casemate-Rows": str(found.rows),
        }
        return download(_pieces(found), PARQUET, headers)


def _pieces(found: "Reidentified") -> Iterator[bytes]:
    with found:
        yield from found.parquet.chunks()
