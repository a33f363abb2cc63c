"""What ends harm waits for nothing: not while every thread that answers other routes is taken."""

from __future__ import annotations

import socket
import threading
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager
from pathlib import Path
from typing import Any

import pytest
from tiny_models import doubling_model

from casemate.client import Casemate
from casemate.console import Services
from casemate.core import NotFoundError

THREADS = 40  # that anyio gives to all together
SLOW = b"GET /api/v1/deployments HTTP/1.1\r\nHost: a\r\n\r\n"


@contextmanager
def every_thread_taken(services: Services, path: Path) -> Iterator[threading.Event]:
    """Until the context ends, each list of deployments waits; more of them are asked for than there are threads."""
    go_on, waiting, newest = threading.Event(), threading.Semaphore(0), services.deployments.newest

    def slow() -> list[dict[str, Any]]:
        waiting.release()
        assert go_on.wait(120)
        return newest()

    services.deployments.newest = slow  # type: ignore[method-assign]
    try:
        with ExitStack() as held:
            for _ in range(THREADS + 4):
                client = held.enter_context(socket.socket(socket.AF_UNIX))
                client.connect(str(path))
                client.sendall(SLOW)
            for _ in range(THREADS):
                assert waiting.acquire(timeout=60)
            assert not waiting.acquire(timeout=0.2)  # no thread is left
            yield go_on
            assert not go_on.is_set()
            go_on.set()
    finally:
        go_on.set()
        del services.deployments.newest  # the class's own again


def test_a_pause_and_each_revocation_wait_for_no_other_act(
    services: Services, casemate: Casemate, socket_path: Path, tmp_path: Path
) -> None:
    (tmp_path / "model.onnx").write_bytes(doubling_model(2.0))
    casemate.push_model("urgent", tmp_path / "model.onnx")
    casemate.approve("urgent@1")
    casemate.deploy("urgent", "urgent@1")
    key = casemate.issue_key("urgent", role="auditor", expires="1h")
    with every_thread_taken(services, socket_path):
        assert casemate._get("/health")["ok"]
        assert casemate.pause("urgent", reason="now")["state"] == "paused"
        assert casemate.revoke_key(key["id"])["state"] == "revoked"
        assert casemate.revoke_model("urgent@1", reason="now")["state"] == "revoked"
        with pytest.raises(NotFoundError):  # what is wrong is told without waiting, too
            casemate.pause("not-there")
        with pytest.raises(NotFoundError):
            casemate.grants.revoke("grt_" + "0" * 32, reason="now")
