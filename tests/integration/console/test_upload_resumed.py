"""A push that broke off goes on where it was: by itself, and with the next push of the same file."""

from __future__ import annotations

import hashlib
import socket
import time
from collections.abc import Callable
from pathlib import Path

import httpx
import pytest

from casemate.client import Casemate
from casemate.client.dataset_files import push_rows
from casemate.core import CasemateError, UpstreamError

ROWS, SENT = 700_000, 5 << 20  # some 11 MB in all; bytes that come before a break


@pytest.fixture(scope="module")
def table(tmp_path_factory: pytest.TempPathFactory) -> Path:
    file = tmp_path_factory.mktemp("long") / "rows.csv"
    file.write_text("id,value\n" + "".join(f"{number},{number % 977}.5\n" for number in range(ROWS)))
    return file


def name_of_upload(path: Path) -> str:
    asked: list[str] = []

    def kept(upload: str) -> None:
        asked.append(upload)

    push_rows(path, kept, lambda sent: {"filename": sent.filename})
    return asked[0]


def waited_for(ready: Callable[[], bool]) -> None:
    for _ in range(200):
        if ready():
            return
        time.sleep(0.05)
    pytest.fail("the server did not notice that the connection had gone")


def send_a_part(path: Path, to: Path, dataset: str) -> None:
    """The beginning of an upload, as `push` sends it, and then nothing."""
    upload, whole = name_of_upload(path), path.read_bytes()
    head = (
        f"POST /api/v1/datasets/{dataset}/versions?filename=rows.csv&upload={upload} HTTP/1.1\r\nHost: casemate\r\n"
        f"Content-Length: {len(whole)}\r\n\r\n"
    )
    with socket.socket(socket.AF_UNIX) as line:
        line.connect(str(to))
        line.sendall(head.encode() + whole[:SENT])
        time.sleep(0.5)


def is_kept(casemate: Casemate, dataset: str, path: Path) -> bool:
    try:
        casemate._get(f"/datasets/{dataset}/uploads/{name_of_upload(path)}")
    except CasemateError:
        return False
    return True


def test_the_next_push_of_the_same_file_goes_on(casemate: Casemate, socket_path: Path, table: Path) -> None:
    send_a_part(table, socket_path, "long")
    waited_for(lambda: is_kept(casemate, "long", table))
    heard: list[int] = []
    pushed = casemate.push_dataset("long", table, progress=lambda done, _: heard.append(done))
    assert heard[0] > 1 << 20  # it did not begin anew
    assert heard[-1] == table.stat().st_size
    assert casemate.dataset("long")["rows"] == ROWS
    assert casemate.push_dataset("whole", table)["findings"] == pushed["findings"]
    pulled = [casemate.pull_dataset(name, table.parent / f"{name}.parquet", reason="x") for name in ("long", "whole")]
    assert len({hashlib.sha256(path.read_bytes()).digest() for path in pulled}) == 1
    assert casemate.audit_verify()["ok"]


def test_a_push_goes_on_by_itself(casemate: Casemate, table: Path) -> None:
    heard: list[int] = []

    def broken_once(done: int, _: int) -> None:
        heard.append(done)
        if len(heard) == 6:
            raise httpx.WriteError("the line is gone")

    assert casemate.push_dataset("again", table, progress=broken_once)["created"]
    assert heard[6] > heard[0]  # the second attempt began further on than the first
    assert casemate.dataset("again")["rows"] == ROWS


def test_a_file_that_was_changed_is_sent_whole(casemate: Casemate, socket_path: Path, table: Path) -> None:
    send_a_part(table, socket_path, "other")
    waited_for(lambda: is_kept(casemate, "other", table))
    kept = casemate._get(f"/datasets/other/uploads/{name_of_upload(table)}")
    sent: list[int] = []
    push_rows(table, lambda _: {**kept, "digest": "sha256:" + "0" * 64}, lambda one: {"start": sent.append(one.start)})
    push_rows(table, lambda _: kept, lambda one: {"start": sent.append(one.start)})
    assert sent == [0, kept["size"]]


def test_a_server_that_kept_nothing_is_not_asked_again(table: Path) -> None:
    tries: list[int] = []

    def send(_: object) -> dict[str, object]:
        tries.append(1)
        raise UpstreamError("gone", code="no-answer")

    with pytest.raises(UpstreamError):
        push_rows(table, lambda _: None, send)
    assert len(tries) == 1
