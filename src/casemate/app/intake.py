"""Rows that come in: converted in the sandbox as they are pushed, looked at for personal data, screened for poison."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from functools import partial
from typing import TYPE_CHECKING, Any

import msgspec

from casemate.core import DataClass, Principal, Ref, SealedFile, Verdict, checked_name
from casemate.core.datasheets import Datasheet
from casemate.registry import Datasets, Screenings
from casemate.scanning import DatasetLimits, DescribedDataset, stream_dataset
from casemate.settings import Settings
from casemate.storage import Sending, Upload, Uploads

if TYPE_CHECKING:
    from casemate.privacy import PersonalReport


def push_dataset(
    datasets: Datasets,
    screenings: Screenings,
    uploads: Uploads,
    name: str,
    chunks: Iterator[bytes],
    *,
    filename: str,
    target: str | None,
    data_class: str = "",
    purposes: Sequence[str] = (),
    widening: bool = False,
    sheet: Datasheet | None = None,
    sheet_required: bool = False,
    sending: Sending | None = None,
    origin: Ref | None = None,
    actor: Principal,
    intent: str,
    insecure: bool,
    limits: DatasetLimits | None = None,
) -> dict[str, Any]:
    """Convert an uploaded file in the sandbox and push it, its rows a few at a time; then screen it, where the dataset
    keeps how.

    A large upload lies encrypted on the disk meanwhile, never in the clear. Args: sending: so that it can be gone on with.
    """
    checked_name(name, what="dataset")
    limits = limits or DatasetLimits()
    before = sending.start if sending else 0
    with uploads.receive(limits.bounded(chunks, filename, before=before), sending) as upload:
        answer = datasets.push(
            name,
            _Uploaded(upload, filename, target=target, limits=limits, insecure=insecure),
            actor=actor,
            intent=intent,
            data_class=data_class,
            purposes=purposes,
            widening=widening,
            sheet=sheet,
            sheet_required=sheet_required,
            origin=origin,
        )
    return screenings.screen_pushed(answer, actor=actor, intent=intent)


def look(
    settings: Settings,
    parquet: SealedFile,
    declared: DataClass,
    purposed: bool,  # noqa: FBT001 by place, as `Look` has it
    *,
    insecure: bool,
) -> PersonalReport:
    """What of people a table holds; refused by its class, or for want of a purpose, only where the settings say so."""
    from casemate.privacy import find_personal_data, without_purpose

    report = find_personal_data(parquet, declared=declared, insecure=insecure)
    if settings.personal_data == "refuse":
        return report if purposed else without_purpose(report)
    return msgspec.structs.replace(report, verdict=Verdict.CLEAN)


class _Uploaded:
    """A table that is converted as its pieces are asked for."""

    def __init__(
        self, upload: Upload, filename: str, *, target: str | None, limits: DatasetLimits, insecure: bool
    ) -> None:
        self._upload, self._filename = upload, filename
        self._convert = partial(stream_dataset, target=target, limits=limits, insecure=insecure)

    def stream(self, take: Callable[[bytes], None]) -> DescribedDataset:
        return self._convert(self._upload, self._filename, lambda piece: take(bytes(piece)))
