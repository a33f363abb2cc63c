"""Conversions that the home does itself, and signs: a pickle comes in, a model that can be served is kept."""

from typing import Annotated, Any

from fastapi import Query

from casemate.console.asset_routes import Body, OptionalRef, plain, the_pinned, told
from casemate.console.callers import Call, Caller
from casemate.console.data_asked import dataset_named
from casemate.console.door import Also, Door
from casemate.console.flags import is_set
from casemate.console.places import Long
from casemate.console.services import AskedConversion
from casemate.core import Action, AssetKind, InputError, Resource, checked_name
from casemate.iam import stated_reason

MAX_SAMPLE = 64 << 20  # bytes of a table of rows


def declare(door: Door) -> None:
    """The route under /models/{name} that converts."""
    pushed = Also(action=Action.MODEL_PUSH, about=_model)
    origin = Also(action=Action.DATASET_READ, about=dataset_named)  # its name, digest and ranges go into the version
    sampled = Also(action=Action.DATASET_SCREEN, about=_sampled)  # what is told of its rows is as of a screening
    flagged = Also(action=Action.MODEL_CONVERT_FLAGGED, about=_flagged)

    @door.change(
        "POST",
        "/models/{name}/conversions",
        Action.MODEL_CONVERT,
        also=(pushed, origin, sampled, flagged),
        pins={"dataset": AssetKind.DATASET, "sample_dataset": AssetKind.DATASET},
        long=Long.BYTES,
    )
    def convert(
        call: Caller,
        name: str,
        body: Body,
        to: str = "onnx",
        filename: str = "model.pkl",
        dataset: OptionalRef = "",
        sample: Annotated[int, Query(ge=0, le=MAX_SAMPLE)] = 0,
        sample_name: str = "sample.csv",
        sample_dataset: OptionalRef = "",
        despite_findings: str = "",
    ) -> dict[str, Any]:
        """Load the pickle in the body in the sandbox, export it, compare both, and push what it became, with a signed
        statement of all that. `to`: onnx, skops, xgboost, lightgbm or safetensors. `sample`: so many bytes at the body's beginning are a
        table of rows to compare on; `sample_dataset`: a version that has them. `despite_findings`: though the scan holds more
        against it than being a pickle.
        """
        if sample and sample_dataset:
            raise InputError("Name one sample: a file, or a version of a dataset.", code="convert-sample")
        despite = is_set(despite_findings, "despite_findings")
        asked = AskedConversion(
            to=to,
            filename=filename,
            dataset=the_pinned(call, dataset) if dataset else None,
            sample=body.exactly(sample) if sample else b"",
            sample_name=sample_name,
            sample_dataset=the_pinned(call, sample_dataset) if sample_dataset else None,
            despite_findings=despite,
            reason=stated_reason(call.reason) if despite else "",
        )
        with call.services.uploads.receive(body.chunks()) as upload:
            call.note("source", upload.digest)  # of what is refused, too
            made = call.services.convert(name, upload, asked, actor=call.principal, intent=call.intent)
        return {**told(made.pushed), "conversion": plain(made.conversion) if made.conversion else None}


def _model(call: Call, arguments: dict[str, Any]) -> Resource:  # noqa: ARG001 what the route acts on, as a push would
    return Resource("model", checked_name(arguments["name"]))


def _sampled(call: Call, arguments: dict[str, Any]) -> Resource | None:
    """The dataset whose rows both models predict."""
    return dataset_named(call, {"dataset": arguments["sample_dataset"]})


def _flagged(call: Call, arguments: dict[str, Any]) -> Resource | None:
    """A model from a pickle that the scan holds more against: that needs a reason. Raises: InputError."""
    if not is_set(arguments["despite_findings"], "despite_findings"):
        return None
    stated_reason(call.reason)
    return _model(call, arguments)
