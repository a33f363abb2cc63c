"""What another system says of a training, signed by nobody: kept and shown as what it is, a claim."""

from __future__ import annotations

import math
from typing import Annotated, Final, Literal

import msgspec

from casemate.core import InputError

MAX_CLAIMS: Final = 256 << 10  # bytes of claims, as JSON

_Line = Annotated[str, msgspec.Meta(max_length=1000)]
_Value = Annotated[str, msgspec.Meta(max_length=8000)]  # MLflow's own bound of a parameter is 6,000


class ClaimedDataset(msgspec.Struct, frozen=True, kw_only=True, forbid_unknown_fields=True, omit_defaults=True):
    """Rows that a run says it used, by its own digest, which is none of ours."""

    name: _Line
    digest: _Line = ""
    source: _Line = ""
    context: _Line = ""


class ClaimedLineage(msgspec.Struct, frozen=True, kw_only=True, forbid_unknown_fields=True, omit_defaults=True):
    """A run as its system tells it. Args: server: where it was read, without credentials. commit: of the source."""

    system: Literal["mlflow"]
    server: _Line
    run: _Line = ""
    model: _Line = ""
    version: _Line = ""
    experiment: _Line = ""
    user: _Line = ""
    script: _Line = ""
    repository: _Line = ""
    commit: _Line = ""
    started: _Line = ""
    finished: _Line = ""
    parameters: Annotated[dict[_Line, _Value], msgspec.Meta(max_length=1000)] = {}
    metrics: Annotated[dict[_Line, float], msgspec.Meta(max_length=1000)] = {}
    datasets: Annotated[tuple[ClaimedDataset, ...], msgspec.Meta(max_length=100)] = ()


def read_claims(data: bytes) -> ClaimedLineage:
    """Raises: InputError `bad-claims`: an unknown field, too long, a metric that is no number, unprintable characters."""
    try:
        claims = msgspec.json.decode(data, type=ClaimedLineage)
    except msgspec.DecodeError as error:
        raise InputError(f"What is claimed of the training cannot be read: {error}.", code="bad-claims") from error
    told = [value for value in msgspec.structs.astuple(claims) if isinstance(value, str)]
    told += [*claims.parameters, *claims.metrics]
    told += [value for one in claims.datasets for value in msgspec.structs.astuple(one)]
    plain = all(character.isprintable() for text in told for character in text)
    if not plain or not all(math.isfinite(value) for value in claims.metrics.values()):
        raise InputError(
            "What is claimed of the training holds characters that cannot be shown, or a metric that is no number.",
            code="bad-claims",
        )
    return claims
