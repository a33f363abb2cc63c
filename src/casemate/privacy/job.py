"""The confined side of a look for personal data and of an anonymisation. All that is read later is loaded here, before the last wall."""

from __future__ import annotations

import mmap
import os
from typing import Any

import msgspec
import phonenumbers
import pyarrow as pa
import pyarrow.compute as pc
import pyarrow.parquet as pq

from casemate.core import DataClass, InputError, Verdict
from casemate.core.wire import Frame
from casemate.privacy.anonymise import anonymise_table
from casemate.privacy.cells import Opinion
from casemate.privacy.look import look_at_table
from casemate.privacy.name_lists import load_lists
from casemate.privacy.policy import Policy
from casemate.privacy.pseudonyms import Reversible
from casemate.privacy.report import PersonalConfig
from casemate.privacy.treatments import Keys

load_lists()
phonenumbers.PhoneMetadata.load_all()


def main(frame: Frame) -> Frame:
    """Look at the Parquet table of the first descriptor, or make it anonymous. See `work`."""
    return work(frame, None)


def work(frame: Frame, opinion: Opinion | None) -> Frame:
    """message: {"do": "look", "declared", "config"}, answer: the report; or {"do": "anonymise", "policy", "config"}, buffers: both keys,
    empty where there is none, answer: the report, the table goes to the last descriptor unless it is refused; or
    {"do": "reidentify", "column", "domain", "values"}, buffers: the reversible key, answer: {"rows"}; values: pseudonyms whose
    rows alone are wanted, all where there are none."""
    message = frame.message
    table = _table(frame.fds[0])
    if message["do"] == "look":
        config = msgspec.convert(message["config"], PersonalConfig)
        report = look_at_table(table, declared=DataClass(message["declared"]), config=config, opinion=opinion)
        return Frame(msgspec.to_builtins(report))
    if message["do"] == "reidentify":
        return _reidentify(frame, table)
    keys = Keys(pseudonym=bytes(frame.buffers[0]), reversible=bytes(frame.buffers[1]))
    done, result = anonymise_table(
        table,
        msgspec.convert(message["policy"], Policy),
        keys=keys,
        config=msgspec.convert(message["config"], PersonalConfig),
        opinion=opinion,
    )
    if done.verdict is Verdict.CLEAN:
        _write(result, frame.fds[-1])
    return Frame(msgspec.to_builtins(done))


def _reidentify(frame: Frame, table: Any) -> Frame:
    name, domain, wanted = (frame.message[part] for part in ("column", "domain", "values"))
    if name not in table.column_names:
        raise InputError(f"There is no column {name[:80]!r}.", code="personal-column")
    if wanted:
        table = table.filter(pc.is_in(table.column(name).cast(pa.string()), pa.array(wanted, pa.string())))
        if not table.num_rows:
            raise InputError("No row holds one of these pseudonyms: copy them as they stand.", code="no-such-pseudonym")
    reversible = Reversible(bytes(frame.buffers[0]), domain)
    shown = [
        None if text is None else reversible.shown(text) for text in table.column(name).cast(pa.string()).to_pylist()
    ]
    place = table.column_names.index(name)
    _write(table.set_column(place, name, pa.array(shown, pa.string())), frame.fds[-1])
    return Frame({"rows": table.num_rows})


def _table(descriptor: int) -> Any:
    size = os.fstat(descriptor).st_size
    data = pa.py_buffer(mmap.mmap(descriptor, size, access=mmap.ACCESS_READ))
    return pq.ParquetFile(pa.BufferReader(data)).read(use_threads=False)


def _write(table: Any, descriptor: int) -> None:
    with os.fdopen(descriptor, "wb") as file:
        pq.write_table(table, file, compression="zstd", version="2.6", store_schema=False)
