"""CSV -> Arrow table: encoding and delimiter found within bounds, every row as long as the header. Runs in the sandbox."""

from __future__ import annotations

import codecs
import csv
import io
import re
from itertools import pairwise

import pyarrow as pa
import pyarrow.csv

from casemate.core import InputError, TooLargeError
from casemate.scanning.limits import DatasetLimits
from casemate.scanning.tables import check_size

_SAMPLE = 1 << 16  # characters in which the delimiter is looked for
_DELIMITERS = ",;\t|"
# How pyarrow begins to say where; what follows quotes cells, which may say anything.
_ROW = re.compile(r"(?:In CSV column #\d+: |CSV parse error: )?Row #(\d{1,12}):")
_COLUMN = re.compile(r"In CSV column #(\d{1,6}):")
_BLOCK = 64 << 20  # bytes that pyarrow parses at once; a row must fit


def read_csv(data: memoryview, filename: str, limits: DatasetLimits) -> tuple[pa.Table, list[str]]:
    """(table, what was changed on the way). Raises: InputError that names the line; TooLargeError."""
    raw, notes = _as_utf8(data, filename)
    sample = str(raw[:_SAMPLE], "utf-8", "ignore")
    delimiter = _delimiter(sample)
    header = next(csv.reader([_first_record(sample)], delimiter=delimiter), [])
    _check_header(header, filename)
    check_size(0, len(header), filename, limits)
    try:
        table = pa.csv.read_csv(
            pa.BufferReader(pa.py_buffer(raw)),
            read_options=pa.csv.ReadOptions(use_threads=False, block_size=min(_BLOCK, max(len(raw), 1 << 16))),
            parse_options=pa.csv.ParseOptions(delimiter=delimiter, newlines_in_values=True),
            convert_options=pa.csv.ConvertOptions(strings_can_be_null=True),
        )
    except (pa.ArrowException, ValueError, OSError) as error:
        raise _fault(raw, delimiter, filename, limits) or unreadable_csv(error, header, filename) from None
    if bytes(raw).count(b'"') % 2 and (broken := _fault(raw, delimiter, filename, limits)):
        raise broken  # a quote that never closes: pyarrow takes the rest of the file for one value
    table = table.rename_columns([name.strip() for name in table.column_names])
    if delimiter != ",":
        notes.append(f"columns are separated by {delimiter!r}")
    return table, notes


def unreadable_csv(error: Exception, header: list[str], filename: str) -> InputError:
    """Where pyarrow stopped, without what it quotes: that is somebody's data."""
    said = str(error)
    row, column = _ROW.match(said), _COLUMN.match(said)
    places = [f"column {header[int(column[1])][:80]!r}"] if column and int(column[1]) < len(header) else []
    places += [f"row {row[1]}, the header being row 1"] if row else []
    where = f" ({', '.join(places)})" if places else ""
    return InputError(
        f"{filename} cannot be read as CSV{where}: export it again, or as Parquet.", code="dataset-malformed"
    )


def _as_utf8(data: memoryview, filename: str) -> tuple[memoryview, list[str]]:
    """The text as UTF-8 without a byte order mark. Raises: InputError."""
    head = bytes(data[:4])
    for mark, name in ((codecs.BOM_UTF16_LE, "utf-16-le"), (codecs.BOM_UTF16_BE, "utf-16-be")):
        if head.startswith(mark):
            try:
                return memoryview(bytes(data[2:]).decode(name).encode()), ["it was UTF-16"]
            except (UnicodeDecodeError, UnicodeEncodeError):
                raise _not_text(filename, "broken UTF-16") from None
    notes = ["a byte order mark was left out"] if head.startswith(codecs.BOM_UTF8) else []
    data = data[3:] if notes else data
    decoder = codecs.getincrementaldecoder("utf-8")()
    for at in range(0, len(data), 1 << 20):
        piece = data[at : at + (1 << 20)]
        try:
            text = decoder.decode(piece, final=at + (1 << 20) >= len(data))
        except UnicodeDecodeError as error:
            line = bytes(data[: at + error.start]).count(b"\n") + 1
            raise _not_text(filename, f"not UTF-8 in line {line}") from None
        if "\0" in text:
            raise _not_text(filename, "a zero byte, so no text")
    return data, notes


def _not_text(filename: str, why: str) -> InputError:
    known = "" if "UTF" in why else " Datasets are CSV, JSON Lines or Parquet."
    return InputError(
        f"{filename} is no table that can be read ({why}): save it as CSV in UTF-8.{known}",
        code="dataset-encoding" if "UTF" in why else "dataset-format",
    )


def _delimiter(sample: str) -> str:
    """The one that splits the first lines into most columns, all lines alike; a comma when none does."""
    lines = sample.splitlines()[:20]
    lines = lines[:-1] if len(lines) > 1 and not sample.endswith("\n") else lines
    best, most = ",", 1
    for delimiter in _DELIMITERS:
        try:
            widths = [len(row) for row in csv.reader(lines, delimiter=delimiter) if row]
        except csv.Error:
            continue
        alike = all(a == b for a, b in pairwise(widths))
        if widths and (widths[0] if alike else min(widths[0], 2)) > most:
            best, most = delimiter, widths[0] if alike else min(widths[0], 2)
    return best


def _first_record(sample: str) -> str:
    return sample.splitlines()[0] if sample.strip() else ""


def _check_header(header: list[str], filename: str) -> None:
    """Raises: InputError when the first line holds values instead of names."""
    if header and all(_is_number(cell) for cell in header):
        raise InputError(
            f"{filename} has no header: write the columns' names in the first line.", code="dataset-columns"
        )


def _is_number(cell: str) -> bool:
    try:
        float(cell)
    except ValueError:
        return False
    return True


def _fault(raw: memoryview, delimiter: str, filename: str, limits: DatasetLimits) -> InputError | None:
    """What is wrong, and in which line: a second, slower reading that only suspect files get."""
    text = io.TextIOWrapper(io.BytesIO(raw), "utf-8", newline="")
    csv.field_size_limit(limits.cell_bytes)
    rows = csv.reader(text, delimiter=delimiter, strict=True)
    try:
        width = len(next(rows, []))
        for row in rows:
            if row and len(row) != width:
                return InputError(
                    f"{filename}, line {rows.line_num}: {len(row)} values, the header names {width}: mend the line.",
                    code="dataset-malformed",
                )
    except csv.Error as broken:
        if "field larger" in str(broken):
            return TooLargeError(
                f"{filename}, line {rows.line_num}: a value has over {limits.cell_bytes} characters.",
                code="dataset-too-large",
            )
        return InputError(f"{filename}, line {rows.line_num}: {broken}.", code="dataset-malformed")
    return None
