"""What people and programs see: tables or one JSON value, one sentence for each refusal, and exit codes."""

from __future__ import annotations

import json
import os
import re
import signal
import sys
import threading
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress
from typing import Any, NoReturn

import click
from rich.console import Console, ConsoleOptions, RenderableType
from rich.markup import escape
from rich.progress import (
    BarColumn,
    DownloadColumn,
    MofNCompleteColumn,
    Progress,
    SpinnerColumn,
    TextColumn,
    TimeElapsedColumn,
)
from rich.segment import Segment
from rich.table import Table
from rich.text import Text
from rich.tree import Tree

from casemate.core import CasemateError, InputError, SandboxError, StorageError, UpstreamError, without_secrets

CLEAN, REFUSED, ERROR = 0, 1, 2

_PIPE_WIDTH = 1 << 20  # columns
_LEAST = 7  # columns of the screen that a column of a sheet needs to be read
_LINES_SHOWN = 20  # of what a script printed
_DIGEST = re.compile(r"\b(sha256:[0-9a-f]{12})[0-9a-f]{52}\b")
_FRACTION = re.compile(r"^(\d{4}-\d\d-\d\dT\d\d:\d\d:\d\d)\.\d+Z$")


def visible(text: str, *, keep: str = "") -> str:
    """`text` with all that would steer a terminal written out, an escape as `\\x1b`. `keep`: characters that stay."""
    if text.isprintable():
        return text
    return "".join(c if c.isprintable() or c in keep else c.encode("unicode_escape").decode() for c in text)


class _Screen(Console):
    """Prints foreign text as what it is: whatever reaches the terminal through it is `visible`."""

    def render(self, renderable: RenderableType, options: ConsoleOptions | None = None) -> Iterator[Segment]:
        for segment in super().render(renderable, options):
            if segment.control:
                yield segment
            else:
                yield Segment(visible(segment.text, keep="\n"), segment.style)


people = _Screen(stderr=True, highlight=False, emoji=False)
_tables = _Screen(highlight=False, emoji=False)

json_option = click.option("--json", "as_json", is_flag=True, help="Print one JSON value.")


def fail(error: CasemateError, *, as_json: bool) -> NoReturn:
    """Say what is wrong in one sentence and end: 1 when a wall refused, 2 when something must be mended."""
    message = without_secrets(error.message)
    broken = isinstance(error, InputError | SandboxError | StorageError | UpstreamError)
    if as_json:
        print(json.dumps({"error": message, "code": error.code}))
    word = "[bold red]Error[/]" if broken else "[bold yellow]Refused[/]"
    people.print(f"{word} ({escape(visible(error.code))}): ", end="")
    people.print(visible(message.removeprefix("Refused: ")), markup=False, soft_wrap=True)
    sys.exit(ERROR if broken else REFUSED)


def interrupted(error: BaseException, *, as_json: bool) -> NoReturn:
    """End as a shell expects it: 128 and the signal's number, 130 for Ctrl-C and 143 for SIGTERM.

    Where a question met the end of the input, nobody interrupted anything: that is an error like any other.
    """
    if isinstance(error.__context__, EOFError):
        told = "This asks for something, and nobody answered: run it on a terminal, or give a line for each question."
        fail(InputError(told, code="no-answer"), as_json=as_json)
    cause = error if isinstance(error, KeyboardInterrupt) else error.__cause__
    number = cause.args[0] if isinstance(cause, KeyboardInterrupt) and cause.args else signal.SIGINT
    if as_json:
        print(json.dumps({"error": "Interrupted.", "code": "interrupted"}))
    people.print("Interrupted.")
    sys.exit(128 + number)


def check_streams() -> None:
    """Nothing that is opened later takes the place of a closed standard stream. Raises: SystemExit: one is closed."""
    closed = [name for name in ("stdin", "stdout", "stderr") if getattr(sys, name) is None]
    if not closed:
        return
    nowhere = os.open(os.devnull, os.O_RDWR)
    for number, name in enumerate(("stdin", "stdout", "stderr")):
        if name in closed:
            os.dup2(nowhere, number)
    if closed != ["stdin"]:
        fail(StorageError(f"There is no {closed[-1]}: it is closed.", code="no-output"), as_json="stdout" not in closed)


