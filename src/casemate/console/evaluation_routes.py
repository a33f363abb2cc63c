"""Evaluations of a model's versions: what is measured, the gates that it must pass, and who is excepted from them."""

from typing import Annotated, Any

from fastapi import Query

from casemate.console.asset_routes import Body, numbered, plain
from casemate.console.callers import Call, Caller
from casemate.console.data_asked import Attributes, class_of_dataset, dataset_named, model_version
from casemate.console.door import Also, Door
from casemate.console.flags import is_set
from casemate.console.places import Long
from casemate.core import Action, Ref, Resource, checked_name, parse_ref
from casemate.evaluation.claims import AT_MOST, MOST_BYTES
from casemate.iam import stated_reason
from casemate.registry import Asked

Columns = Annotated[tuple[str, ...], Query()]


def declare(door: Door) -> None:
    """The routes under /models/{name} that measure its versions."""

    @door.change(
        "POST",
        "/models/{name}/versions/{version}/evaluation",
        Action.MODEL_EVALUATE,
        about=model_version,
        also=Also(action=Action.DATASET_SCREEN, about=dataset_named),  # what is told of its rows is as of a screening
        long=Long.BYTES,
    )
    def evaluate(
        call: Caller,
        name: str,
        version: str,
        dataset: str,
        label: str,
        members: str = "",
        slice: Columns = (),  # noqa: A002 as the field calls it
        group: Columns = (),
        sensitive: Columns = (),
        positive: str = "",
    ) -> dict[str, Any]:
        """Measure a version on the rows of `dataset`. `members`: what it was trained on, where that is not on record."""
        evaluations, ref = call.services.evaluations, parse_ref(f"{name}@{version}")
        known = evaluations.members_of(ref, parse_ref(members) if members else None)
        if known is not None:
            _ask_members(call, known)
        asked = Asked(
            on=parse_ref(dataset),
            label=label,
            members=known if members else None,
            slices=slice,
            groups=group,
            sensitive=sensitive,
            positive=positive,
        )
        return plain(evaluations.evaluate(ref, asked, actor=call.principal, intent=call.intent))

    @door.read("/models/{name}/versions/{version}/evaluation", Action.MODEL_VERIFY, about=model_version)
    def evaluation(call: Caller, name: str, version: str) -> dict[str, Any]:
        """What the last evaluation of a version said."""
        return plain(call.services.evaluations.report(parse_ref(f"{name}@{version}")))

    _declare_gates(door)
    _declare_fingerprints(door)


def _declare_gates(door: Door) -> None:
    @door.read("/models/{name}/gates", Action.MODEL_READ)
    def gates(call: Caller, name: str) -> dict[str, Any]:
        """What versions of a model must meet before `strict` serves them."""
        return plain(call.services.evaluations.gates(checked_name(name)))

    @door.change("PUT", "/models/{name}/gates", Action.MODEL_CONFIGURE, about=_reasoned)
    def set_gates(
        call: Caller,
        name: str,
        gate: Columns = (),
        unset: Columns = (),
        evaluated_on: str = "",
        column: str = "",
    ) -> dict[str, Any]:
        """Change them: `gate` as `accuracy>=0.9`; `unset`: metrics whose default holds again. `evaluated_on`, `column`: the
        dataset and label that count; `*`: any; empty: as before."""
        return plain(
            call.services.evaluations.set_gates(
                checked_name(name),
                set_gates=gate,
                unset=unset,
                on=_any(evaluated_on),
                label=_any(column),
                reason=call.reason,
                actor=call.principal,
                intent=call.intent,
            )
        )

    @door.change(
        "POST", "/models/{name}/versions/{version}/gate-exception", Action.MODEL_CONFIGURE, about=_reasoned_version
    )
    def except_version(call: Caller, name: str, version: str, ended: str = "") -> dict[str, Any]:
        """Let a version pass whatever its gates say; `ended`: no more."""
        return plain(
            call.services.evaluations.except_version(
                numbered(name, version),
                ended=is_set(ended, "ended"),
                reason=call.reason,
                actor=call.principal,
                intent=call.intent,
            )
        )


def _declare_fingerprints(door: Door) -> None:
    @door.change(
        "POST",
        "/models/{name}/versions/{version}/fingerprint",
        Action.MODEL_EXPORT,
        about=model_version,
        also=Also(action=Action.DATASET_EXPORT, about=dataset_named),  # its questions lie between rows
        long=Long.BYTES,
    )
    def fingerprint(
        call: Caller,
        name: str,
        version: str,
        dataset: str,
        label: str,
        count: Annotated[int, Query(ge=50, le=2000)] = 200,
    ) -> dict[str, Any]:
        """Make questions that tell a copy of this version; the document in the answer is kept nowhere else."""
        return plain(
            call.services.fingerprints.make(
                parse_ref(f"{name}@{version}"),
                on=parse_ref(dataset),
                label=label,
                count=count,
                actor=call.principal,
                intent=call.intent,
            )
        )

    @door.change(
        "POST", "/models/{name}/versions/{version}/claim", Action.MODEL_VERIFY, about=model_version, long=Long.BYTES
    )
    def claim(
        call: Caller,
        name: str,
        version: str,
        body: Body,
        at_most: Annotated[float, Query(gt=0, lt=1)] = AT_MOST,
    ) -> dict[str, Any]:
        """Whether this version is a copy of the model that the fingerprint in the body was made of."""
        document = body.whole(MOST_BYTES)
        return plain(call.services.fingerprints.claim(parse_ref(f"{name}@{version}"), document, at_most=at_most))


def _any(stated: str) -> str | None:
    return None if not stated else "" if stated == "*" else stated


def _ask_members(call: Call, members: Ref) -> None:
    """The gate is asked about the training rows, too. Raises: PolicyError, recorded."""
    about: Attributes = {"data_class": class_of_dataset(call, members)}
    call.read(
        Action.DATASET_SCREEN, Resource("dataset", members.name, members.project, attributes=about), reason=call.reason
    )


def _reasoned(call: Call, arguments: dict[str, Any]) -> Resource:
    """A model whose gates change: that needs a reason. Raises: InputError."""
    stated_reason(call.reason)
    return Resource("model", checked_name(arguments["name"]))


def _reasoned_version(call: Call, arguments: dict[str, Any]) -> Resource:
    """A version that is excepted: that needs a reason. Raises: InputError."""
    stated_reason(call.reason)
    return model_version(call, arguments)
