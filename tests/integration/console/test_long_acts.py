"""Slow uploads take their few places and no more: everything short is answered, and a place that is let go is taken again."""

from __future__ import annotations

import asyncio
import socket
import threading
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager
from pathlib import Path

import httpx
import pytest
from tiny_models import ROWS, doubling_model

from casemate.app.intake import push_dataset
from casemate.client import Casemate
from casemate.console import Services
from casemate.console.places import LONG_ACTS
from casemate.core import LimitError, TooLargeError
from casemate.iam import local_owner
from casemate.scanning import DatasetLimits

UPLOAD = (
    b"POST /api/v1/datasets/slow/versions?filename=a.csv HTTP/1.1\r\nHost: a\r\nContent-Length: 1000000\r\n\r\na,b\n"
)


@contextmanager
def slow_upload(casemate: Casemate, path: Path) -> Iterator[socket.socket]:
    with socket.socket(socket.AF_UNIX) as client:
        client.connect(f"/proc/self/fd/{casemate._connection.folder}/{path.name}")
        client.sendall(UPLOAD)
        yield client


def test_slow_uploads_leave_the_rest_answering(casemate: Casemate, socket_path: Path, tmp_path: Path) -> None:
    (tmp_path / "rows.csv").write_text(ROWS)
    with ExitStack() as held:
        clients = [held.enter_context(slow_upload(casemate, socket_path)) for _ in range(24)]
        refused = []
        while len(refused) < len(clients) - LONG_ACTS:
            for client in set(clients) - set(refused):
                client.settimeout(0.05)
                try:
                    answer = client.recv(1 << 16)
                except TimeoutError:
                    continue
                assert b" 503 " in answer.splitlines()[0]
                assert b"retry-after: " in answer.lower()
                refused.append(client)
        key = casemate.issue_key("quick", role="auditor")
        casemate.revoke_key(key["id"])
        assert casemate.status()["home"]
        with pytest.raises(LimitError, match="come back") as busy:
            casemate.push_dataset("rows", tmp_path / "rows.csv")
        assert busy.value.code == "too-busy"
    while True:
        try:
            pushed = casemate.push_dataset("rows", tmp_path / "rows.csv")
        except LimitError:
            continue
        break
    assert pushed["created"]


def test_a_download_gives_its_place_back(casemate: Casemate, tmp_path: Path) -> None:
    (tmp_path / "model.onnx").write_bytes(doubling_model(2.0))
    casemate.push_model("double", tmp_path / "model.onnx")
    for number in range(2 * LONG_ACTS):
        casemate.pull_model("double", tmp_path / f"out-{number}")


def test_an_upload_is_held_no_further_than_a_dataset_may_be(services: Services) -> None:
    taken = []

    def endless() -> Iterator[bytes]:
        while True:
            taken.append(1)
            yield bytes(1 << 20)

    with pytest.raises(TooLargeError) as refused:
        push_dataset(
            services.datasets,
            services.screenings,
            services.uploads,
            "huge",
            endless(),
            filename="huge.csv",
            target=None,
            actor=local_owner(0),
            intent="int_test",
            insecure=False,
            limits=DatasetLimits(file_bytes=3 << 20),
        )
    assert (refused.value.code, len(taken)) == ("dataset-too-large", 4)


def test_models_that_load_leave_threads_and_the_way_back(
    casemate: Casemate, services: Services, app, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """One key switches more deployments than there are places, onto models that take their time."""
    (tmp_path / "model.onnx").write_bytes(doubling_model(3.0))
    casemate.push_model("slowly", tmp_path / "model.onnx")
    casemate.approve("slowly@1", environment="dev")
    casemate.deploy("loaded", "slowly@1")
    key = casemate.issue_key("deployer", role="operator", expires="1h")["key"]
    go, loading = threading.Event(), threading.Semaphore(0)

    def converge(name: str, number: int) -> None:
        loading.release()
        assert go.wait(60)

    monkeypatch.setattr(services.deployments._rollout, "converge", converge)

    async def play() -> None:
        transport = httpx.ASGITransport(app=app, client=("127.0.0.1", 50000))
        headers = {"Authorization": f"Bearer {key}"}
        async with httpx.AsyncClient(transport=transport, base_url="https://casemate", headers=headers) as client:

            async def deploy(number: int) -> int:
                return (
                    await client.put(f"/api/v1/deployments/many-{number}", params={"model": "slowly@1"})
                ).status_code

            asked = [asyncio.create_task(deploy(number)) for number in range(3 * LONG_ACTS)]
            for _ in range(LONG_ACTS - 1):
                assert await asyncio.to_thread(loading.acquire, timeout=60)
            refused, waiting = await asyncio.wait(asked, timeout=300, return_when=asyncio.FIRST_COMPLETED)
            while len(waiting) > LONG_ACTS - 1:
                more, waiting = await asyncio.wait(waiting, timeout=300, return_when=asyncio.FIRST_COMPLETED)
                refused |= more
            assert {task.result() for task in refused} == {503}
            back = await client.post("/api/v1/deployments/loaded/rollback")
            assert back.json()["code"] == "nothing-earlier", "it was let in"
            go.set()
            assert [await task for task in waiting] == [200] * (LONG_ACTS - 1)

    try:
        asyncio.run(play())
    finally:
        go.set()