def flushed(*, quiet: bool) -> bool:
    """Whether all that was said reached its reader. Args: quiet: it was told already why not."""
    whole = True
    for stream in (sys.stdout, sys.stderr):
        try:
            if stream is not None:
                stream.flush()
        except OSError as error:
            whole = False
            if not quiet and stream is sys.stdout and not isinstance(error, BrokenPipeError):
                with suppress(OSError):
                    people.print(f"Error (no-output): the output could not be written: {error.strerror}.", markup=False)
            with suppress(OSError, ValueError):  # what is left in the buffer is tried once more at the end
                os.dup2(os.open(os.devnull, os.O_WRONLY), stream.fileno())
    return whole


def show(value: Any, as_json: bool, human: Callable[[Any], None]) -> None:
    """Print `value` as JSON, or for people."""
    if as_json:
        print(json.dumps(value, default=str))
    else:
        human(value)


def say(text: str) -> None:
    """Print a result for people."""
    _tables.print(text, markup=False, soft_wrap=True)


def table(rows: list[dict[str, Any]], columns: dict[str, str], *, empty: str) -> None:
    """Print `rows`; `columns` maps keys to headings."""
    if not rows:
        people.print(empty, markup=False)
        return
    sheet = Table(box=None, header_style="bold", pad_edge=False)
    for heading in columns.values():
        sheet.add_column(heading, overflow="fold", no_wrap=heading == "id")  # an id is there to be copied
    cells = [[_brief(row.get(key)) for key in columns] for row in rows]
    if _tables.is_terminal and _tables.width < _least_width(list(columns.values()), cells):
        for row in cells:
            _block(list(columns.values()), row)
        return
    for row in cells:
        sheet.add_row(*map(Text, row))
    if not _tables.is_terminal:
        _tables.width = _PIPE_WIDTH  # what a program reads is never wrapped
    _tables.print(sheet)


def _least_width(headings: list[str], cells: list[list[str]]) -> int:
    """Columns of the screen below which the sheet's words break into pieces that nobody reads."""
    columns = zip(headings, *cells, strict=True)
    widths = [max(map(len, column)) for column in columns]
    kept = [width if heading == "id" else min(width, _LEAST) for heading, width in zip(headings, widths, strict=True)]
    return sum(kept) + len(kept) - 1


def _block(headings: list[str], row: list[str]) -> None:
    """One record, a line for each of its members, and an empty line."""
    for heading, cell in zip(headings, row, strict=True):
        _tables.print(f"[bold]{escape(heading)}[/] ", end="")
        _tables.print(cell, markup=False, soft_wrap=True)
    _tables.print()


def facts(value: dict[str, Any]) -> None:
    """Print the members of one object, a line each."""
    width = max((len(key) for key in value), default=0)
    for key, item in value.items():
        _tables.print(f"[bold]{escape(visible(key.replace('_', ' '))):<{width}}[/]  ", end="")
        _tables.print(_cell(item), markup=False, soft_wrap=True)


def line(word: str, text: str) -> None:
    """Print one line: `word` may hold markup, `text` is wrapped under itself and shown as it is."""
    if not _tables.is_terminal:
        _tables.print(word, escape(visible(text)), soft_wrap=True)
        return
    sheet = Table.grid(padding=(0, 1))
    sheet.add_row(word, escape(visible(text)))
    _tables.print(sheet)


def tree(value: dict[str, Any]) -> None:
    """Print nested objects as a tree; a list under `from` holds the parents of a node."""
    root = Tree(escape(_node(value)))
    _grow(root, value)
    _tables.print(root)


def _grow(branch: Tree, value: dict[str, Any]) -> None:
    for parent in value.get("from", []):
        _grow(branch.add(escape(_node(parent))), parent)


def _node(value: dict[str, Any]) -> str:
    return "  ".join(f"{visible(key)}={_cell(item)}" for key, item in value.items() if key != "from")


