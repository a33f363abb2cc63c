"""CSV -> Arrow batches: encoding and delimiter found within bounds, every row as long as the header. Runs in the sandbox."""

from __future__ import annotations

import codecs
import csv
import io
import re
from collections.abc import Callable, Iterator
from functools import partial
from itertools import pairwise

import pyarrow as pa
import pyarrow.csv

from casemate.core import InputError, TooLargeError
from casemate.scanning.asked_file import AskedFile
from casemate.scanning.columns import Rows, check_names, check_size
from casemate.scanning.limits import DatasetLimits

_SAMPLE = 1 << 16  # bytes in which the delimiter is looked for
_DELIMITERS = ",;\t|"
# How pyarrow begins to say where; what follows quotes cells, which may say anything.
_ROW = re.compile(r"(?:In CSV column #\d+: |CSV parse error: )?Row #(\d{1,12}):")
_COLUMN = re.compile(r"In CSV column #(\d{1,6}):")
_BLOCK = 4 << 20  # bytes that pyarrow parses at once, of which it reads some 32 ahead; a row must fit
_PIECE = 1 << 20  # bytes looked at together
# What a column is tried as next, where it is not all of the type that its first block has.
_WIDER = {
    pa.int64(): [pa.float64(), pa.string()],
    pa.date32(): [pa.timestamp("s"), pa.timestamp("ns"), pa.string()],
    pa.timestamp("s"): [pa.timestamp("ns"), pa.string()],
    pa.null(): [
        pa.int64(),
        pa.bool_(),
        pa.date32(),
        pa.timestamp("s"),
        pa.timestamp("ns"),
        pa.float64(),
        pa.string(),
    ],
}

Open = Callable[[], io.RawIOBase]  # the text as UTF-8, from its beginning


def read_csv(file: AskedFile, filename: str, limits: DatasetLimits) -> Rows:
    """Raises: InputError that names the line; TooLargeError."""
    opened, quotes, notes = _as_utf8(file, filename)
    sample = str(opened().read(_SAMPLE), "utf-8", "ignore")
    delimiter = _delimiter(sample)
    header = next(csv.reader([_first_record(sample)], delimiter=delimiter), [])
    _check_header(header, filename)
    check_size(0, len(header), filename, limits)
    table = _Csv(opened, delimiter, header, filename, limits)
    if quotes % 2 and (broken := table.fault()):
        raise broken  # a quote that never closes: pyarrow takes the rest of the file for one value
    types = table.settled_types() if file.size > _BLOCK else {}
    reader = table.open(types)
    if delimiter != ",":
        notes.append(f"columns are separated by {delimiter!r}")
    names = [name.strip() for name in reader.schema.names]
    check_names(names, filename, limits)
    schema = pa.schema([(name, field.type) for name, field in zip(names, reader.schema, strict=True)])
    return Rows(schema=schema, batches=table.batches(reader, schema), notes=notes)


class _Csv:
    """One CSV file, which can be read again from its beginning."""

    def __init__(self, opened: Open, delimiter: str, header: list[str], filename: str, limits: DatasetLimits) -> None:
        self._opened, self._delimiter, self._header = opened, delimiter, header
        self._filename, self._limits = filename, limits

    def open(self, types: dict[str, pa.DataType]) -> pyarrow.csv.CSVStreamingReader:
        """Raises: InputError."""
        try:
            return self._reader(types)
        except (pa.ArrowException, ValueError, OSError) as error:
            raise self._refused(error) from None

    def batches(self, reader: pyarrow.csv.CSVStreamingReader, schema: pa.Schema) -> Iterator[pa.RecordBatch]:
        """Raises: InputError that names the line."""
        try:
            for batch in reader:
                yield pa.RecordBatch.from_arrays(batch.columns, schema=schema)
        except (pa.ArrowException, ValueError, OSError) as error:
            raise self._refused(error) from None

    def settled_types(self) -> dict[str, pa.DataType]:
        """What the columns of a file of many blocks are, as if pyarrow had looked at all of it. Raises: InputError."""
        settled: dict[str, pa.DataType] = {}
        wider: dict[str, list[pa.DataType]] = {}
        while True:
            reader = self.open(settled)
            schema = reader.schema
            try:
                for _ in reader:
                    pass
            except (pa.ArrowException, ValueError, OSError) as error:
                found = _COLUMN.match(str(error))
                column = schema.field(int(found[1])) if found and int(found[1]) < len(schema) else None
                left = (
                    None
                    if column is None
                    else wider.setdefault(column.name, list(_WIDER.get(column.type, [pa.string()])))
                )
                if column is None or not left:
                    raise self._refused(error) from None
                settled = {field.name: field.type for field in schema} | settled | {column.name: left.pop(0)}
            else:
                return {field.name: field.type for field in schema}

    def _reader(self, types: dict[str, pa.DataType]) -> pyarrow.csv.CSVStreamingReader:
        return pa.csv.open_csv(
            pa.PythonFile(self._opened(), mode="r"),
            read_options=pa.csv.ReadOptions(use_threads=False, block_size=_BLOCK),
            parse_options=pa.csv.ParseOptions(delimiter=self._delimiter, newlines_in_values=True),
            convert_options=pa.csv.ConvertOptions(strings_can_be_null=True, column_types=types),
        )

    def fault(self) -> InputError | None:
        """What is wrong, and in which line."""
        return _fault(self._opened(), self._delimiter, self._filename, self._limits)

    def _refused(self, error: Exception) -> InputError:
        if isinstance(error, MemoryError):
            raise error  # not the file's fault: it ends the process, which tells so
        return self.fault() or unreadable_csv(error, self._header, self._filename)


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


