"""What people and programs see: tables or one JSON value, one sentence for each refusal, and exit codes."""

from __future__ import annotations

import json
import sys
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import Any, NoReturn

import click
from rich.console import Console
from rich.markup import escape
from rich.progress import BarColumn, DownloadColumn, Progress, SpinnerColumn, TextColumn, TimeElapsedColumn
from rich.table import Table
from rich.tree import Tree

from casemate.core import CasemateError, InputError, SandboxError, StorageError, UpstreamError

CLEAN, REFUSED, ERROR = 0, 1, 2

people = Console(stderr=True, highlight=False)
_tables = Console(highlight=False)

json_option = click.option("--json", "as_json", is_flag=True, help="Print one JSON value.")


def fail(error: CasemateError, *, as_json: bool) -> NoReturn:
    """Say what is wrong in one sentence and end: 1 when a wall refused, 2 when something must be mended."""
    broken = isinstance(error, InputError | SandboxError | StorageError | UpstreamError)
    if as_json:
        print(json.dumps({"error": error.message, "code": error.code}))
    word = "[bold red]Error[/]" if broken else "[bold yellow]Refused[/]"
    people.print(f"{word} ({error.code}): ", end="")
    people.print(error.message, markup=False, soft_wrap=True)
    sys.exit(ERROR if broken else REFUSED)


def show(value: Any, as_json: bool, human: Callable[[Any], None]) -> None:
    """Print `value` as JSON, or for people."""
    if as_json:
        print(json.dumps(value, default=str))
    else:
        human(value)


def table(rows: list[dict[str, Any]], columns: dict[str, str], *, empty: str) -> None:
    """Print `rows`; `columns` maps keys to headings."""
    if not rows:
        people.print(empty)
        return
    sheet = Table(box=None, header_style="bold", pad_edge=False)
    for heading in columns.values():
        sheet.add_column(heading, overflow="fold")
    for row in rows:
        sheet.add_row(*(_cell(row.get(key)) for key in columns))
    _tables.print(sheet)


def facts(value: dict[str, Any]) -> None:
    """Print the members of one object, a line each."""
    width = max((len(key) for key in value), default=0)
    for key, item in value.items():
        _tables.print(f"[bold]{key.replace('_', ' '):<{width}}[/]  ", end="")
        _tables.print(_cell(item), markup=False, soft_wrap=True)


def tree(value: dict[str, Any]) -> None:
    """Print nested objects as a tree; a list under `from` holds the parents of a node."""
    root = Tree(escape(_node(value)))
    _grow(root, value)
    _tables.print(root)


def _grow(branch: Tree, value: dict[str, Any]) -> None:
    for parent in value.get("from", []):
        _grow(branch.add(escape(_node(parent))), parent)


def _node(value: dict[str, Any]) -> str:
    return "  ".join(f"{key}={_cell(item)}" for key, item in value.items() if key != "from")


def findings(rows: list[dict[str, Any]]) -> None:
    """Print what was found, worst first, with what to do."""
    order = ("critical", "high", "medium", "low", "info")
    colours = {"critical": "bold red", "high": "red", "medium": "yellow"}
    for row in sorted(rows, key=lambda row: order.index(row["severity"])):
        style = colours.get(row["severity"], "dim")
        _tables.print(f"[{style}]{row['severity']:>8}[/] [bold]{row['id']}[/] ", end="")
        _tables.print(f"{row['title']}: {row['evidence']}", markup=False, soft_wrap=True)
        _tables.print(f"         -> {row['remediation']}", markup=False, soft_wrap=True, style="dim")


def verdict(result: dict[str, Any], as_json: bool, done: str) -> None:
    """Print the result of a push, a scan or a training run, and exit 1 when it was refused."""
    refused = result["verdict"] != "clean"

    def human(_: Any) -> None:
        findings(result["findings"])
        for attempt in result.get("blocked", []):
            _tables.print(f" [red]blocked[/] {attempt['kind']}: ", end="")
            _tables.print(str(attempt["target"]), markup=False, soft_wrap=True)
        said = "[bold red]refused[/]; nothing was kept." if refused else f"[bold green]clean[/] {done}"
        _tables.print(said, soft_wrap=True)

    show(result, as_json, human)
    if refused:
        sys.exit(REFUSED)


def _cell(value: Any) -> str:
    if value is None:
        return "-"
    if isinstance(value, dict | list):
        return json.dumps(value)
    return str(value)


@contextmanager
def sending(label: str) -> Iterator[Callable[[int, int], None]]:
    """A progress bar over bytes sent, then a clock while the server works; only where a person looks."""
    columns = (SpinnerColumn(), TextColumn("{task.description}"), BarColumn(), DownloadColumn(), TimeElapsedColumn())
    with Progress(*columns, console=people, transient=True, disable=not people.is_terminal) as bar:
        task = bar.add_task(label, total=None)

        def told(done: int, total: int) -> None:
            bar.update(task, completed=done, total=total, description=label if done < total else "checking")

        yield told


@contextmanager
def working(label: str) -> Iterator[None]:
    """A clock on work whose length nobody knows."""
    columns = (SpinnerColumn(), TextColumn("{task.description}"), TimeElapsedColumn())
    with Progress(*columns, console=people, transient=True, disable=not people.is_terminal) as bar:
        bar.add_task(label, total=None)
        yield
