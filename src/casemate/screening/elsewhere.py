"""The confined side of a screening whose blocks are judged by other sandboxes: they are handed out, and what comes back is checked."""

from __future__ import annotations

from collections.abc import Iterator

from casemate.core import TooLargeError
from casemate.sandbox import Asking
from casemate.screening.asked import MOST_AT_ONCE
from casemate.screening.columns import Bools
from casemate.screening.judge import Judgement
from casemate.screening.judgement_bytes import read_judgement
from casemate.screening.judging import block_bytes, fitted_bytes
from casemate.screening.large import Fitted, Table


def judged_elsewhere(
    table: Table, columns: list[str], fitted: Fitted, ask: Asking
) -> Iterator[tuple[Judgement, Bools | None]]:
    """As `Fitted.judge_block` of each block, in order. Raises: UpstreamError `ray-judgement`; TooLargeError `screen-too-large`."""
    _give(ask, "fitted", 0, fitted_bytes(fitted))
    sizes: list[int] = []
    for block in table.blocks(columns):
        _give(ask, "block", len(sizes), block_bytes(block))
        sizes.append(block.num_rows)
    ask({"what": "begin", "total": len(sizes)})
    for number, rows in enumerate(sizes):
        yield read_judgement(
            ask({"what": "judged", "number": number}).buffers[0],
            rows=rows,
            classes=len(fitted.classes),
            late=fitted.judge.has_oldest,
            unread=fitted.encoding.has_images,
        )


def _give(ask: Asking, kind: str, number: int, data: bytes | memoryview) -> None:
    if len(data) > MOST_AT_ONCE:
        raise TooLargeError(
            f"A part of the dataset has {len(data)} bytes, and {MOST_AT_ONCE} may be handed to a cluster at once: screen it here.",
            code="screen-too-large",
        )
    ask({"what": "give", "kind": kind, "number": number}, [data])
