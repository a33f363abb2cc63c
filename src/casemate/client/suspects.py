"""A suspect behind a URL, asked what a fingerprint asks: any server that speaks the Open Inference Protocol v2."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import TYPE_CHECKING, Any

import httpx

from casemate.core import InputError, UpstreamError

if TYPE_CHECKING:
    from casemate.evaluation.claims import Fingerprint

_BATCH = 50  # rows of one request; small, as an ordinary caller's
_SECONDS = 60.0
_SHOWN = 200  # characters of what a stranger answered


def ask_suspect(
    url: str,
    fingerprint: Fingerprint,
    *,
    key: str = "",
    ca: Path | None = None,
    progress: Callable[[int, int], None] | None = None,
) -> list[str]:
    """The class that a suspect gives each question. Args: url: of its model, `https://HOST/v2/models/NAME`. key: a bearer token.

    Raises: InputError `bad-url`; UpstreamError `suspect-unreachable`, `suspect-refused`, `suspect-answer`.
    """
    if not url.startswith(("https://", "http://")):
        raise InputError(f"{url[:80]!r} is no address: write https://HOST:PORT/v2/models/NAME.", code="bad-url")
    headers = {"Authorization": f"Bearer {key}"} if key else {}
    found: list[str] = []
    address = url.rstrip("/").removesuffix("/infer") + "/infer"
    with httpx.Client(verify=str(ca) if ca else True, timeout=_SECONDS, headers=headers) as client:
        rows = [list(row) for row in fingerprint.queries]
        for start in range(0, len(rows), _BATCH):
            part = rows[start : start + _BATCH]
            found += _classes(_asked(client, address, fingerprint, part), len(part))
            if progress:
                progress(len(found), len(rows))
    return found


def _asked(client: httpx.Client, address: str, fingerprint: Fingerprint, rows: list[list[float]]) -> Any:
    datatype = fingerprint.datatype
    data = rows if datatype.startswith("FP") else [[int(value) for value in row] for row in rows]
    given = {"name": fingerprint.input, "shape": [len(rows), len(rows[0])], "datatype": datatype, "data": data}
    try:
        answer = client.post(address, json={"inputs": [given]})
    except (httpx.HTTPError, httpx.InvalidURL, OSError) as error:
        raise UpstreamError(
            f"The suspect at {address[:200]} does not answer: {type(error).__name__}.", code="suspect-unreachable"
        ) from error
    if answer.status_code != httpx.codes.OK:
        raise UpstreamError(
            f"The suspect answers {answer.status_code}: {_printable(answer.text)}. Ask it yourself, with --queries, and give "
            "its answers as a file.",
            code="suspect-refused",
        )
    try:
        return answer.json()
    except ValueError as error:
        raise _malformed() from error


def _classes(answer: Any, rows: int) -> list[str]:
    """The class of each row; the place of the highest score where it names none."""
    import numpy as np

    from casemate.evaluation import answer_of

    try:
        outputs = {
            str(one["name"]): _tensor(one, np).reshape([int(size) for size in one["shape"]])
            for one in answer["outputs"]
        }
        said = answer_of(outputs, rows)
    except (TypeError, KeyError, ValueError, AttributeError, InputError) as error:
        raise _malformed() from error
    if said.labels is not None:
        return [str(one) for one in said.labels]
    if said.scores is not None:
        return [str(one) for one in said.scores.argmax(axis=1)]
    assert said.values is not None
    return [str(int(one > 0.5)) for one in said.values]


def _tensor(output: Any, np: Any) -> Any:
    kind = str(output["datatype"])
    if kind == "BYTES":
        return np.array([str(one) for one in output["data"]], dtype=object)
    return np.array(output["data"], np.float64 if kind.startswith("FP") else np.int64)


def _malformed() -> UpstreamError:
    return UpstreamError(
        "The suspect does not answer as the Open Inference Protocol v2 says: ask it yourself, with --queries, and give its "
        "answers as a file.",
        code="suspect-answer",
    )


def _printable(text: str) -> str:
    return "".join(c if c.isprintable() else "?" for c in text[:_SHOWN])