def _as_utf8(file: AskedFile, filename: str) -> tuple[Open, int, list[str]]:
    """The text as UTF-8 without a byte order mark, and how many quotes are in it. Raises: InputError."""
    head = file.head(4)
    for mark, name in ((codecs.BOM_UTF16_LE, "utf-16-le"), (codecs.BOM_UTF16_BE, "utf-16-be")):
        if head.startswith(mark):
            recoded = partial(_recoded, file, name)
            try:
                quotes = sum(piece.count(b'"') for piece in iter(partial(recoded().read, _PIECE), b""))
            except (UnicodeDecodeError, UnicodeEncodeError):
                raise _not_text(filename, "broken UTF-16") from None
            return recoded, quotes, ["it was UTF-16"]
    skip, notes = (3, ["a byte order mark was left out"]) if head.startswith(codecs.BOM_UTF8) else (0, [])
    return partial(file.from_start, skip), _checked_utf8(file.from_start(skip), filename), notes


def _recoded(file: AskedFile, encoding: str) -> _Recoded:
    return _Recoded(file.from_start(2), encoding)


def _checked_utf8(file: AskedFile, filename: str) -> int:
    """How many quotes there are. Raises: InputError `dataset-encoding`, `dataset-format`."""
    decoder = codecs.getincrementaldecoder("utf-8")()
    lines, quotes = 1, 0
    while True:
        piece = file.read(_PIECE)
        try:
            text = decoder.decode(piece, final=not piece)
        except UnicodeDecodeError as error:
            line = lines + error.object[: error.start].count(b"\n")
            raise _not_text(filename, f"not UTF-8 in line {line}") from None
        if "\0" in text:
            raise _not_text(filename, "a zero byte, so no text")
        if not piece:
            return quotes
        lines += piece.count(b"\n")
        quotes += piece.count(b'"')


class _Recoded(io.RawIOBase):
    """UTF-16 as UTF-8. Raises: UnicodeError."""

    def __init__(self, file: AskedFile, encoding: str) -> None:
        super().__init__()
        self._file, self._decoder = file, codecs.getincrementaldecoder(encoding)()
        self._rest = b""

    def readable(self) -> bool:
        return True

    def readinto(self, buffer: object) -> int:
        view = memoryview(buffer).cast("B")  # type: ignore[arg-type]
        while not self._rest:
            piece = self._file.read(_PIECE)
            self._rest = self._decoder.decode(piece, final=not piece).encode()
            if not piece:
                break
        size = min(len(view), len(self._rest))
        view[:size], self._rest = self._rest[:size], self._rest[size:]
        return size


def _not_text(filename: str, why: str) -> InputError:
    known = (
        "" if "UTF" in why else " Datasets are CSV, JSON Lines, Parquet, Arrow, NumPy, or a folder of images or texts."
    )
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


def _fault(raw: io.RawIOBase, delimiter: str, filename: str, limits: DatasetLimits) -> InputError | None:
    """What is wrong, and in which line: a second, slower reading that only suspect files get."""
    text = io.TextIOWrapper(io.BufferedReader(raw, _PIECE), "utf-8", newline="")
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
