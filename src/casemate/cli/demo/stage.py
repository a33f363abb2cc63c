"""The stage of the demo: a home, its running server, and what the steps have learned so far."""

from __future__ import annotations

import json
import signal
import socket
import ssl
import subprocess
import sys
import tempfile
from collections.abc import Sequence
from pathlib import Path
from typing import Any, Self

import httpx

import casemate
from casemate.cli.output import people
from casemate.client import Casemate
from casemate.settings import Settings

DEPLOYMENT = "diagnosis"


class StepError(Exception):
    """A step did not see what it must see."""


class Stage:
    """A home, its running server, and what the steps have learned so far."""

    def __init__(self, settings: Settings) -> None:
        self.settings = settings
        self.folder = Path(tempfile.mkdtemp(prefix="casemate-walk-"))
        self.keys = Path()
        self.data = ""
        self.control: Casemate
        self.key = ""
        self.rows: list[list[float]] = []
        self.labels: list[int] = []
        self._server: subprocess.Popen[str] | None = None
        self._http = httpx.Client()

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        self.stop()
        self._http.close()
        for file in self.folder.iterdir():
            file.unlink()
        self.folder.rmdir()

    def start(self) -> str:
        """Start `casemate up` and wait for its ready line; on free ports, when another took ours meanwhile."""
        wanted = (self.settings.data_port, self.settings.control_port)
        ports = [_free(self.settings.host, port) for port in wanted]
        line = self._launch(ports)
        if not line and any(port and not _free(self.settings.host, port) for port in ports):
            people.print("A port was taken meanwhile; starting again on free ones.")
            line = self._launch([0, 0])
        if not line:
            raise StepError("casemate up did not become ready; its message stands above")
        self.data = dict(word.split("=", 1) for word in line.split()[1:])["data"]
        trust = ssl.create_default_context(cafile=str(self.settings.home / "tls" / "ca.pem"))
        self._http = httpx.Client(verify=trust, timeout=30)
        return line

    def _launch(self, ports: Sequence[int]) -> str:
        """The ready line of a new `casemate up`; empty when it ended without one."""
        data, control = map(str, ports)
        command = [sys.executable, "-m", "casemate", "up", "--home", str(self.settings.home)]
        command += ["--data-port", data, "--control-port", control]
        if self.settings.insecure_no_sandbox:
            command.append("--insecure-no-sandbox")
        self._server = subprocess.Popen(  # noqa: S603 our own command
            command, stdout=subprocess.PIPE, text=True, start_new_session=True
        )
        assert self._server.stdout is not None
        line = self._server.stdout.readline().strip()
        if line.startswith("ready "):
            return line
        self.stop()
        return ""

    def stop(self) -> None:
        if self._server is not None and self._server.poll() is None:
            self._server.send_signal(signal.SIGTERM)
            self._server.wait(timeout=30)
        if self._server is not None and self._server.stdout is not None:
            self._server.stdout.close()

    def wait(self) -> None:
        assert self._server is not None
        self._server.wait()

    def infer(self, body: object, key: str | None = None) -> httpx.Response:
        """One request through the public door."""
        key = self.key if key is None else key
        content = body if isinstance(body, bytes) else json.dumps(body).encode()
        headers = {"Content-Type": "application/json"} | ({"Authorization": f"Bearer {key}"} if key else {})
        return self._http.post(f"{self.data}/v2/models/{DEPLOYMENT}/infer", content=content, headers=headers)

    def next_lines(self) -> list[str]:
        """What to type next: commands that can be pasted."""
        body = self.folder / "row.json"
        body.write_text(json.dumps(request(self.rows[:1])))
        return [
            f"export CASEMATE_HOME={self.settings.home}",
            f"{Path(sys.executable).with_name('casemate')} status",
            (
                f"curl --cacert {self.settings.home}/tls/ca.pem -H 'Authorization: Bearer {self.key}' "
                f"-d @{body} {self.data}/v2/models/{DEPLOYMENT}/infer"
            ),
        ]


def request(rows: list[list[float]]) -> dict[str, Any]:
    """Rows as a request of the Open Inference Protocol v2."""
    return {"inputs": [{"name": "X", "shape": [len(rows), len(rows[0])], "datatype": "FP32", "data": rows}]}


def example() -> Path:
    """The training script; in the package when installed, beside it in a checkout."""
    inside = Path(casemate.__file__).parent / "examples" / "train_diagnosis.py"
    return inside if inside.exists() else Path(casemate.__file__).parents[2] / "examples" / "train_diagnosis.py"


def clean(result: dict[str, Any]) -> dict[str, Any]:
    if result["verdict"] != "clean":
        raise StepError(f"refused: {[finding['id'] for finding in result['findings']]}")
    return result


def _free(host: str, port: int) -> int:
    """`port` if nobody has it, else 0 for any."""
    try:
        with socket.create_server((host, port), family=socket.AF_INET6 if ":" in host else socket.AF_INET):
            return port
    except OSError:
        return 0