def findings(rows: list[dict[str, Any]]) -> None:
    """Print what was found, worst first, with what to do."""
    order = ("critical", "high", "medium", "low", "info")
    colours = {"critical": "bold red", "high": "red", "medium": "yellow"}
    for row in sorted(rows, key=lambda row: order.index(row["severity"])):
        style = colours.get(row["severity"], "dim")
        _tables.print(f"[{style}]{row['severity']:>8}[/] [bold]{escape(row['id'])}[/] ", end="")
        _tables.print(visible(f"{row['title']}{_place(row)}: {row['evidence']}"), markup=False, soft_wrap=True)
        _tables.print(visible(f"         -> {row['remediation']}"), markup=False, soft_wrap=True, style="dim")


def _place(row: dict[str, Any]) -> str:
    """Where it was found, as a file, a member of it or a column, unless the words say so."""
    place = row.get("location")
    return "" if not place or place in row["title"] or place in row["evidence"] else f" in {place}"


def verdict(result: dict[str, Any], as_json: bool, done: str) -> None:
    """Print the result of a push, a scan or a training run, and exit 1 when it was refused."""
    refused = result["verdict"] != "clean"

    def human(_: Any) -> None:
        for line in result.get("log", "").splitlines()[-_LINES_SHOWN:]:
            _tables.print(visible(f"  | {line}"), markup=False, soft_wrap=True, style="dim")
        findings(result["findings"])
        for attempt in result.get("blocked", []):
            _tables.print(f" [red]blocked[/] {escape(attempt['kind'])}: ", end="")
            _tables.print(visible(str(attempt["target"])), markup=False, soft_wrap=True)
        said = "[bold red]refused[/]; nothing was kept." if refused else f"[bold green]clean[/] {escape(visible(done))}"
        _tables.print(said, soft_wrap=True)

    show(result, as_json, human)
    if refused:
        sys.exit(REFUSED)


def _brief(value: Any) -> str:
    """As `_cell`, with digests and times as short as people need them; --json has them whole."""
    return _FRACTION.sub(r"\1Z", _DIGEST.sub(r"\1", _cell(value)))


def _cell(value: Any) -> str:
    if value is None:
        return "-"
    if isinstance(value, dict | list):
        return json.dumps(value)
    return visible(str(value))


@contextmanager
def sending(label: str) -> Iterator[Callable[[int, int], None]]:
    """A progress bar over bytes sent, then a clock while the server works; only where a person looks."""
    columns = (
        SpinnerColumn(),
        TextColumn("{task.description}", markup=False),
        BarColumn(),
        DownloadColumn(),
        TimeElapsedColumn(),
    )
    with Progress(*columns, console=people, transient=True, disable=not people.is_terminal) as bar:
        task = bar.add_task(label, total=None)

        def told(done: int, total: int) -> None:
            bar.update(task, completed=done, total=total, description=label if done < total else "checking")

        yield told


@contextmanager
def counting(label: str, look: Callable[[], tuple[int, int]]) -> Iterator[None]:
    """A progress bar over work that another process does. Args: look: done and total, asked once a second."""
    if not people.is_terminal:
        yield
        return
    columns = (
        SpinnerColumn(),
        TextColumn("{task.description}"),
        BarColumn(),
        MofNCompleteColumn(),
        TimeElapsedColumn(),
    )
    over = threading.Event()
    with Progress(*columns, console=people, transient=True) as bar:
        task = bar.add_task(label, total=None)

        def follow() -> None:
            while not over.wait(1.0):
                with suppress(CasemateError):  # the work itself says what is wrong
                    done, total = look()
                    bar.update(task, completed=done, total=total)

        follower = threading.Thread(target=follow, daemon=True)
        follower.start()
        try:
            yield
        finally:
            over.set()
            follower.join()


@contextmanager
def working(label: str) -> Iterator[None]:
    """A clock on work whose length nobody knows."""
    columns = (SpinnerColumn(), TextColumn("{task.description}", markup=False), TimeElapsedColumn())
    with Progress(*columns, console=people, transient=True, disable=not people.is_terminal) as bar:
        bar.add_task(label, total=None)
        yield
