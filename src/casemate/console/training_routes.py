"""Training runs: begun, followed while they go on, and what is known of one afterwards."""

from typing import Annotated, Any

import msgspec
from fastapi import Query
from fastapi.responses import StreamingResponse

from casemate.console.asset_routes import MAX_SCRIPT, Body, Gone, OptionalRef, decided_ref, plain, told
from casemate.console.callers import Caller
from casemate.console.data_asked import base_named, dataset_named, let_out, model_as_trained, model_version
from casemate.console.door import Also, Door
from casemate.console.flags import is_set
from casemate.console.places import Long
from casemate.console.services import Asked
from casemate.core import Action, InputError, TooLargeError, checked_id, parse_ref

LINES = "application/x-ndjson"
MAX_HOSTS = 20  # that one run is let out to
MOST_SEED = (1 << 32) - 1
_MAX_REPOSITORY = 2000  # characters of what the client says of the script's repository


class _Repository(msgspec.Struct, frozen=True, forbid_unknown_fields=True, omit_defaults=True):
    """What the client says of where the script lies. Args: path: of the script, in the repository."""

    commit: Annotated[str, msgspec.Meta(pattern=r"^[0-9a-f]{40,64}\Z")]
    dirty: bool
    path: Annotated[str, msgspec.Meta(max_length=500)] = ""


def declare(door: Door) -> None:
    """The routes of training runs."""
    _declare_runs(door)

    @door.read("/models/{name}/versions/{version}/training", Action.MODEL_READ, about=model_version)
    def training(call: Caller, name: str, version: str) -> dict[str, Any]:
        """What is signed of the run that made a version: from what, by whom, when, and each metric's last value."""
        return plain(call.services.trainings.show(parse_ref(f"{name}@{version}")))

    @door.read("/models/{name}/versions/{version}/provenance", Action.MODEL_READ, about=model_version)
    def provenance(call: Caller, name: str, version: str) -> dict[str, Any]:
        """What was signed of the training of a version, here or elsewhere: a DSSE envelope around SLSA provenance, to hand on."""
        return plain(call.services.trainings.provenance(parse_ref(f"{name}@{version}")))

    # As the weights: a script can write rows into either.
    @door.read(
        "/models/{name}/versions/{version}/training/output", Action.MODEL_EXPORT, about=model_version, long=Long.BYTES
    )
    def output(call: Caller, name: str, version: str) -> dict[str, Any]:
        """The log and the metrics of the run that made a version."""
        return plain(call.services.trainings.output(parse_ref(f"{name}@{version}")))


def _declare_runs(door: Door) -> None:
    # Not `read`: who chooses the script can have every row, and every weight, printed or written into the model.
    rows = Also(action=Action.DATASET_EXPORT, about=dataset_named)
    weights = Also(action=Action.MODEL_EXPORT, about=base_named)
    online = Also(action=Action.MODEL_TRAIN_ONLINE, about=let_out)

    @door.change(
        "POST",
        "/models/{name}/train",
        Action.MODEL_TRAIN,
        about=model_as_trained,
        also=(rows, weights, online),
        long=Long.BYTES,
    )
    def train(
        call: Caller,
        name: str,
        dataset: str,
        body: Body,
        gone: Gone,
        base: OptionalRef = "",
        filename: str = "train.py",
        parameters: str = "{}",
        purpose: str = "",
        seed: Annotated[int, Query(ge=0, le=MOST_SEED)] = 0,
        cpu: str = "",
        memory: str = "",
        time: str = "",
        allow_host: Annotated[tuple[str, ...], Query(max_length=MAX_HOSTS)] = (),
        gpu: str = "",
        repository: Annotated[str, Query(max_length=_MAX_REPOSITORY)] = "",
        run: str = "",
    ) -> dict[str, Any]:
        """Run a training script, as the body, in the sandbox and push the model that it writes.

        The run ends when its client goes away. `base`: the version that it goes on from. `allow_host`: HOST:PORT that it is
        let out to. `run`: an id under which it can be followed.
        """
        script = body.whole(MAX_SCRIPT)
        if len(script) > MAX_SCRIPT:
            raise TooLargeError(f"A training script has at most {MAX_SCRIPT} bytes.", code="script-too-large")
        asked = Asked(
            dataset=decided_ref(call, call.services.datasets, dataset, "dataset_digest"),
            base=decided_ref(call, call.services.models, base, "base_digest") if base else None,
            filename=filename,
            parameters=_object(parameters),
            purpose=purpose,
            seed=seed,
            cpu=cpu,
            memory=memory,
            time=time,
            hosts=tuple(allow_host),
            gpu=is_set(gpu, "gpu"),
            repository=_repository(repository),
        )
        with call.services.live_runs.begin(call.principal.id, checked_id(run) if run else "") as live:
            trained = call.services.train(
                name, script, asked, live=live, actor=call.principal, intent=call.intent, gone=gone()
            )
        return {
            **told(trained.pushed),
            "blocked": trained.blocked,
            "log": trained.log,
            "metrics": trained.metrics,
            "seconds": trained.seconds,
        }

    @door.read("/models/{name}/runs/{run}", Action.MODEL_READ, long=Long.FOLLOW, media=LINES)
    def follow(
        call: Caller,
        name: str,  # noqa: ARG001 what the gate is asked about
        run: str,
        wait: Annotated[float, Query(ge=0, le=60)] = 0.0,
    ) -> StreamingResponse:
        """What a run of one's own says and measures, a line of JSON each, until it ends. `wait`: seconds for it to begin."""
        lines = call.services.live_runs.follow(call.principal.id, checked_id(run), wait=wait)
        return StreamingResponse(lines, media_type=LINES)


def _object(text: str) -> dict[str, Any]:
    try:
        return msgspec.json.decode(text, type=dict[str, Any])
    except msgspec.DecodeError as error:
        raise InputError("The parameters are not a JSON object.", code="bad-parameters") from error


def _repository(text: str) -> dict[str, Any]:
    if not text:
        return {}
    try:
        found = msgspec.json.decode(text, type=_Repository)
    except msgspec.DecodeError as error:
        raise InputError(f"The repository cannot be read: {error}.", code="bad-repository") from error
    if not found.path.isprintable():
        raise InputError("The script's path in its repository cannot be shown.", code="bad-repository")
    said: dict[str, Any] = msgspec.to_builtins(found)
    return said
